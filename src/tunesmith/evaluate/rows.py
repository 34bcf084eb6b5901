"""What the held-out rows ask for, and each answer graded against it, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunesmith.core.errors import DataError
from tunesmith.core.records import Completion, Example, Score
from tunesmith.text import graders
from tunesmith.text.graders import JsonSchema, Overlap

Kind = Literal["json", "label", "text", "document"]
"""Document: plain texts, which ask nothing."""

LONGEST_LABEL = 4
"""Words up to which wanted answers count as labels, judged by exact match alone."""

MOST_FIELDS = 12
"""Fields of JSON answers that get a line and a verdict of their own; rarer ones count in the total."""


@dataclass(frozen=True)
class Wanted:
    """The wanted answers of all rows and what they have in common.

    ``values``, ``fields`` and ``in_lists`` are filled for JSON objects and lists: the parsed references, the names of
    their most frequent fields, and whether their records stand in lists.
    """

    texts: tuple[str, ...]
    kind: Kind
    schema: JsonSchema | None
    values: tuple[object, ...] = ()
    fields: tuple[str, ...] = ()
    fields_left_out: int = 0
    in_lists: bool = False
    json_references: int = 0


@dataclass(frozen=True)
class Row:
    """One row as one model answered it, with all that metrics count. JSON parts are None where they do not fit."""

    reference: str
    answer: str
    stopped: bool
    tokens: int
    logprobs: tuple[float, ...]
    json_valid: bool | None = None
    schema_valid: bool | None = None
    fields: Mapping[str, Overlap] | None = None
    records: Overlap | None = None
    seconds: float = 0.0


def survey(examples: Sequence[Example], schema: JsonSchema | None) -> Wanted:
    """Look at the wanted answers: JSON, labels or text.

    Raises:
        DataError: no rows, a row twice, a wanted answer that is empty or a tool call.
    """
    _check(examples)
    texts = tuple(example.target.text for example in examples)
    if all(example.is_document for example in examples):
        return Wanted(texts, "document", None)
    values = tuple(value for text in texts if (value := _structure(text)) is not None)
    if len(values) < len(texts):
        short = all(len(graders.words(text)) <= LONGEST_LABEL for text in texts)
        return Wanted(texts, "label" if short else "text", schema, json_references=len(values))
    rows_with = Counter(name for value in values for name in graders.field_overlaps(None, value))
    often = [name for name, _ in rows_with.most_common(MOST_FIELDS)]
    return Wanted(
        texts,
        "json",
        schema,
        values=values,
        fields=tuple(name for name in rows_with if name in often),
        fields_left_out=len(rows_with) - len(often),
        in_lists=any(graders.has_lists_of_objects(value) for value in values),
        json_references=len(values),
    )


def grade(wanted: Wanted, index: int, completion: Completion | None, score: Score) -> Row:
    """Judge the answer to row ``index``; a plain text has none."""
    reference = wanted.texts[index]
    if completion is None:
        return Row(reference, "", False, 0, score.logprobs)
    row = Row(
        reference,
        completion.text,
        completion.finish_reason == "stop",
        completion.completion_tokens,
        score.logprobs,
        seconds=completion.seconds,
    )
    if wanted.kind != "json" and wanted.schema is None:
        return row
    try:
        value, valid = graders.parse_json(completion.text), True
    except ValueError:
        value, valid = None, False
    return replace(
        row,
        json_valid=valid,
        schema_valid=None if wanted.schema is None else valid and wanted.schema.accepts(value),
        fields=graders.field_overlaps(value, wanted.values[index]) if wanted.kind == "json" else None,
        records=graders.record_overlap(value, wanted.values[index], in_lists=wanted.in_lists)
        if wanted.kind == "json"
        else None,
    )


def _check(examples: Sequence[Example]) -> None:
    if not examples:
        raise DataError(
            "there are no rows to evaluate on",
            rule="an evaluation needs at least one held-out row",
            fix="raise test_size, or give a file with --data",
        )
    for example in examples:
        if not example.target.text.strip():
            calls = not example.is_document and bool(example.target.message.tool_calls)
            raise DataError(
                "the wanted answer is a tool call" if calls else "the wanted answer is empty",
                where=str(example.source),
                rule="every held-out row needs a text to compare answers with",
                fix="leave this row out of the held-out rows" if calls else "fill in the answer or remove the row",
            )
    first: dict[str, Example] = {}
    copies = [example for example in examples if first.setdefault(example.id, example) is not example]
    if copies:
        more = f" ({len(copies)} such rows in all)" if len(copies) > 1 else ""
        raise DataError(
            f"the same row as {first[copies[0].id].source}{more}",
            where=str(copies[0].source),
            rule="a held-out row may stand in the set only once: a copy would count as new evidence",
            fix="remove the copies",
        )


def _structure(text: str) -> object:
    """Parsed JSON if it is an object or a list; a lone number or string is a text like any other."""
    try:
        value = graders.parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None
