"""Rows that stand on both sides: the model would be judged on what it was trained on.

`Overlap` is the quick check before every training: equal questions in two splits. `Contamination` compares the training
rows with everything that is held out, in all the ways in which one row gives another away.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record, Source
from tunesmith.curate.checks.leaks import Chain, Leak, Side, leaks
from tunesmith.curate.checks.near import THRESHOLD, Tell
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding, places, put_aside
from tunesmith.curate.checks.vectors import closest, space_of
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import rank
from tunesmith.text.embedder import require_embedder

OVERLAP = "rows in more than one split"
CONTAMINATION = "training rows that give away held-out rows"

_OFTEN, _MANY, _SAMPLE = 0.2, 10, 300
"""What more than a fifth of the held-out rows (and at least ten) have in common with training rows is looked for in a
sample of the training rows as well."""

CLOSEST = 5
"""Training rows that are listed for a held-out row."""

_ASKED, _SHOWN = 300, 20
"""Held-out rows whose closest training rows are looked for, and how many of them are shown."""

_LISTED, _EXAMPLES, _NAMED = 20, 3, 100
"""More notes of one kind about held-out rows than this become a single one, with so many examples, and so many rows."""

_FIX = "take the training rows out: the score flatters"
_LOOK = "look whether it is the task that repeats itself"
_KINDS = {
    "near": "a question that is nearly the same stands in",
    "answer": "their answer stands under another question in",
    "run": "13 words in a row or more stand in",
    "short run": "8 to 12 words in a row stand in",
}


class OverlapOptions(Record):
    """Training rows that stand in what the model is judged on."""

    against: tuple[str, ...] = Field(
        default=(), description="Files of other evaluations that no training row may give away."
    )
    threshold: float = Field(
        default=THRESHOLD, ge=0.7, le=1.0, description="Least Jaccard similarity of questions that are nearly the same."
    )


class Overlap:
    """Questions that stand in more than one split, where files say which split they are."""

    def __init__(self, setting: Setting) -> None:
        self._numbers: dict[str, list[int]] = defaultdict(list)
        self._has_splits = setting.has_splits

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        if self._has_splits:
            self._numbers[row.prompt_key].append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The questions on two sides."""
        if not self._has_splits:
            return Outcome(not_checked="overlap (no file has a split; rows are split by content)")
        groups = [numbers for numbers in self._numbers.values() if len(numbers) > 1]
        return Outcome([found for numbers in groups for found in _shared([corpus[n] for n in numbers])])


def _shared(rows: list[Row]) -> Iterable[Finding]:
    splits = {row.split: row.example for row in reversed(rows) if row.split}
    if len(splits) > 1:
        where = ", ".join(f"{split} ({example.source})" for split, example in splits.items())
        held_out = next(row.example for row in rows if row.split not in (None, "train"))
        trained = tuple(row.example.source for row in rows if row.split == "train")
        yield finding(
            OVERLAP,
            "error",
            f"the same {'text' if held_out.is_document else 'question'} stands in {where}",
            held_out,
            "remove it from all but one of the files, or leave split out: rows are then split by content",
            others=tuple(row.example.source for row in rows if row.example is not held_out),
            action=put_aside(*trained) if trained else None,
        )


