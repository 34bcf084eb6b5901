"""How much of a run comes from each data set: planned, written down, and checked against what the loop counted."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.core.artifacts import Check, SetShare
from tunesmith.core.records import TokenizedExample
from tunesmith.core.rows import lengths, trained
from tunesmith.train.order import Order, Part


def shares(order: Order, rows: Sequence[TokenizedExample], steps: int) -> tuple[SetShare, ...]:
    """Rows and tokens of each data set in the first ``steps`` steps, exactly. Without parts, all rows are one set."""
    seen, sizes, targets = order.seen(steps), lengths(rows), trained(rows)
    found, start = [], 0
    for part in order.parts or (Part("", order.rows, order.rows),):
        mine = range(start, start + part.rows)
        found.append(
            SetShare(
                path=part.name,
                rows=part.rows,
                shown=sum(seen[i] for i in mine),
                tokens=sum(seen[i] * sizes[i] for i in mine),
                target_tokens=sum(seen[i] * targets[i] for i in mine),
            )
        )
        start += part.rows
    return tuple(found)


def sentence(sets: Sequence[SetShare]) -> str:
    """Rows and tokens of each data set in one line."""
    total = sum(one.tokens for one in sets) or 1
    return "; ".join(
        f"{one.path}: {one.shown:,} rows shown, of {one.rows:,}; {one.tokens:,} tokens ({one.tokens / total:.0%})"
        for one in sets
    )


def as_planned(sets: Sequence[SetShare], tokens: int, target_tokens: int) -> Check:
    """The tokens of the data sets, as planned, add up to those that the loop counted in its batches."""
    planned = (sum(one.tokens for one in sets), sum(one.target_tokens for one in sets))
    passed = planned == (tokens, target_tokens)
    wrong = "" if passed else f"; planned {planned[0]:,} tokens, trained {tokens:,}"
    return Check(name="data sets", passed=passed, detail=sentence(sets) + wrong)
