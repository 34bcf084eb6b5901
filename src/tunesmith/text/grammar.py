"""What an answer has to look like, checked before anybody waits for it. Grammars are compiled by llguidance."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tunesmith.core.errors import InputError
from tunesmith.core.records import Grammar

DEEPEST = 32
"""Most levels of a schema; a compiler walks it by recursion."""


def refuse_large(schemas: Sequence[object], most_bytes: int) -> None:
    """Raise InputError for schemas that are too large together, or nested too deeply, before anything reads them."""
    size = sum(len(json.dumps(schema)) for schema in schemas)
    if size > most_bytes:
        raise InputError(
            f"the schema has {size} bytes",
            rule=f"schemas have at most {most_bytes} bytes together (max_schema_bytes)",
            fix="leave out descriptions and examples, or raise the limit",
        )
    for schema in schemas:
        _refuse_depth(schema)


def as_rule(grammar: Grammar) -> str:
    """A JSON grammar as the right-hand side of a Lark rule."""
    return "%json " + (grammar.source if grammar.kind == "json_schema" else '{"type": "object"}')


def check_grammar(grammar: Grammar) -> None:
    """Raise InputError for a grammar that cannot be compiled, in the compiler's own words."""
    from llguidance import LLMatcher

    if grammar.kind == "json_schema":
        written = LLMatcher.grammar_from_json_schema(grammar.source)
    elif grammar.kind == "lark":
        written = LLMatcher.grammar_from_lark(grammar.source)
    elif grammar.kind == "regex":
        written = LLMatcher.grammar_from_regex(grammar.source)
    else:
        return
    failed, messages = LLMatcher.validate_grammar_with_warnings(written)
    if failed or messages:
        # A warning is a keyword that would not be enforced: that is no grammar for whoever relies on it.
        raise InputError(
            f"the schema cannot be enforced: {_short(messages[0] if messages else 'unknown reason')}",
            rule="an answer keeps to every word of its schema, or the schema is refused",
            fix="leave out the keyword that is named, and check that value in your own code",
        )


def _short(message: str) -> str:
    first = message.strip().splitlines()[0] if message.strip() else "unknown reason"
    return first if len(first) <= 300 else first[:299] + "…"


def _refuse_depth(schema: object) -> None:
    level, here = 0, [schema]
    while here:
        level += 1
        if level > DEEPEST:
            raise InputError(
                f"the schema is nested more than {DEEPEST} levels deep",
                rule=f"a schema has at most {DEEPEST} levels",
                fix="move inner parts into $defs and refer to them",
            )
        nested = [value for value in here if isinstance(value, dict | list)]
        here = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
