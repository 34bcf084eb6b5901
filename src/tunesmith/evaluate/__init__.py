"""Verb: samplers and held-out rows become a report with a verdict."""
