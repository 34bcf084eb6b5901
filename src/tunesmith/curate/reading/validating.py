"""An uploaded file, read to its end: what is in it, and every row that cannot be read, with its line and the way out.

The names of the faults are those of OpenAI's cookbook (``Chat_finetuning_data_prep``) where it has one, ours elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.core.records import Example
from tunesmith.curate.config import DatasetSpec
from tunesmith.curate.reading.read import open_reading

MOST_LISTED = 100
"""Rows that are listed; all are counted."""

COOKBOOK: Mapping[str, str] = {
    "not-an-object": "data_type",
    "invalid-json": "data_type",
    "no-turns": "missing_messages_list",
    "missing-field": "missing_messages_list",
    "unknown-shape": "missing_messages_list",
    "invalid-turn": "message_missing_key",
    "unknown-key": "message_unrecognized_key",
    "unknown-role": "unrecognized_role",
    "invalid-content": "missing_content",
    "no-assistant-turn": "example_missing_assistant_message",
    "ends-without-answer": "example_missing_assistant_message",
}
"""Our code → the cookbook's name."""


def validate_rows(path: Path, name: str) -> dict[str, Any]:
    """The report on a file of rows; nothing raises, a file that cannot be read at all is one finding.

    Args:
        path: where it stands.
        name: what its owner calls it; findings use it instead of the path.
    """
    errors: list[DataError] = []
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()

    def report(error: DataError) -> None:
        counts["unreadable"] += 1
        if len(errors) < MOST_LISTED:
            errors.append(error)

    shape = ""
    try:
        reading = open_reading(DatasetSpec(path=str(path)), report=report)
        shape = reading.format
        for example in reading.examples:
            counts["rows"] += 1
            seen[example.id] += 1
            counts.update(_features(example))
    except DataError as error:
        if not counts["unreadable"]:
            report(error)
    findings = [_finding(error, str(path), name) for error in errors]
    return {
        "valid": not counts["unreadable"] and counts["rows"] > 0,
        "dataset_format": shape,
        "nlines": counts["rows"],
        "unreadable": counts["unreadable"],
        "dataset_has_tools": counts["tools"] > 0,
        "dataset_has_message_weights": counts["weights"] > 0,
        "rows_without_system_message": counts["no system"],
        "duplicate_rows": sum(number - 1 for number in seen.values()),
        "error": f"{findings[0]['where']}: {findings[0]['what']}" if findings else None,
        "error_type": findings[0]["error_type"] if findings else None,
        "findings": findings,
    }


def _features(example: Example) -> list[str]:
    messages = example.conversation
    found = ["tools"] if example.tools or any(m.tool_calls for m in messages) else []
    found += ["weights"] if any(m.weight is not None for m in messages) else []
    return found + ([] if any(m.role == "system" for m in messages) else ["no system"])


def _finding(error: DataError, path: str, name: str) -> dict[str, Any]:
    what, where, rule, fix = (text.replace(path, name) for text in (error.what, error.where, error.rule, error.fix))
    found = re.match(r".*?:(\d+)(?: \((.*)\))?$", where)
    return {
        "line": int(found[1]) if found else None,
        "field": (found[2] or "") if found else "",
        "error_type": COOKBOOK.get(error.code, error.code),
        "code": error.code,
        "where": where,
        "what": what,
        "rule": rule,
        "fix": fix,
    }
