"""The checks for personal data and secrets. What they report never holds a value: kinds, places and numbers only."""

from __future__ import annotations

import hashlib
import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress, Tagger
from tunesmith.core.records import Action, Example, Finding
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding, put_aside
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.personal import secrets
from tunesmith.curate.personal.detector import Detector, Engine, euredact_engine
from tunesmith.curate.personal.found import KINDS, Found
from tunesmith.curate.personal.names import read_names
from tunesmith.curate.personal.options import PersonalOptions, action_of, reason_of
from tunesmith.curate.personal.redact import Place, Redaction, load_key, redaction, texts_of
from tunesmith.curate.reading.place import count

PERSONAL = "personal data"
SECRETS = "secrets"
RULES = "1"
"""Version of our own rules, for reports."""

SAMPLE = 200
"""Rows that a person should read, to judge what the search missed."""

_PERSON_LABELS = ("PER", "PERSON", "B-PER", "I-PER", "B-PERSON", "I-PERSON", "NAME", "PRS")


def detector_of(options: PersonalOptions, tagger: Tagger | None = None) -> Detector:
    """What looks for personal values under these options.

    Raises:
        ConfigError: an engine is not installed.
        DataError: the list of names cannot be read.
    """
    engines: list[Engine] = [euredact_engine() for engine in options.engines if engine == "euredact"]
    if tagger is not None:
        engines.append(_by_model(tagger))
    names = read_names(options.dictionary) if options.dictionary else None
    return Detector(names=names, engines=tuple(engines), least=options.least_confidence)


def _by_model(tagger: Tagger) -> Engine:
    def find(text: str) -> Iterator[Found]:
        for label, start, end, score in tagger(text):
            if label.upper() in _PERSON_LABELS and start < end:
                yield Found("name", start, end, engine="model", confidence=min(score, 0.94))

    return find


