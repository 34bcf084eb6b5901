"""People judge two models without knowing which is which: a page, and what their choices amount to.

Which answer stands left is drawn for each row from a key that stays in the workspace: the page has no name of a model
and nothing to compute it from.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tunesmith.core import stats
from tunesmith.core.artifacts import ItemResult, Report
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import SCHEMA_VERSION, Record
from tunesmith.evaluate.blind_page import PAGE, SCRIPT, STYLE_OWN
from tunesmith.text.page import STYLE

Choice = Literal["left", "right", "same"]


class BlindKey(Record):
    """What decides the sides of a report's page; kept in the workspace, never in the page."""

    schema_version: int = SCHEMA_VERSION
    report_id: str
    key: str
    """Hexadecimal, 32 bytes."""


class Decision(Record):
    """What one reader thinks of one row."""

    row: str
    choice: Choice
    reason: str = ""


class Decisions(Record):
    """The file that the page saves."""

    report: str
    reviewer: str
    decisions: tuple[Decision, ...]


class Agreement(Record):
    """Two readers on the rows that both judged. ``kappa`` None: one choice throughout."""

    reviewers: tuple[str, str]
    rows: int
    equal: int
    kappa: float | None


class BlindResult(Record):
    """Choices for the candidate and the baseline over all readers' rows; each row counts once, by majority."""

    report_id: str
    baseline: str
    candidate: str
    rows: int
    wins: int
    losses: int
    same: int
    p_value: float
    """Exact sign test over the rows that were not the same."""
    low: float | None
    high: float | None
    """Exact interval of the candidate's share of the rows that were not the same; None where there is none."""
    agreements: tuple[Agreement, ...]
    sentence: str


def blind_page(report: Report, key: BlindKey) -> str:
    """The page to read: questions with two answers each, sides drawn by ``key``, in an order of its own.

    Raises:
        InputError: the report does not hold exactly two models that answered.
    """
    pair = _pair(report)
    rows = []
    for item in sorted(report.items, key=lambda item: _draw(key, "order", item.example_id)):
        left, right = pair if _candidate_is_right(key, item) else pair[::-1]
        rows.append(
            {"row": item.example_id, "question": item.prompt, "left": item.answers[left], "right": item.answers[right]}
        )
    data = json.dumps({"report": report.report_id, "rows": rows}, ensure_ascii=False).replace("<", "\\u003c")
    return PAGE % {"style": STYLE + STYLE_OWN, "data": data, "script": SCRIPT}


def read_decisions(paths: Sequence[Path]) -> list[Decisions]:
    """The files that readers saved.

    Raises:
        DataError: not such a file, or one reader twice.
    """
    found = []
    for path in paths:
        try:
            found.append(Decisions.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{path} holds no decisions of a blind comparison",
                where=str(path),
                rule="decisions are the file that the page saves",
                fix="save it with the button of the page",
            ) from error
    twice = [name for name, count in Counter(file.reviewer for file in found).items() if count > 1]
    if twice:
        raise DataError(
            f"{twice[0]} has two files",
            where=", ".join(map(str, paths)),
            rule="each reader counts once",
            fix="give the last file of each reader",
        )
    return found


def blind_result(report: Report, key: BlindKey, files: Sequence[Decisions]) -> BlindResult:
    """What the readers' choices amount to.

    Raises:
        DataError: decisions about another report, or about rows that it does not have. InputError: see `blind_page`.
    """
    baseline, candidate = _pair(report)
    items = {item.example_id: item for item in report.items}
    for file in files:
        strange = [decision.row for decision in file.decisions if decision.row not in items]
        if file.report != report.report_id or strange:
            raise DataError(
                f"the decisions of {file.reviewer} are about another report",
                where=file.report,
                rule="decisions belong to the report whose page they were made on",
                fix=f"give decisions about report {report.report_id}",
            )
    votes = {
        file.reviewer: {d.row: _vote(d.choice, _candidate_is_right(key, items[d.row])) for d in file.decisions}
        for file in files
    }
    sums = [
        sum(of[row] for of in votes.values() if row in of) for row in items if any(row in of for of in votes.values())
    ]
    wins, losses = sum(total > 0 for total in sums), sum(total < 0 for total in sums)
    p_value = stats.exact_mcnemar(wins, losses)
    interval = stats.proportion_interval(wins, wins + losses) if wins + losses else None
    return BlindResult(
        report_id=report.report_id,
        baseline=baseline,
        candidate=candidate,
        rows=len(sums),
        wins=wins,
        losses=losses,
        same=len(sums) - wins - losses,
        p_value=p_value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        agreements=tuple(_agreement(votes, pair) for pair in combinations(sorted(votes), 2)),
        sentence=_sentence(baseline, candidate, wins, losses, len(sums), p_value),
    )


def _sentence(baseline: str, candidate: str, wins: int, losses: int, rows: int, p_value: float) -> str:
    counts = f"{wins} of {rows} rows for {candidate}, {losses} for {baseline}, {rows - wins - losses} the same"
    if rows < stats.SMALLEST_SAMPLE:
        return f"Cannot tell: {counts}; {rows} rows are too few for a verdict."
    if p_value >= 0.05:
        return f"Cannot tell which one people prefer: {counts} (sign test, p = {p_value:.3f})."
    return f"People prefer {candidate if wins > losses else baseline}: {counts} (sign test, p = {p_value:.3g})."


def _pair(report: Report) -> tuple[str, str]:
    answered = [model.name for model in report.models if all(model.name in item.answers for item in report.items)]
    if len(report.models) != 2 or len(answered) != 2 or not report.items:
        raise InputError(
            f"a blind comparison needs two models that answered, and this report has {len(answered)}",
            where=report.report_id,
            rule="people choose between two answers to each question",
            fix="compare two models on rows with questions first",
        )
    return answered[0], answered[1]


def _draw(key: BlindKey, purpose: str, row: str) -> bytes:
    return hmac.digest(bytes.fromhex(key.key), f"{purpose} {row}".encode(), hashlib.sha256)


def _candidate_is_right(key: BlindKey, item: ItemResult) -> bool:
    return bool(_draw(key, "side", item.example_id)[0] & 1)


def _vote(choice: Choice, candidate_is_right: bool) -> int:
    """1 for the candidate, −1 for the baseline."""
    return 0 if choice == "same" else 1 if (choice == "right") == candidate_is_right else -1


def _agreement(votes: Mapping[str, Mapping[str, int]], pair: tuple[str, str]) -> Agreement:
    """Cohen's kappa of two readers."""
    first, second = (votes[name] for name in pair)
    both = [(first[row], second[row]) for row in first if row in second]
    equal = sum(a == b for a, b in both)
    kappa: float | None = None
    if both:
        counts: list[Counter[Any]] = [Counter(a for a, _ in both), Counter(b for _, b in both)]
        chance = sum(counts[0][vote] * counts[1][vote] for vote in (-1, 0, 1)) / len(both) ** 2
        kappa = None if chance == 1.0 else (equal / len(both) - chance) / (1 - chance)
    return Agreement(reviewers=pair, rows=len(both), equal=equal, kappa=kappa)