class Contamination:
    """Training rows against validation, test and vault, and all rows against the files of other evaluations."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.overlap
        require_embedder(setting.options.semantic_duplicates.embedder)
        self._embedder = setting.options.semantic_duplicates.embedder
        _require(self._options.against)
        self._apart = setting.apart and setting.options.overlap.threshold >= THRESHOLD
        self._train, self._held = Side(), Side()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        split = row.split or "train"
        (self._train if split == "train" else self._held).add(row, split)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """One finding for each held-out row that is given away, by its strongest reason."""
        outside = _read(self._options.against)
        if not len(self._train) + len(outside) or not len(self._held) + len(outside):
            return Outcome(not_checked="nothing is held out, and no file was given with --against")
        pairs = [(self._held, self._train), (outside, self._train), (outside, self._held)]
        findings: list[Finding] = []
        figures: dict[str, Any] = {}
        left = 0
        for held, others in pairs:
            if len(held) and len(others):
                apart = self._apart and held is self._held
                found, more = leaks(held, others, self._options.threshold, progress, apart=apart)
                left += more
                usual = _usual(held, found, self._train, self._options.threshold)
                findings += _findings(held, others, found, usual)
                _count(figures, held, found)
        remark = f"; not compared: at most {left:,} pairs of questions of one mould" if left else ""
        if not self._embedder:
            remark += "; translations not checked (no embedder given)"
        figures["closest"] = _closest(self._train, [self._held, outside], self._embedder, progress)
        return Outcome(findings, remark=remark, figures=figures)


def _require(paths: Iterable[str]) -> None:
    """Refuse an evaluation file that cannot be opened, before anything slow is done."""
    from tunesmith.curate.reading.files import require_file

    for path in paths:
        require_file(path)


def _read(paths: Iterable[str]) -> Side:
    """The rows of evaluation files, which are read as data files are.

    Raises:
        DataError: a file cannot be read.
    """
    from tunesmith.curate.reading.read import read_file

    side = Side()
    for path in paths:
        for number, example in enumerate(read_file(path)):
            side.add(Row(number, example), path)
    return side


def _findings(
    held: Side, others: Side, found: Mapping[int, Leak], usual: Mapping[tuple[str, str], float]
) -> Iterator[Finding]:
    """A finding for each leak; what is frequent and says little is one note with examples."""
    weak = {n for n, leak in found.items() if leak.kind == "short run" or (held.splits[n], leak.kind) in usual}
    often: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number in sorted(weak):
        often[held.splits[number], found[number].kind].append(number)
    summed = {number: key for key, numbers in often.items() if len(numbers) > _LISTED for number in numbers}
    for number, leak in sorted(found.items()):
        key = summed.get(number)
        if key is None:
            yield _finding(held, others, number, leak, usual, number in weak)
        elif often[key][0] == number:
            yield _note(held, others, [(n, found[n]) for n in often[key]], usual)


def _finding(
    held: Side, others: Side, number: int, leak: Leak, usual: Mapping[tuple[str, str], float], weak: bool
) -> Finding:
    sources, trained = _rows(others, leak)
    split = held.splits[number]
    return Finding(
        check=CONTAMINATION,
        severity="error" if leak.is_strong and trained else "info" if weak or not trained else "warning",
        message=f"{split} row: {leak.said} {_where(trained)} ({places(sources)}){_again(usual, split, leak.kind)}",
        source=held.sources[number],
        example_id=held.ids[number],
        fix=_LOOK if weak else _FIX,
        others=tuple(sources),
        action=put_aside(*trained) if trained and not weak else None,
    )


def _note(
    held: Side, others: Side, leaks: Sequence[tuple[int, Leak]], usual: Mapping[tuple[str, str], float]
) -> Finding:
    """All weak leaks of one kind and split in one finding: how many, and a few of them."""
    first, leak = leaks[0]
    split = held.splits[first]
    share = f"{len(leaks):,} of {held.splits.count(split):,} {split} rows ({len(leaks) / held.splits.count(split):.0%})"
    examples = "; ".join(
        f"{held.sources[n]}: {one.said.removeprefix('its ')} {places(_rows(others, one)[0], 1)}"
        for n, one in leaks[:_EXAMPLES]
    )
    return Finding(
        check=CONTAMINATION,
        severity="info",
        message=f"{share}: {_KINDS[leak.kind]} {_where(_rows(others, leak)[1])}{_again(usual, split, leak.kind)}",
        source=held.sources[first],
        example_id=held.ids[first],
        fix=_LOOK,
        evidence=examples[:EVIDENCE],
        others=tuple(held.sources[n] for n, _ in leaks[1:_NAMED]),
    )


def _rows(others: Side, leak: Leak) -> tuple[list[Source], list[Source]]:
    """The rows of the other side, and those of them that train."""
    sources = [others.sources[row] for row in leak.rows]
    return sources, [others.sources[row] for row in leak.rows if others.splits[row] == "train"]


def _where(trained: Sequence[Source]) -> str:
    return "training" if trained else "what is held out"


def _again(usual: Mapping[tuple[str, str], float], split: str, kind: str) -> str:
    return f"; so it is with {usual[split, kind]:.0%} of the training rows" if (split, kind) in usual else ""


def _usual(held: Side, found: Mapping[int, Leak], train: Side, threshold: float) -> dict[tuple[str, str], float]:
    """(split, kind) → share of training rows that other training rows give away in this way.

    Only for kinds that are frequent among held-out rows, and about as frequent within the training rows: then the task
    repeats itself, and a match is no sign of a leak.
    """
    rows = Counter(held.splits)
    kinds = Counter((held.splits[number], leak.kind) for number, leak in found.items() if not leak.is_strong)
    often = {key: n / rows[key[0]] for key, n in kinds.items() if n >= _MANY and n > _OFTEN * rows[key[0]]}
    if not often:
        return {}
    order = sorted(range(len(train)), key=lambda number: rank(train.questions[number]))
    sample, rest = train.part(order[:_SAMPLE]), train.part(sorted(order[_SAMPLE:] or order))
    apart = not any(kind == "near" for _, kind in often)  # what is not asked for is not looked for
    within = Counter(leak.kind for leak in leaks(sample, rest, threshold, apart=apart)[0].values())
    shares = {kind: n / len(sample) for kind, n in within.items()}
    return {key: shares[key[1]] for key, share in often.items() if shares.get(key[1], 0.0) >= share / 2}


def _closest(train: Side, held: Sequence[Side], embedder: str, tell: Tell | None) -> dict[str, Any]:
    """Held-out rows with the five training rows that are closest in meaning, the closest of all first."""
    places = [(side, number) for side in held for number in range(len(side)) if side.questions[number]]
    places = sorted(places, key=lambda item: rank(item[0].questions[item[1]]))
    asked = places[:_ASKED]
    texts = [side.questions[number] for side, number in asked]
    space = space_of(Chain(texts, train.questions), embedder, tell)
    near = closest(space, range(len(texts)), range(len(texts), len(texts) + len(train)), CLOSEST) if len(train) else []
    found = sorted(zip(asked, near, strict=False), key=lambda item: -item[1][0][1])[:_SHOWN]
    rows = [
        {
            "row": str(side.sources[number]),
            "split": side.splits[number],
            "closest": [
                {"row": str(train.sources[other - len(texts)]), "cosine": round(cosine, 3)} for other, cosine in best
            ],
        }
        for (side, number), best in found
    ]
    return {"by": space.name, "asked": len(asked), "not_asked": len(places) - len(asked), "rows": rows}


def _count(figures: dict[str, Any], held: Side, found: Mapping[int, Leak]) -> None:
    """Held-out rows, and how many of them are given away in which way."""
    for split, rows in Counter(held.splits).items():
        kinds = Counter(leak.kind for number, leak in found.items() if held.splits[number] == split)
        before = figures.get(split, {"rows": rows})
        figures[split] = {**before, **{kind: before.get(kind, 0) + n for kind, n in sorted(kinds.items())}}
