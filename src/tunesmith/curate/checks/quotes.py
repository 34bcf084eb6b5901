"""Reports quote rows as evidence: here the quotes lose their personal values and secrets, whichever check made them.

What is a personal value often shows only in the row (eleven digits behind the word for a tax number), while a quote
has the digits alone. So a finding's quotes are searched for the values that its own rows hold, then for everything that
looks personal by itself, and at last every long number is covered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tunesmith.core.errors import DataError
from tunesmith.core.records import Example, Finding
from tunesmith.curate.checks.privacy import PERSONAL, SECRETS, Secrets
from tunesmith.curate.corpus import Corpus
from tunesmith.curate.personal.detector import Detector
from tunesmith.curate.personal.redact import mask, texts_of, without_personal

_LONG_NUMBER = re.compile(r"(?<![A-Za-z0-9])\+?\(?[0-9](?:[ .\-/()]{0,2}[0-9]){6,}(?![A-Za-z0-9])")
_SPACE = re.compile(r"\s+")
Values = dict[str, str]
"""A value that a row holds → what stands for it."""


class Quotes:
    """Takes the values of rows out of findings, numbers and remarks of all checks but those that look for values.

    Args:
        corpus: the rows.
        found: findings of each check.
        hits: numbers of the rows that hold personal values or secrets.
        detector: what found them.
    """

    def __init__(
        self, corpus: Corpus, found: Mapping[str, Iterable[Finding]], hits: Iterable[int], detector: Detector
    ) -> None:
        self._detector = detector
        others = (finding for name, findings in found.items() if not _is_private(name) for finding in findings)
        quoted = {str(source) for finding in others for source in (finding.source, *finding.others)}
        self._values: dict[str, Values] = {}
        for number in sorted(set(hits)) if quoted else ():
            example = corpus[number].example
            if str(example.source) in quoted:
                self._values[str(example.source)] = self._values_of(example)

    def _values_of(self, example: Example) -> Values:
        values: Values = {}
        for place in texts_of(example):
            for one in self._detector.find(place.text):
                values[place.text[one.start : one.end]] = mask(one.kind)
        for place in Secrets.texts(example):
            for one in self._detector.find_secrets(place.text):
                values[place.text[one.start : one.end]] = "[SECRET]"
        return values

    def finding(self, finding: Finding) -> Finding:
        """The finding without values."""
        if _is_private(finding.check):
            return finding
        values: Values = {}
        for source in (finding.source, *finding.others):
            values |= self._values.get(str(source), {})
        message, evidence = self._clean(finding.message, values), self._clean(finding.evidence, values)
        if (message, evidence) == (finding.message, finding.evidence):
            return finding
        return finding.model_copy(update={"message": message, "evidence": evidence})

    def figures(self, name: str, figures: Any) -> Any:
        """The numbers of a check, as JSON, without values in their texts."""
        if _is_private(name):
            return figures
        if isinstance(figures, str):
            return self._clean(figures, {})
        if isinstance(figures, Mapping):
            return {self._clean(str(key), {}): self.figures(name, value) for key, value in figures.items()}
        if isinstance(figures, list | tuple):
            return [self.figures(name, value) for value in figures]
        return figures

    def _clean(self, text: str, values: Values) -> str:
        if not text:
            return text
        for value in sorted(values, key=len, reverse=True):
            text = re.sub(_loosely(value), lambda _, value=value: values[value], text, flags=re.IGNORECASE)
        return _LONG_NUMBER.sub("[NUMBER]", without_personal(text, self._detector))


def _loosely(value: str) -> str:
    """A pattern of a value, with any white space for its own."""
    return r"\s+".join(re.escape(part) for part in _SPACE.split(value) if part) or r"(?!)"


def _is_private(name: str) -> bool:
    return name in (PERSONAL, SECRETS)


def error_without_values(error: DataError) -> DataError:
    """The error of a row, whose words may quote the row."""
    what, fix = without_personal(error.what), without_personal(error.fix)
    return DataError(what, where=error.where, rule=error.rule, fix=fix, code=error.code)


def findings_without_values(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings that no check made, without values that show by themselves."""
    for one in findings:
        yield one.model_copy(
            update={"message": without_personal(one.message), "evidence": without_personal(one.evidence)}
        )
