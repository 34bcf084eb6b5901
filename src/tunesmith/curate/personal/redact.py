"""Taking personal data out of rows: masks, and pseudonyms that only the holder of a key can make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Document, Edit, Example, Message, Reply, TextPart
from tunesmith.curate.personal.detector import Detector
from tunesmith.curate.personal.found import KINDS, Found
from tunesmith.curate.personal.options import KEY_VARIABLE, action_of

LEAST_KEY = 16
"""Shortest key, in bytes."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SIGNS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Place:
    """A text of a row: the turn, and the tool call whose arguments it is (None: what the turn says)."""

    turn: int
    call: int | None
    text: str


@dataclass(frozen=True)
class Redaction:
    """What is done to a row: the edits, how many values of each kind were met, and which kinds block the row."""

    edits: tuple[Edit, ...]
    counts: Counter[str]
    blocked: tuple[str, ...]


def texts_of(example: Example) -> Iterator[Place]:
    """Every text of a row that can be edited."""
    if isinstance(example.target, Document):
        yield Place(0, None, example.target.text)
    for turn, message in enumerate(example.conversation):
        if message.content:
            yield Place(turn, None, message.text)
        for call, made in enumerate(message.tool_calls):
            yield Place(turn, call, made.arguments)


def redact(
    example: Example,
    policies: Mapping[str, str] | None = None,
    key: bytes | None = None,
    detector: Detector | None = None,
) -> tuple[Example, Counter[str]]:
    """The row without its personal values, and how many there were of each kind.

    Args:
        example: the row; all turns and the arguments of tool calls are searched.
        policies: class or kind → block, mask, pseudonym or "keep: reason" (`PersonalOptions`). What blocks a row is
            masked here: whether the row stays is for the caller to say.
        key: makes the pseudonyms; the same key and value give the same pseudonym.
        detector: what searches; without it our rules alone.

    Raises:
        ConfigError: a policy asks for pseudonyms and there is no key.
    """
    done = redaction(example, policies or {}, key, detector or Detector())
    return apply(example, done.edits), done.counts


def redaction(example: Example, policies: Mapping[str, str], key: bytes | None, detector: Detector) -> Redaction:
    """The edits that take the personal values out of a row."""
    edits: list[Edit] = []
    counts: Counter[str] = Counter()
    blocked: list[str] = []
    for place in texts_of(example):
        for found, action, instead in _replacements(place.text, detector.find(place.text), policies, key):
            counts[found.kind] += 1
            if action == "block":
                blocked.append(found.kind)
            if action != "keep":
                edits.append(Edit(turn=place.turn, call=place.call, start=found.start, end=found.end, text=instead))
    return Redaction(tuple(edits), counts, tuple(dict.fromkeys(blocked)))


def apply(example: Example, edits: Sequence[Edit]) -> Example:
    """The row after edits that do not overlap."""
    if not edits:
        return example
    if isinstance(example.target, Document):
        text = _edited(example.target.text, [edit for edit in edits if edit.call is None])
        return example.model_copy(update={"target": Document(text=text)})
    turns = [
        _edited_turn(message, [edit for edit in edits if edit.turn == turn])
        for turn, message in enumerate(example.conversation)
    ]
    return example.model_copy(update={"messages": tuple(turns[:-1]), "target": Reply(message=turns[-1])})


def _edited_turn(message: Message, edits: Sequence[Edit]) -> Message:
    if not edits:
        return message
    said = [edit for edit in edits if edit.call is None]
    calls = tuple(
        call.model_copy(update={"arguments": _edited(call.arguments, [edit for edit in edits if edit.call == number])})
        for number, call in enumerate(message.tool_calls)
    )
    content = (TextPart(text=_edited(message.text, said)),) if said else message.content
    return message.model_copy(update={"content": content, "tool_calls": calls})


