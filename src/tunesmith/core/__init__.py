"""Noun: what everything is made of. No torch, no web."""
