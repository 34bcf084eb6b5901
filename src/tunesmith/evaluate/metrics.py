"""The metrics: what each counts in a row, and how the summed counts become a score.

Every score is a function of sums over rows. That makes scores of the whole set, of one row, and of thousands of
resamples the same few array operations, for corpus metrics (BLEU, chrF, perplexity) as much as for means.

Arrays: ``sums`` has shape (..., k), the k counts of a metric; the score has shape (...).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunesmith.evaluate.rows import LONGEST_LABEL, Row, Wanted
from tunesmith.text import graders
from tunesmith.text.graders import BLEU_ORDER, CHRF_BETA, CHRF_ORDER, Overlap

Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_LABELS = 200
"""Different labels up to which macro F1 is counted; each takes three columns of every resample."""

BUCKET = 1.05
"""Ratio of the ends of a bucket of answer times: quantiles of time are right within this factor."""

FIRST_BUCKET, BUCKETS = 1e-3, 260
"""Seconds where the buckets begin, and their number: they end beyond five minutes."""

# How an answer begins that declines to help. English and Dutch.
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am) (?:sorry|unable|not able)|sorry,? (?:but )?i|i (?:can ?not|can['’]t|won['’]t|will not)\b"
    r"|as an ai\b|unfortunately,? i (?:can ?not|can['’]t)"
    r"|(?:het spijt me|sorry)\b[^.]*\bik\b[^.]*\bniet|(?:helaas )?(?:kan|mag) ik\b[^.]*\bniet"
    r"|ik (?:kan|mag|wil)\b[^.]*\bniet"
    r"|als (?:een )?(?:ai|taalmodel)\b)",
    re.IGNORECASE,
)


def ratio(sums: Array) -> Array:
    """First sum over the second; NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def perplexity(sums: Array) -> Array:
    """exp of the mean negative log-probability; sums are (nats, tokens). Limited to e⁷⁰⁰, where floats end."""
    return np.exp(np.minimum(ratio(sums), 700.0))


def ter(sums: Array) -> Array:
    """Corpus TER in percent; 0 is best. Counts as `graders.ter_counts` gives them. Source: Snover et al. 2006."""
    edits, wanted = sums[..., 0], sums[..., 1]
    return np.where(wanted > 0, 100.0 * edits / np.maximum(wanted, 1.0), np.where(edits > 0, 100.0, 0.0))


def macro_f1(sums: Array) -> Array:
    """Mean F1 of the labels that were wanted or given; sums are (matched, given, wanted) of each label."""
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    used = counts[..., 1] + counts[..., 2]
    f1 = np.where(used > 0, 2.0 * counts[..., 0] / np.maximum(used, 1.0), 0.0)
    return f1.sum(axis=-1) / np.maximum((used > 0).sum(axis=-1), 1)


def quantile_of_buckets(share: float) -> Callable[[Array], Array]:
    """The time below which ``share`` of the answers lie, from counts of buckets: the middle of a bucket, in seconds."""

    def value(sums: Array) -> Array:
        upto = np.cumsum(sums, axis=-1)
        place = (upto < share * upto[..., -1:] - 1e-9).sum(axis=-1)
        return FIRST_BUCKET * BUCKET ** (place - 0.5)

    return value


def refuses(answer: str) -> bool:
    """Whether an answer begins by declining to help, in English or Dutch. A rule of thumb: rows show which."""
    return _REFUSAL.match(answer) is not None


def bleu(sums: Array) -> Array:
    """Corpus BLEU, 0 to 100, with sacrebleu's default smoothing. Counts as `graders.bleu_counts` gives them.

    Source: Papineni et al. 2002; smoothing: Chen and Cherry 2014, method 3.
    """
    given, wanted = sums[..., 0], sums[..., 1]
    matched, offered = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    possible = (matched > 0).any(axis=-1) & (offered > 0).all(axis=-1)
    # An order without any match counts as 1/2 of a match, the next such order as 1/4, and so on.
    smoothed = np.where(matched > 0, matched, 0.5 ** np.cumsum(matched == 0, axis=-1))
    precision = np.exp(np.log(smoothed / np.maximum(offered, 1.0)).mean(axis=-1))
    brevity = np.exp(np.minimum(0.0, 1.0 - wanted / np.maximum(given, 1.0)))
    return np.where(possible, 100.0 * brevity * precision, 0.0)


