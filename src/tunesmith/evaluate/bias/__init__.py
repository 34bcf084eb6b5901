"""Differences between people who differ in one thing only."""
