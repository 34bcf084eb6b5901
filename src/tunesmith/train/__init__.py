"""Verb: a data set becomes a run and an adapter."""
