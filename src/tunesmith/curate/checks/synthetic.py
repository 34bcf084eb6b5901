"""Rows that a model made: their mark, and how many of them a data set may hold. They train; they never judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, ValidationError

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record, Source, Split, Synthetic
from tunesmith.curate.checks.observe import Outcome, Setting
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.reading.place import Place, shown

SYNTHETIC = "synthetic rows"
MARK = "synthetic"
"""Field of a row that holds its mark."""


class SyntheticOptions(Record):
    """How much of the training data may be made by a model."""

    most: float = Field(default=0.5, ge=0.0, le=1.0, description="Largest share of synthetic rows in training.")


def read_mark(row: Mapping[str, Any], split: Split | None, place: Place) -> Synthetic | None:
    """The mark of a row, if it has one.

    Raises:
        DataError: the mark cannot be read, or the row is of a file that is held out.
    """
    if row.get(MARK) is None:
        return None
    try:
        mark = Synthetic.model_validate(row[MARK])
    except ValidationError as error:
        raise place.error(
            f"has a mark of a synthetic row that cannot be read: {shown(row[MARK])}",
            field=MARK,
            code="invalid-mark",
            rule=f"the mark is as data synth writes it: {error.errors()[0]['msg']}",
            fix="give the row its mark again, or make it anew",
        ) from error
    if split not in (None, "train"):
        raise place.error(
            f"is synthetic, and its file is held out for {split}",
            field=MARK,
            code="synthetic-held-out",
            rule="a model is judged on rows that people or the application wrote",
            fix="move the row into a file that trains",
        )
    return mark


class SyntheticShare:
    """The share of synthetic rows among those that train, by generator."""

    def __init__(self, setting: Setting) -> None:
        self._most = setting.options.synthetic.most
        self._made: Counter[str] = Counter()
        self._train = 0
        self._first = Source()

    def see(self, row: Row) -> Iterable[Finding]:
        """Count."""
        mark = row.example.synthetic
        self._train += row.split in (None, "train")
        if mark:
            self._first = self._first if self._made else row.example.source
            self._made[f"{mark.method} by {mark.generator}" if mark.generator else mark.method] += 1
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Too many, or how many."""
        made = sum(self._made.values())
        share = made / max(self._train, 1)
        figures = {"rows": made, "share of training": round(share, 4), "by": dict(self._made)} if made else {}
        if share <= self._most:
            return Outcome(figures=figures)
        finding = Finding(
            check=SYNTHETIC,
            severity="error",
            message=f"{share:.0%} of the training rows are synthetic, at most {self._most:.0%} may be",
            source=self._first,
            fix="add real rows, leave synthetic ones out, or raise checks.synthetic.most knowingly",
        )
        return Outcome([finding], figures=figures)