class Personal:
    """Personal values in all turns and in the arguments of tool calls."""

    def __init__(self, setting: Setting) -> None:
        self.options = setting.options.personal
        if self.options.ner_model and setting.tagger is None:
            raise ConfigError(
                "a model of names is configured, and was not loaded",
                where="checks.personal.ner_model",
                rule="whoever calls the checks loads the model and hands it over",
                fix="use tunesmith data check, or leave ner_model out",
            )
        self.tagger = setting.tagger
        self.detector = detector_of(self.options, setting.tagger)
        actions = {action_of(kind, self.options.policies) for kind in KINDS}
        self.key = load_key(self.options.key_file) if "pseudonym" in actions else None
        self.values: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.sample: list[tuple[int, int]] = []
        self.hits = array("q")
        """Numbers of the rows that hold something."""

    def see(self, row: Row) -> Iterable[Finding]:
        """At most one finding for a row: the worst of its policies decides."""
        self._draw(row)
        done = redaction(row.example, self.options.policies, self.key, self.detector)
        self.values.update(done.counts)
        self.rows.update(done.counts.keys())
        if done.counts:
            self.hits.append(row.number)
        counts = Counter(done.counts)
        for kind in done.counts:
            if action_of(kind, self.options.policies) == "keep":
                del counts[kind]
        return [self._finding(row.example, done, counts)] if counts else []

    def _finding(self, example: Example, done: Redaction, counts: Counter[str]) -> Finding:
        words = ", ".join(KINDS[kind].counted(number) for kind, number in sorted(counts.items()))
        evidence = _evidence(example, done)
        if done.blocked:
            titles = ", ".join(KINDS[kind].title for kind in done.blocked)
            return finding(
                PERSONAL,
                "error",
                f"the row holds {words}",
                example,
                f"take the row out of the data: the policy of {titles} is block",
                evidence=evidence,
                action=put_aside(example.source),
            )
        return finding(
            PERSONAL,
            "warning",
            f"the row holds {words}",
            example,
            "replace the values, or say why they may stay: checks: {personal: {policies: {CLASS: 'keep: reason'}}}",
            evidence=evidence,
            action=Action(kind="edit", edits=done.edits),
        )

    def _draw(self, row: Row) -> None:
        """Keep the rows whose texts have the smallest hashes: the same sample in whatever order the rows come."""
        digest = hashlib.blake2b(digest_size=8)
        for place in texts_of(row.example):
            digest.update(place.text.encode("utf-8", "surrogatepass"))
        item = (-int.from_bytes(digest.digest(), "big"), row.number)
        if len(self.sample) < SAMPLE:
            heapq.heappush(self.sample, item)
        elif item > self.sample[0]:
            heapq.heapreplace(self.sample, item)

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Numbers of each kind, what was used to find names, and the sample for people."""
        sample = sorted(corpus[number].example.id for _, number in self.sample)
        most = 100 * (1 - 0.05 ** (1 / len(sample))) if sample else 100.0
        names = self.about_names()
        return Outcome(
            rows=self.hits,
            remark=f"; {names}",
            figures={
                "kinds": {kind: self._about(kind) for kind in sorted(self.values)},
                "engines": self._engines(),
                "names": names,
                "left over": f"rules miss what they do not know: read the {len(sample)} rows of the sample; if none of "
                f"them holds a value that was missed, at most {most:.1f} % of the rows do (95 %)",
                "sample": sample,
            },
        )

    def _about(self, kind: str) -> dict[str, Any]:
        policies = self.options.policies
        about: dict[str, Any] = {"values": self.values[kind], "rows": self.rows[kind]}
        about["policy"] = action_of(kind, policies)
        return about | ({"reason": reason} if (reason := reason_of(kind, policies)) else {})

    def _engines(self) -> dict[str, str]:
        engines = {"rules": RULES}
        if self.detector.names:
            engines["dictionary"] = count(len(self.detector.names), "name")
        if "euredact" in self.options.engines:
            engines["euredact"] = metadata.version("euredact")
        if self.tagger is not None:
            engines["model"] = self.tagger.name
        return engines

    def about_names(self) -> str:
        """How names of persons were looked for, in words."""
        if self.tagger is not None:
            also = " and dictionary" if self.detector.names else ""
            return f"names: NER model {self.tagger.name}{also}"
        if self.detector.names:
            return "names: dictionary only, no NER model configured"
        return "names: only behind titles and greetings, no dictionary and no NER model configured"


def _evidence(example: Example, done: Redaction) -> str:
    """Where the values stand and what they are, without them."""
    turns = example.conversation
    parts = []
    for edit in done.edits:
        turn = f"turn {edit.turn + 1} ({turns[edit.turn].role})" if turns else "text"
        call = "" if edit.call is None else f", call {edit.call + 1}"
        parts.append(f"{turn}{call}, characters {edit.start + 1}–{edit.end}: {edit.text}")
    return _short("; ".join(parts))


def _short(text: str) -> str:
    return text if len(text) <= EVIDENCE else text[: EVIDENCE - 1] + "…"


class Secrets:
    """Keys, tokens and passwords anywhere in a row, its tool descriptions included: always an error."""

    def __init__(self, setting: Setting) -> None:
        self.detector = Detector()
        self.hits = array("q")
        """Numbers of the rows with a secret."""
        self.kinds: Counter[str] = Counter()
        self.hash = hashlib.blake2b(digest_size=32)

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing yet: the salt of the hashes comes from all rows."""
        hit = False
        for place in self.texts(row.example):
            self.hash.update(place.text.encode("utf-8", "surrogatepass"))
            hit = bool(self.detector.find_secrets(place.text)) or hit
        if hit:
            self.hits.append(row.number)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """A finding for each row with a secret."""
        salt = self.hash.digest()
        findings = [self._finding(corpus[number].example, salt) for number in self.hits]
        kinds = {secrets.TITLES[kind]: number for kind, number in sorted(self.kinds.items())}
        figures = {"kinds": kinds, "forms": len(secrets.SECRETS)} if kinds else {}
        return Outcome(findings=findings, figures=figures, rows=self.hits)

    def _finding(self, example: Example, salt: bytes) -> Finding:
        titles: Counter[str] = Counter()
        parts = []
        for place in self.texts(example):
            for one in self.detector.find_secrets(place.text):
                titles[secrets.TITLES[one.kind]] += 1
                self.kinds[one.kind] += 1
                parts.append(f"{_where(example, place)}: {secrets.shown(place.text[one.start : one.end], salt)}")
        words = ", ".join(f"{title} ({number})" if number > 1 else title for title, number in titles.items())
        return finding(
            SECRETS,
            "error",
            f"the row holds a secret: {words}",
            example,
            "take the row out, or write the value anew without it; whoever saw this file knows the secret: revoke it",
            evidence=_short("; ".join(parts)),
            action=put_aside(example.source),
        )

    @staticmethod
    def texts(example: Example) -> Sequence[Place]:
        """Every text that may hold a secret: those of the turns, and the descriptions of tools."""
        places = list(texts_of(example))
        if example.tools:
            places.append(Place(-1, None, json.dumps(list(example.tools), ensure_ascii=False)))
        return places


def _where(example: Example, place: Place) -> str:
    if place.turn < 0:
        return "tool descriptions"
    if example.is_document:
        return "text"
    call = "" if place.call is None else f", call {place.call + 1}"
    return f"turn {place.turn + 1} ({example.conversation[place.turn].role}){call}"
