"""Tunesmith: from a company's own examples to a proven, deployed, documented fine-tuned model."""
