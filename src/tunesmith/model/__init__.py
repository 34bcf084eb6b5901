"""Noun: weights. The home of torch and transformers."""
