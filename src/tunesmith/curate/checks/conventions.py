"""Ways of writing that a text can keep to: dates, numbers, money, times, forms of address.

Each family gives the ways that a text uses. A piece of text that also stands in the question is left out: it was
copied, and says nothing about how the answers are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from re import Pattern

_MONTHS = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|maart|mei|mrt|okt|janv|févr|mars|avr|mai|juin|juil|août|déc|"
    r"märz|dez)[a-zé]*\.?"
)
_SYMBOL, _CODE = r"[€$£]", r"(?:EUR|USD|GBP|CHF)"
_WORD = r"(?:euros?|dollars?|pounds?|francs?|Euro)"
_I = re.IGNORECASE


@dataclass(frozen=True)
class Family:
    """A choice that a writer makes: the ways of writing, by name. ``languages``: where the words mean this."""

    name: str
    ways: Mapping[str, Pattern[str]]
    severity: str = "warning"
    languages: frozenset[str] = frozenset()
    is_wording: bool = False
    """Words that are counted even where the question has them too."""
    hints: Mapping[str, Pattern[str]] = field(default_factory=dict)
    """Way → a quick pattern without which the slow one cannot match."""


FAMILIES: tuple[Family, ...] = (
    Family(
        "dates",
        {
            "2026-03-01": re.compile(r"\d(?<![\d-].)\d{3}-\d{2}-\d{2}(?![\d-])"),
            "01/03/2026": re.compile(r"\d(?<![\d/].)\d?/\d{1,2}/(?:\d{4}|\d{2})(?![\d/])"),
            "01-03-2026": re.compile(r"\d(?<![\d-].)\d?-\d{1,2}-\d{4}(?![\d-])"),
            "01.03.2026": re.compile(r"\d(?<![\d.].)\d?\.\d{1,2}\.\d{4}(?![\d.])"),
            "1 March 2026": re.compile(rf"\d(?<![\w].)\d?(?:st|nd|rd|th|er|\.)? (?:of )?{_MONTHS} \d{{4}}\b", _I),
            "March 1, 2026": re.compile(rf"\b{_MONTHS} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b", _I),
        },
        hints={"March 1, 2026": re.compile(r"\d(?:st|nd|rd|th)?,? \d{4}\b")},
    ),
    Family(
        "decimal marks",
        {
            "12.50": re.compile(r"\d(?<![\d.,].)\d*(?:,\d{3})*\.\d{2}(?![\d.]|,\d)"),
            "12,50": re.compile(r"\d(?<![\d.,].)\d*(?:\.\d{3})*,\d{2}(?![\d,]|\.\d)"),
        },
    ),
    Family(
        "thousands",
        {
            "12,000": re.compile(r"\d(?<![\d.,].)\d{0,2}(?:,\d{3})+(?![\d,])"),
            "12.000": re.compile(r"\d(?<![\d.,].)\d{0,2}(?:\.\d{3})+(?![\d.])"),
            "12 000": re.compile(r"\d(?<![\d.,  ].)\d{0,2}(?:[   ]\d{3})+(?!\d)"),
        },
    ),
    Family(
        "amounts of money",
        {
            "€ 12": re.compile(rf"{_SYMBOL}[  ]?\d"),
            "12 €": re.compile(rf"\d[  ]?{_SYMBOL}(?!\d)"),
            "EUR 12": re.compile(rf"\b{_CODE}[  ]?\d"),
            "12 EUR": re.compile(rf"\d[  ]?{_CODE}\b"),
            "12 euros": re.compile(rf"\d[  ]{_WORD}\b"),
        },
    ),
    Family(
        "times of day",
        {
            "14:30": re.compile(r"\d(?<![\d:].)\d?:\d{2}(?![\d:]| ?[ap]\.?m)", _I),
            "2:30 pm": re.compile(r"\d(?<![\d:].)\d?(?::\d{2})? ?[ap]\.?m\b", _I),
            "14.30 uur": re.compile(r"\d(?<![\d.].)\d?\.\d{2} (?:uur|uhr)\b", _I),
            "14h30": re.compile(r"\d(?<!\d.)\d?h\d{2}\b"),
        },
        "info",
    ),
    Family(
        "forms of address",
        {
            "u": re.compile(r"\b(?:[Uu]|[Uu]w|[Uu]zelf)\b(?!['’.-]\w)"),
            "jij": re.compile(r"\b(?:[Jj]e|[Jj]ij|[Jj]ouw?|[Jj]ezelf)\b"),
        },
        languages=frozenset({"nl"}),
        is_wording=True,
    ),
    Family(
        "forms of address",
        {
            "Sie": re.compile(r"(?<=[a-zäöüß,] )(?:Sie|Ihnen|Ihren?|Ihrem|Ihrer)\b"),
            "du": re.compile(r"\b(?:[Dd]u|[Dd]ich|[Dd]ir|[Dd]ein(?:e[nmrs]?)?)\b"),
        },
        languages=frozenset({"de"}),
        is_wording=True,
    ),
    Family(
        "forms of address",
        {
            "vous": re.compile(r"\b(?:[Vv]ous|[Vv]otre|[Vv]os)\b"),
            "tu": re.compile(r"\b(?:[Tt]u|[Tt]oi|[Tt]on|[Tt]es|[Tt]a)\b|\b[Tt]['’](?=[aeiouhéê])"),
        },
        languages=frozenset({"fr"}),
        is_wording=True,
    ),
    Family(
        "contractions",
        {
            "don't": re.compile(
                r"n['’]t\b|\b(?:I|[Yy]ou|[Ww]e|[Tt]hey|[Hh]e|[Ss]he|[Ii]t|[Tt]hat)['’](?:m|re|ll|ve|d|s)\b"
            ),
            "do not": re.compile(
                r"(?<= )(?:do|does|did|is|are|was|were|can|could|should|would|have|has|will) ?not\b|"
                r"\bI am\b|\b(?:[Yy]ou|[Ww]e|[Tt]hey) (?:are|will|have)\b|\b(?:[Ii]t|[Tt]hat) is\b"
            ),
        },
        "info",
        frozenset({"en"}),
        is_wording=True,
        hints={"don't": re.compile("['’]"), "do not": re.compile("not|am|are|will|have| is")},
    ),
)

_DIGIT = re.compile(r"\d")


def ways_of(answer: str, question: str, language: str) -> Iterator[tuple[int, str]]:
    """(number of the family, way) for every way of writing that an answer uses of its own accord."""
    has_digits = _DIGIT.search(answer) is not None
    for number, family in enumerate(FAMILIES):
        if (family.languages and language not in family.languages) or not (has_digits or family.is_wording):
            continue
        for way, pattern in family.ways.items():
            if way in family.hints and not family.hints[way].search(answer):
                continue
            for match in pattern.finditer(answer):
                if family.is_wording or match[0] not in question:
                    yield number, way
                    break
