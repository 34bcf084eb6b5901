"""Verb: raw rows become a checked, split data set."""
