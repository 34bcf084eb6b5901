"""Metrics, numbers and verdicts in words: shared by the terminal and the page."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

from tunesmith.core.artifacts import Comparison, Report, Summary
from tunesmith.core.events import Note
from tunesmith.core.stats import SMALLEST_SAMPLE, smallest_share_difference

# What stands in Comparison.test when there was nothing to test.
SAME_MODEL = "same model"
NO_ROW_DIFFERS = "no row differs"
OTHER_TOKENS = "different tokens"

FIELD = "field_f1:"


@dataclass(frozen=True)
class Term:
    """Name of a metric for people, the unit of its numbers, and what it means."""

    title: str
    unit: Literal["share", "score", "perplexity", "tokens", "number"]
    meaning: str


TERMS = {
    "json_valid": Term("valid JSON", "share", "answers that are one strict JSON document, without any text around it"),
    "schema_valid": Term("follows the schema", "share", "answers that are valid JSON and follow the JSON schema"),
    "field_f1": Term(
        "field F1", "share", "fields of the JSON answers that are right; missing and surplus ones count as wrong (F1)"
    ),
    "all_fields_f1": Term(
        "all-fields F1", "share", "the same for whole records, which are right only when every field is"
    ),
    "exact_match": Term("exact match", "share", "answers that equal the wanted text, white space at both ends apart"),
    "chrf": Term("chrF", "score", "character n-grams shared with the wanted text, 0 to 100, over all rows"),
    "bleu": Term("BLEU", "score", "word n-grams shared with the wanted text, 0 to 100, over all rows"),
    "rouge_l": Term("ROUGE-L", "share", "longest common word sequence with the wanted text, mean of the rows' F1"),
    "token_f1": Term("token F1", "share", "words shared with the wanted text in any order, mean of the rows' F1"),
    "perplexity": Term(
        "perplexity",
        "perplexity",
        "how surprising the model finds the wanted text, per token: 1 is no surprise; lower is better",
    ),
    "stop_rate": Term(
        "stops by itself", "share", "answers that the model ended itself, instead of being cut at the limit"
    ),
    "bits_per_byte": Term(
        "bits per byte",
        "number",
        "surprise at the wanted text per byte of it: comparable between models with other tokenisers; lower is better",
    ),
    "macro_f1": Term(
        "macro F1", "share", "F1 of each label, then their mean: rare labels count as much as frequent ones"
    ),
    "empty_answers": Term("empty answers", "share", "answers without any text; lower is better"),
    "refusals": Term(
        "refusals", "share", "answers that begin by declining, in English or Dutch; whether that is good, the rows know"
    ),
    "length_ratio": Term(
        "length ratio", "number", "characters of the answers over those of the wanted texts; neither end is better"
    ),
    "ter": Term("TER", "score", "edits from the answers to the wanted texts, per 100 words of these; lower is better"),
    "rouge_1": Term("ROUGE-1", "share", "words shared with the wanted text, mean of the rows' F1"),
    "rouge_2": Term("ROUGE-2", "share", "pairs of words shared with the wanted text, mean of the rows' F1"),
    "latency_p50": Term(
        "median time",
        "number",
        "seconds within which half of the answers were there, among all that were asked together",
    ),
    "latency_p95": Term("95 % time", "number", "seconds within which 95 % of the answers were there"),
    "cost": Term("cost per 1,000", "number", "money for a thousand answers at the stated prices of tokens"),
    "slot_error_rate": Term(
        "slot error rate", "share", "facts of the question that are missing, wrong or invented, per wanted fact"
    ),
    "slots_missing": Term("missing facts", "share", "facts of the question that the answer does not state"),
    "slots_wrong": Term("wrong facts", "share", "facts in whose place the answer states another value"),
    "slots_invented": Term("invented facts", "share", "values that the question does not have, per wanted fact"),
    "label_choice": Term(
        "label accuracy (choice)", "share", "right labels when the model may say nothing but one of the labels"
    ),
    "label_scores": Term(
        "label accuracy (scores)", "share", "rows whose wanted label is the one that the model finds likeliest"
    ),
    "assertions": Term("all assertions", "share", "answers that meet every assertion"),
    "judge": Term(
        "judge's preference", "share", "50 % is even with the baseline; only what wins in both orders counts as a win"
    ),
    "answer_tokens": Term(
        "answer length", "tokens", "mean number of tokens of an answer; neither more nor less is better"
    ),
}


def term(metric: str) -> Term:
    """The term of a metric; ``field_f1:NAME`` is the F1 of one field."""
    if metric.startswith(FIELD):
        name = metric.removeprefix(FIELD)
        return Term(f"{name} F1", "share", f"values of the field “{name}” that are right, as F1 over all rows")
    for prefix, unit, meaning in _PREFIXES:
        if metric.startswith(prefix):
            return Term(metric.removeprefix(prefix), unit, meaning)
    return TERMS[metric]


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better."""
    return metric in _LOWER


