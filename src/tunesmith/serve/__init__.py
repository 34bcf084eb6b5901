"""Verb: a release answers requests."""
