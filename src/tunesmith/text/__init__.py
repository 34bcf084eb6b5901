"""Noun: strings to token ids and back, and judging strings. No torch."""