_LOWER = frozenset(
    {
        *("perplexity", "bits_per_byte", "empty_answers", "ter", "latency_p50", "latency_p95", "cost"),
        *("slot_error_rate", "slots_missing", "slots_wrong", "slots_invented"),
    }
)

_PREFIXES: tuple[tuple[str, Literal["share", "number"], str], ...] = (
    ("grader:", "number", "mean reward of the grader of this name"),
    ("assert:", "share", "answers that meet this assertion"),
    ("own:", "number", "mean of your own metric of this name"),
)


def value_text(metric: str, value: float | None) -> str:
    """A score with its unit: ``71.3 %``, ``35.2``."""
    if value is None:
        return "not measured"
    unit = term(metric).unit
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if unit in ("score", "tokens") else _significant(value)


def range_text(metric: str, low: float | None, high: float | None) -> str:
    """An interval of scores: ``62.0 – 79.5 %``."""
    if low is None or high is None:
        return ""
    start = value_text(metric, low).removesuffix(" %")
    return f"{start} – {value_text(metric, high)}"


def difference_text(metric: str, value: float | None, *, sign: bool = True) -> str:
    """A difference with its sign and unit: ``+12.4 points`` (percentage points), ``−0.31``."""
    if value is None:
        return "–"
    unit = term(metric).unit
    size = abs(value)
    text = (
        f"{100 * size:.1f}" if unit == "share" else f"{size:.1f}" if unit in ("score", "tokens") else _significant(size)
    )
    mark = "±" if not float(text.replace(",", "")) else "−" if value < 0 else "+"
    mark = mark if sign else ""
    return f"{mark}{text} points" if unit == "share" else f"{mark}{text}"


def difference_range_text(metric: str, low: float | None, high: float | None) -> str:
    """An interval of differences: ``+4.1 to +20.3``."""
    if low is None or high is None:
        return ""
    ends = [difference_text(metric, end).removesuffix(" points") for end in (low, high)]
    return f"{ends[0]} to {ends[1]}"


def percent(confidence: float) -> str:
    """``95 %``."""
    return f"{100 * confidence:g} %"


