"""What becomes of a data file: repaired versions, differences, splits, audits, cards, and where rows went."""
