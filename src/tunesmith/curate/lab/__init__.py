"""Planted faults: rows whose defects are known, to measure what the checks find and where they cry wolf."""
