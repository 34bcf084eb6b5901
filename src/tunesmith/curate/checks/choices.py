"""Questions with a choice of answers: the same question with its options in another order is the same question."""

from __future__ import annotations

import hashlib
import re

from tunesmith.curate.keys import normalise

_LINE = re.compile(r"^[ \t]*\(?([A-Za-z]|\d{1,2})[.):][ \t]+", re.MULTILINE)
_MARK = re.compile(r"(?:^|(?<=\s))\(?([A-Za-z]|\d{1,2})[.):]\s+")
_POINT = re.compile(r"^[ \t]*[-*•][ \t]+(.+)$", re.MULTILINE)
_FIRST = {"A": ord("A"), "a": ord("a"), "1": 1}


def choice_key(question: str) -> int | None:
    """A number for the stem and the set of options, whatever their order and letters; None without options.

    Options are marked A) B) C), (a) (b), 1. 2., or stand on lines that begin with a dash or a point.
    """
    found = _lettered(question, _LINE) or _lettered(question, _MARK) or _listed(question)
    if found is None:
        return None
    stem, options = found
    parts = [normalise(stem), *sorted(map(normalise, options))]
    if len(set(parts[1:])) < 2:
        return None
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _lettered(question: str, pattern: re.Pattern[str]) -> tuple[str, list[str]] | None:
    """Stem and options of the longest row of marks that counts up from A, a or 1, the last of these."""
    marks: list[re.Match[str]] = []
    best: list[re.Match[str]] = []
    for mark in pattern.finditer(question):
        label = mark.group(1)
        if marks and _value(label) == _value(marks[-1].group(1)) + 1:
            marks.append(mark)
        elif label in _FIRST:
            marks = [mark]
        if len(marks) >= len(best):
            best = list(marks)
    if len(best) < 2:
        return None
    end = question.find("\n", best[-1].end())
    end = len(question) if end < 0 else end
    ends = [*(mark.start() for mark in best[1:]), end]
    options = [question[mark.end() : stop] for mark, stop in zip(best, ends, strict=True)]
    return f"{question[: best[0].start()]} {question[end:]}", options


def _value(label: str) -> int:
    return int(label) if label.isdecimal() else ord(label)


def _listed(question: str) -> tuple[str, list[str]] | None:
    points = list(_POINT.finditer(question))
    if len(points) < 2:
        return None
    return f"{question[: points[0].start()]} {question[points[-1].end() :]}", [point.group(1) for point in points]