def chrf(sums: Array) -> Array:
    """Corpus chrF2, 0 to 100. Counts as `graders.chrf_counts` gives them. Source: Popović 2015."""
    counts = sums.reshape(*sums.shape[:-1], CHRF_ORDER, 3)
    given, wanted, matched = counts[..., 0], counts[..., 1], counts[..., 2]
    used = (given > 0) & (wanted > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    precision = np.where(used, matched / np.maximum(given, 1.0), 0.0).sum(axis=-1) / orders
    recall = np.where(used, matched / np.maximum(wanted, 1.0), 0.0).sum(axis=-1) / orders
    weight = CHRF_BETA**2
    total = weight * precision + recall
    return np.where(total > 0, 100.0 * (1 + weight) * precision * recall / np.where(total > 0, total, 1.0), 0.0)


@dataclass(frozen=True)
class Metric:
    """A metric.

    ``scale`` is its largest value, None when there is none. ``unit`` is what the margin of equivalence is a share of
    where that is neither the scale nor the baseline's value. ``unfit`` says why it does not fit the wanted answers, or
    nothing; ``higher_is_better`` is None when neither is, and then models are not compared by it.
    """

    name: str
    counts: Callable[[Row], Sequence[float]]
    value: Callable[[Array], Array] = ratio
    unfit: Callable[[Wanted], str] = lambda wanted: ""
    higher_is_better: bool | None = True
    binary: bool = False
    scale: float | None = 1.0
    unit: float | None = None


def metrics_for(wanted: Wanted) -> list[Metric]:
    """The metrics that are measured unasked, those of each JSON field included, in the order of the report.

    Plain text has perplexity and bits per byte alone.
    """
    if wanted.kind == "document":
        known = ("perplexity", "bits_per_byte")
        return [m if m.name in known else replace(m, unfit=_no_question) for m in (*_TEXT, *_ALWAYS)]
    return [*_JSON, *(_field(name) for name in wanted.fields), *_TEXT, _macro(wanted), *_ALWAYS]


def extra_metrics(names: Sequence[str], wanted: Wanted) -> list[Metric]:
    """Metrics of the table that are measured only when they are asked for."""
    return [replace(m, unfit=_no_question) if wanted.kind == "document" else m for m in _ASKED if m.name in names]


def primary_for(wanted: Wanted) -> tuple[str, str]:
    """The metric that decides when none was chosen, and the reason."""
    if wanted.kind == "document":
        return "perplexity", "because the rows are plain text: how likely the model finds it is all there is to judge"
    if wanted.kind == "json":
        return "field_f1", (
            "because the wanted answers are JSON: every field counts, and an answer that is not JSON has none right"
        )
    if wanted.kind == "label":
        return "exact_match", (
            f"because the wanted answers have at most {LONGEST_LABEL} words: they are given or they are not"
        )
    return "chrf", (
        "because the wanted answers are free text: chrF judges the text that people get, in any language, "
        "where perplexity only judges how likely the model finds the wanted text"
    )


def _no_question(wanted: Wanted) -> str:
    return "plain text asks nothing, so there is no answer to judge"


def _unless_json(wanted: Wanted) -> str:
    if wanted.kind == "json":
        return ""
    return f"{len(wanted.texts) - wanted.json_references} of {len(wanted.texts)} wanted answers are not JSON"


def _unless_schema(wanted: Wanted) -> str:
    return "" if wanted.schema else "no json_schema is set"


def _unless_json_or_schema(wanted: Wanted) -> str:
    return "" if wanted.schema else _unless_json(wanted)


def _unless_text(wanted: Wanted) -> str:
    if wanted.kind == "json":
        return "the wanted answers are JSON, which field F1 judges"
    return "" if wanted.kind == "text" else "the wanted answers are short, which exact match judges"


def _share(flag: bool | None) -> tuple[float, float]:
    return float(bool(flag)), 1.0


def _f1(overlap: Overlap | None) -> tuple[float, float]:
    """Counts whose ratio of sums is the F1 over all rows."""
    return (0.0, 0.0) if overlap is None else (2.0 * overlap.matched, overlap.given + overlap.wanted)


def _mean_f1(overlap: Overlap) -> tuple[float, float]:
    """Counts whose ratio of sums is the mean of the rows' F1."""
    return overlap.f1 or 0.0, 1.0


def _all_fields(row: Row) -> Overlap:
    overlaps = list((row.fields or {}).values())
    return Overlap(sum(o.matched for o in overlaps), sum(o.given for o in overlaps), sum(o.wanted for o in overlaps))


def _field(name: str) -> Metric:
    return Metric(f"field_f1:{name}", lambda row: _f1((row.fields or {}).get(name)), unfit=_unless_json)


_JSON = (
    Metric("json_valid", lambda row: _share(row.json_valid), unfit=_unless_json_or_schema, binary=True),
    Metric("schema_valid", lambda row: _share(row.schema_valid), unfit=_unless_schema, binary=True),
    Metric("field_f1", lambda row: _f1(_all_fields(row)), unfit=_unless_json),
    Metric("all_fields_f1", lambda row: _f1(row.records), unfit=_unless_json),
)
_TEXT = (
    Metric("exact_match", lambda row: _share(graders.exact_match(row.answer, row.reference)), binary=True),
    Metric("chrf", lambda row: graders.chrf_counts(row.answer, row.reference), chrf, _unless_text, scale=100.0),
    Metric("bleu", lambda row: graders.bleu_counts(row.answer, row.reference), bleu, _unless_text, scale=100.0),
    Metric("rouge_l", lambda row: _mean_f1(graders.rouge_l(row.answer, row.reference)), unfit=_unless_text),
    Metric("token_f1", lambda row: _mean_f1(graders.token_overlap(row.answer, row.reference)), unfit=_unless_text),
)
_ALWAYS = (
    Metric(
        "perplexity",
        lambda row: (-sum(row.logprobs), float(len(row.logprobs))),
        perplexity,
        higher_is_better=False,
        scale=None,
    ),
    Metric(
        "bits_per_byte",
        lambda row: (-sum(row.logprobs) / math.log(2.0), float(len(row.reference.encode("utf-8", "replace")))),
        higher_is_better=False,
        scale=None,
        unit=1.0,  # a logarithm: a share of a small value would be far stricter than the same share of a perplexity
    ),
    Metric("stop_rate", lambda row: _share(row.stopped), binary=True),
    Metric("empty_answers", lambda row: _share(not row.answer.strip()), higher_is_better=False, binary=True),
    Metric("refusals", lambda row: _share(refuses(row.answer)), higher_is_better=None, binary=True),
    Metric(
        "length_ratio",
        lambda row: (float(len(row.answer.strip())), float(len(row.reference.strip()))),
        higher_is_better=None,
        scale=None,
    ),
    Metric("answer_tokens", lambda row: (float(row.tokens), 1.0), higher_is_better=None, scale=None),
)
_ASKED = (
    Metric("ter", lambda row: graders.ter_counts(row.answer, row.reference), ter, _unless_text, False, scale=None),
    Metric("rouge_1", lambda row: _mean_f1(graders.rouge_n(row.answer, row.reference, 1)), unfit=_unless_text),
    Metric("rouge_2", lambda row: _mean_f1(graders.rouge_n(row.answer, row.reference, 2)), unfit=_unless_text),
    Metric("latency_p50", lambda row: _bucket(row), quantile_of_buckets(0.5), higher_is_better=False, scale=None),
    Metric("latency_p95", lambda row: _bucket(row), quantile_of_buckets(0.95), higher_is_better=False, scale=None),
)


def _bucket(row: Row) -> list[float]:
    place = 0 if row.seconds <= FIRST_BUCKET else math.ceil(math.log(row.seconds / FIRST_BUCKET, BUCKET))
    return [float(i == min(place, BUCKETS - 1)) for i in range(BUCKETS)]


def _macro(wanted: Wanted) -> Metric:
    labels = sorted({text.strip() for text in wanted.texts}) if wanted.kind == "label" else []

    def counts(row: Row) -> list[float]:
        given, right = row.answer.strip(), row.reference.strip()
        return [float(flag) for name in labels for flag in (given == right == name, given == name, right == name)]

    return Metric("macro_f1", counts, macro_f1, _unless_labels)


def _unless_labels(wanted: Wanted) -> str:
    if wanted.kind != "label":
        return "the wanted answers are no labels"
    count = len({text.strip() for text in wanted.texts})
    return "" if count <= MOST_LABELS else f"{count} different labels are more than {MOST_LABELS}"


_TABLE = (*_JSON, *_TEXT, Metric("macro_f1", lambda row: ()), *_ALWAYS, *_ASKED)

NAMES = tuple(metric.name for metric in _TABLE if metric.higher_is_better is not None)
"""Metrics that can decide, whatever the rows are; those of single JSON fields, ``field_f1:name``, come on top."""

ASKED = tuple(metric.name for metric in _ASKED)
"""Metrics that are measured only when ``metrics`` names them."""

ALL = tuple(metric.name for metric in _TABLE)
"""Every name of the table."""