def _edited(text: str, edits: Sequence[Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _replacements(
    text: str, found: Sequence[Found], policies: Mapping[str, str], key: bytes | None
) -> Iterator[tuple[Found, str, str]]:
    """(what was found, action, the words that stand there afterwards)."""
    strings = _strings(text) if found else None
    for one in found:
        action = action_of(one.kind, policies)
        value = text[one.start : one.end]
        instead = pseudonym(one.kind, value, key) if action == "pseudonym" else mask(one.kind)
        if strings is not None and not _inside(strings, one):
            instead = f'"{instead}"'  # a bare number in JSON: what stands there afterwards must be JSON as well
        yield one, action, instead


def _strings(text: str) -> list[tuple[int, int]] | None:
    """Where the strings of a JSON text stand; None for other texts."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [match.span() for match in _STRING.finditer(text)]


def _inside(strings: Sequence[tuple[int, int]], one: Found) -> bool:
    """Whether a string begins before and ends behind what was found; ``strings`` are in order."""
    place = bisect_left(strings, (one.start, 0)) - 1
    return place >= 0 and one.end < strings[place][1]


def mask(kind: str) -> str:
    """The placeholder of a kind, such as ``[EMAIL]``."""
    return f"[{KINDS[kind].label}]"


def pseudonym(kind: str, value: str, key: bytes | None) -> str:
    """A name for a value, from which nobody without the key can tell the value.

    The first 50 bits of HMAC-SHA-256 over class and value: equal values have equal pseudonyms however they are
    written, and pseudonyms of different keys have nothing in common. An e-mail address stays one, below the top-level
    domain that belongs to nobody (RFC 2606).

    Raises:
        ConfigError: there is no key.
    """
    if not key:
        raise _no_key()
    message = f"{KINDS[kind].group}\0{_canonical(kind, value)}".encode("utf-8", "surrogatepass")
    digest = base64.b32encode(hmac.new(key, message, hashlib.sha256).digest()).decode()[:10]
    if kind == "email":
        return f"person-{digest.lower()}@example.invalid"
    return f"{KINDS[kind].label}_{digest}"


def _canonical(kind: str, value: str) -> str:
    """A value without what depends on the writer."""
    folded = value.casefold()
    if kind in ("name", "address", "organisation", "place"):
        return " ".join(_SIGNS.sub(" ", folded).split())
    if kind in ("email", "ip"):
        return folded
    if kind == "phone":
        digits = re.sub(r"\(0\)|[^0-9+]", "", folded)
        return "+" + digits[2:] if digits.startswith("00") else digits
    return _SIGNS.sub("", folded)


def load_key(key_file: str = "", environment: Mapping[str, str] | None = None) -> bytes:
    """The key of pseudonyms, from a file or from the environment: never from a configuration.

    Raises:
        ConfigError: there is none, it cannot be read, or it is too short to keep a secret.
    """
    if key_file:
        try:
            key = Path(key_file).expanduser().read_bytes().strip()
        except OSError as error:
            raise ConfigError(
                f"the key of pseudonyms cannot be read: {error.strerror}",
                where=f"checks.personal.key_file: {key_file}",
                rule="a file that holds nothing but the key",
                fix=f"make one with: openssl rand -hex 32 > {key_file}",
            ) from error
    else:
        key = (os.environ if environment is None else environment).get(KEY_VARIABLE, "").strip().encode()
    if not key:
        raise _no_key()
    if len(key) < LEAST_KEY:
        raise ConfigError(
            f"the key of pseudonyms has {len(key)} bytes",
            where=key_file or KEY_VARIABLE,
            rule=f"at least {LEAST_KEY}: with a key that can be guessed, values can be guessed",
            fix="make one with: openssl rand -hex 32",
        )
    return key


def _no_key() -> ConfigError:
    return ConfigError(
        "pseudonyms need a key, and there is none",
        where="checks.personal.policies",
        rule=f"the key comes from key_file or from the variable {KEY_VARIABLE}; the configuration never holds it",
        fix=f"export {KEY_VARIABLE}=$(openssl rand -hex 32), and keep it: another key gives other pseudonyms",
    )


def without_personal(text: str, detector: Detector | None = None) -> str:
    """The text with a placeholder for every personal value and every secret: for reports that quote rows."""
    detector = detector or _RULES
    found = [(one, mask(one.kind)) for one in detector.find(text)]
    found += [(one, "[SECRET]") for one in detector.find_secrets(text)]
    return _masked(text, found)


_RULES = Detector()


def _masked(text: str, found: Sequence[tuple[Found, str]]) -> str:
    """The text with placeholders; where two overlap, one stands for both."""
    pieces, last = [], 0
    for one, instead in sorted(found, key=lambda pair: (pair[0].start, -pair[0].end)):
        if one.start >= last:
            pieces += [text[last : one.start], instead]
        last = max(last, one.end)
    return "".join([*pieces, text[last:]])
