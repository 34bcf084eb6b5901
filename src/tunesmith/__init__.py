"""Tunesmith: from a company's own examples to a proven, deployed, documented fine-tuned model."""

__version__ = "0.1.0"