def p_text(p_value: float) -> str:
    """``p = 0.031``, ``p < 0.001``."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def headline(found: Comparison) -> str:
    """The verdict in one line, without numbers."""
    title = term(found.metric).title
    if found.test == SAME_MODEL:
        return f"{found.candidate} and {found.baseline} are the same model"
    if found.verdict == "equivalent":
        return f"{found.candidate} and {found.baseline} are equivalent on {title}"
    if found.verdict == "cannot tell":
        return f"Cannot tell whether {found.candidate} is better or worse than {found.baseline} on {title}"
    return f"{found.candidate} is {found.verdict} than {found.baseline} on {title}"


def sentence(found: Comparison, margin: float, confidence: float) -> str:
    """The verdict with the numbers behind it and the smallest difference that so many rows can show."""
    return f"{headline(found)}: {_evidence(found, margin, confidence)}"


def _evidence(found: Comparison, margin: float, confidence: float) -> str:
    metric, n = found.metric, found.n
    if found.test == SAME_MODEL:
        return f"the difference on {term(metric).title} is exactly 0."
    if found.test == OTHER_TOKENS:
        return "the two models split text into different tokens, so their values cannot be subtracted."
    if n < SMALLEST_SAMPLE:
        return f"{n} {'row is' if n == 1 else 'rows are'} too few for a verdict, which takes {SMALLEST_SAMPLE} or more."
    interval = f"({percent(confidence)} interval {difference_range_text(metric, found.low, found.high)})"
    if found.test == NO_ROW_DIFFERS:
        change = f"all {n} rows have the same score, the difference is exactly 0 {interval}"
    else:
        values = [value_text(metric, value) for value in (found.baseline_value, found.candidate_value)]
        change = f"{values[0]} → {values[1]}, {difference_text(metric, found.difference)} {interval}"
    if found.verdict == "equivalent":
        change += f", within the margin of {difference_text(metric, margin, sign=False)}"
    doubt, more = (_doubt(found), _more(found)) if found.verdict == "cannot tell" else ("", "")
    return f"{change}. {doubt}{_power(found)}{more}"


def foresight(rows: int, wanted: float, alpha: float) -> Note:
    """What so many rows can show, said before any model is asked.

    For answers that are right or wrong, with a tenth of the rows changing by chance in both directions together.
    """
    visible = smallest_share_difference(rows, 0.1, alpha)
    if visible is None:
        return Note(text=f"{rows} rows cannot show any difference: the verdict will be “cannot tell”", level="warning")
    text = f"{rows} rows can show a difference of about {100 * visible:.1f} points"
    if visible <= wanted:
        return Note(text=text)
    more = f"{text}; {100 * wanted:g} points (minimum_difference) would take more rows, so a smaller true difference "
    return Note(text=f"{more}will most likely end in “cannot tell”", level="warning")


def table(report: Report) -> list[list[str]]:
    """Rows of the before/after table as text, the head first; `verdict_lines` has what was not measured."""
    names = [model.name for model in report.models]
    head = ["metric", *names]
    if len(names) == 1:
        head.append(f"{percent(report.confidence)} interval")
    else:
        head += ["difference", f"{percent(report.confidence)} interval", "smallest visible", "verdict"]
    rows = [head]
    for metric, summaries in measured(report).items():
        cells = {summary.model: summary for summary in summaries}
        row = [term(metric).title + (" *" if metric == report.primary_metric else "")]
        row += [value_text(metric, cells[name].value) if name in cells else "not measured" for name in names]
        found = comparisons_of(report, metric)
        if len(names) == 1:
            row += [range_text(metric, s.low, s.high) or "–" for s in summaries]
        else:
            row += [
                "\n".join(difference_text(metric, c.difference) for c in found) or "–",
                "\n".join(difference_range_text(metric, c.low, c.high) or "–" for c in found) or "–",
                "\n".join(difference_text(metric, c.smallest_visible, sign=False) for c in found) or "–",
                "\n".join(c.verdict for c in found) or "not judged",
            ]
        rows.append(row)
    return rows


def verdict_lines(report: Report) -> list[str]:
    """What to say below the table: the verdict, then each field, then what was not measured and why."""
    lines = [report.sentence]
    lines += [c.sentence for c in report.comparisons if c.metric.startswith(FIELD)]
    for reason, metrics in not_measured(report):
        lines.append(f"Not measured: {', '.join(metrics)}: {reason}.")
    lines += [f"{part.name}: {found.sentence}" for part in report.slices for found in part.comparisons]
    lines += [f"Gate {gate.name}: {gate.verdict}. {gate.sentence}" for gate in report.gates]
    if report.standing is not None:
        lines.append(f"{report.standing.kind.capitalize()}: {report.standing.reason}.")
    return [*lines, *report.notes]


def measured(report: Report) -> dict[str, list[Summary]]:
    """Metric → scores, for those that at least one model was measured on; the primary metric first."""
    order = sorted(dict.fromkeys(s.metric for s in report.summaries), key=lambda name: name != report.primary_metric)
    groups = {name: [s for s in report.summaries if s.metric == name] for name in order}
    return {name: group for name, group in groups.items() if any(s.value is not None for s in group)}


def not_measured(report: Report) -> list[tuple[str, list[str]]]:
    """(Reason, metrics) of what no score could be given for; models are named where it concerns only some."""
    reasons: dict[str, list[str]] = {}
    for metric in dict.fromkeys(s.metric for s in report.summaries):
        absent = [s for s in report.summaries if s.metric == metric and s.value is None]
        everywhere = len(absent) == len(report.models)
        for summary in absent[:1] if everywhere else absent:
            title = term(metric).title if everywhere else f"{term(metric).title} of {summary.model}"
            reasons.setdefault(summary.note, []).append(title)
    return list(reasons.items())


def comparisons_of(report: Report, metric: str) -> list[Comparison]:
    """All comparisons on one metric, in the order of the candidates."""
    return [c for c in report.comparisons if c.metric == metric]


def _power(found: Comparison) -> str:
    if found.smallest_visible is None:
        return f"{found.n} rows."
    smallest = difference_text(found.metric, found.smallest_visible, sign=False)
    return f"{found.n} rows are enough to see a true difference of {smallest}."


def _doubt(found: Comparison) -> str:
    if found.low is None or found.high is None or found.low <= 0.0 <= found.high or found.p_value is None:
        return ""
    return f"The interval leaves out 0, but the test does not confirm it ({p_text(found.p_value)}). "


def _more(found: Comparison) -> str:
    """How many rows a true difference of the observed size would take; the need falls with its square."""
    if not found.difference or not found.smallest_visible:
        return ""
    rows = found.n * (found.smallest_visible / found.difference) ** 2
    if rows <= found.n or rows > 1e7:
        return ""
    step = 10 ** max(0, floor(log10(rows)) - 1)
    return f" A difference like this one takes about {ceil(rows / step) * step:,} rows."


def _significant(value: float) -> str:
    """Three significant digits, without an exponent up to a million."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:.2e}"
    digits = max(0, 2 - floor(log10(abs(value))))
    return f"{value:,.{digits}f}"
