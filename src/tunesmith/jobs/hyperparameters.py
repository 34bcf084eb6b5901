"""Automatic values of a job's hyper-parameters, as OpenAI's cookbook and this trainer have them."""

from __future__ import annotations

FEWEST_ROWS = 10
"""Rows that a training file has at least, as at OpenAI."""

TARGET_EPOCHS, FEWEST_SEEN, MOST_SEEN, MOST_EPOCHS = 3, 100, 25_000, 25
AUTO_BATCH = 8


def auto_epochs(rows: int) -> int:
    """Passes over this many rows: three, more where they are few, fewer where they are many.

    Source: OpenAI cookbook, ``Chat_finetuning_data_prep``: 100 to 25,000 rows are shown in all, in at most 25 passes.
    """
    if rows * TARGET_EPOCHS < FEWEST_SEEN:
        return min(MOST_EPOCHS, FEWEST_SEEN // max(rows, 1))
    if rows * TARGET_EPOCHS > MOST_SEEN:
        return max(1, MOST_SEEN // rows)
    return TARGET_EPOCHS


def auto_batch(rows: int) -> int:
    """Rows of a step: eight, or all where there are fewer."""
    return max(1, min(AUTO_BATCH, rows))
