"""Search for personal data beside euredact, Presidio and deduce: recall, false alarms and rows in a second.

Two corpora: sentences that we make, with one value each (`curate.lab.personal`), and the synthetic sentences of
presidio-research where they are at hand. False alarms are counted on text without personal values.
``python -m benchmarks.personal ENGINE FILE`` is one measurement in whatever Python has the engine, as JSON.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.results import Result
    from benchmarks.settings import Settings

Span = tuple[str, int, int]
"""Class, first character, character after the last."""

PER_KIND, SEED = 100, 4
SPEED_ROWS, SPEED_LENGTH, SPEED_GOAL = 20_000, 1_000, 25.0
OURS, RIVALS = "tunesmith", ("euredact", "presidio", "deduce")
REAL = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "US_SSN": "national_id",
    "STREET_ADDRESS": "address",
    "PERSON": "name",
}
"""Classes of the synthetic sentences that have one of ours."""


ALARMING = ("email", "phone", "iban", "card", "national_id", "vat", "ip", "mac", "plate", "SECRET")
"""Classes of which the clean texts hold none. They do name people, places and dates."""


def measure(settings: Settings) -> list[Result]:
    """Recall, false alarms and speed of each engine."""
    from benchmarks.results import not_measured
    from benchmarks.settings import Unavailable

    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        file = Path(name) / "texts.json"
        file.write_text(json.dumps(_corpora(), ensure_ascii=False), encoding="utf-8")
        for engine in (OURS, *RIVALS):
            try:
                results += _shown(engine, _run(engine, file))
            except Unavailable as error:
                results.append(not_measured(f"personal data: {engine}", str(error)))
    return results


def _run(engine: str, file: Path) -> dict[str, Any]:
    from benchmarks import rivals
    from benchmarks.settings import ROOT, Unavailable, environment, last_words, say

    say(engine)
    python = Path(sys.executable) if engine == OURS else rivals.personal_python()
    command = [str(python), "-m", "benchmarks.personal", engine, str(file)]
    env = environment(OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"exit code {done.returncode}: {last_words(done.stderr)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _shown(engine: str, figures: dict[str, Any]) -> Iterator[Result]:
    from benchmarks.results import judged

    for corpus, classes in figures["recall"].items():
        for group, (found, there) in classes.items():
            exact = engine == OURS and corpus == "made" and group not in ("name", "address", "birth_date", "mac")
            goal = (0.99 if group in ("email", "phone", "ip") else 1.0) if exact else None
            what = f"{engine}: recall of {group}, {corpus}"
            yield judged(what, found / there, "", at_least=goal, note=f"{found} of {there}")
    alarms, rows = figures["alarms"]
    told = {group: number for group, number in alarms.items() if group in ALARMING}
    note = f"of {', '.join(ALARMING).lower()}; {rows:,} rows"
    value = 100 * sum(told.values()) / rows
    yield judged(f"{engine}: false alarms on clean rows", value, "per 100", note=note, details=alarms)
    goal = SPEED_GOAL if engine == OURS else None
    seconds = figures["seconds"] * 100_000 / figures["timed"]
    note = f"processor time, {figures['timed']:,} rows of {SPEED_LENGTH:,} characters timed; {figures['version']}"
    yield judged(f"{engine}: 100,000 rows", seconds, "s", at_most=goal, note=note)


# ---------------------------------------------------------------- texts


def _corpora() -> dict[str, Any]:
    """Name → [text, spans] pairs; ``clean``: texts without personal values."""
    from tunesmith.curate.lab import personal
    from tunesmith.curate.personal.found import KINDS

    made = [
        [one.text, [[KINDS[one.kind].group, one.start, one.end]]]
        for one in personal.corpus(PER_KIND, random.Random(SEED))
    ]
    clean = list(_clean())
    return {"made": made, "presidio-research": list(_real()), "clean": clean, "speed": _long_rows(clean)}


def _real() -> Iterator[list[Any]]:
    from benchmarks.rows import shared_data

    folder = shared_data("pii-synthetic")
    for row in _lines(folder / "train.jsonl.gz") if folder else ():
        spans = [
            [REAL[s["entity_type"]], s["start_position"], s["end_position"]]
            for s in row["spans"]
            if s["entity_type"] in REAL
        ]
        yield [row["full_text"], spans]


CLEAN = (
    "dutch-sentences/dev",
    "humaneval/HumanEval",
    "banking77/dev",
    "e2e-restaurants/dev",
    "xsid-dutch/valid",
    "legal-clauses/cuad-clauses-fewshot",
)


def _clean() -> Iterator[str]:
    from benchmarks.rows import shared_data

    for name in CLEAN:
        folder, _, stem = name.partition("/")
        place = shared_data(folder)
        if place:
            file = next(path for path in sorted(place.iterdir()) if path.name.startswith(stem))
            yield from ("\n".join(_strings(row)) for row in _lines(file))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _lines(path: Path) -> Iterator[Any]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _long_rows(texts: Sequence[str]) -> list[str]:
    """Rows of some thousand characters of clean text, one in ten with a personal value."""
    from tunesmith.curate.lab import personal

    rng = random.Random(SEED)
    texts = texts or ["The quick brown fox jumps over the lazy dog in Amsterdam, for 12 euros."]
    rows = []
    for number in range(SPEED_ROWS):
        text = personal.planting(rng.choice(personal.KINDS), rng).text if number % 10 == 0 else ""
        while len(text) < SPEED_LENGTH:
            text += " " + rng.choice(texts)
        rows.append(text[:SPEED_LENGTH])
    return rows


# ---------------------------------------------------------------- one measurement


EUREDACT = {
    "EMAIL": "email",
    "PHONE": "phone",
    "BANK_ACCOUNT": "iban",
    "CREDIT_CARD": "card",
    "DOB": "birth_date",
    "NATIONAL_ID": "national_id",
    "SSN": "national_id",
    "TAX_ID": "national_id",
    "HEALTH_INSURANCE": "national_id",
    "IP_ADDRESS": "ip",
    "IPV6_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "ADDRESS": "address",
    "POSTAL_CODE": "address",
    "LICENSE_PLATE": "plate",
    "PERSON_NAME": "name",
    "VAT": "vat",
}
PRESIDIO = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "US_SSN": "national_id",
    "PERSON": "name",
    "LOCATION": "address",
    "DATE_TIME": "birth_date",
}
DEDUCE = {
    "patient": "name",
    "persoon": "name",
    "emailadres": "email",
    "telefoonnummer": "phone",
    "bsn": "national_id",
    "locatie": "address",
    "datum": "birth_date",
    "url": "url",
    "id": "national_id",
}
"""Class of each engine → ours."""


def _ours() -> tuple[Callable[[str], Iterable[Span]], str]:
    import tunesmith
    from tunesmith.curate.personal.detector import Detector
    from tunesmith.curate.personal.found import KINDS

    detector = Detector()

    def find(text: str) -> Iterator[Span]:
        for one in detector.find_secrets(text):
            yield "SECRET", one.start, one.end
        for one in detector.find(text):
            yield KINDS[one.kind].group, one.start, one.end

    return find, f"tunesmith {tunesmith.__version__}, with its search for secrets"


def _euredact() -> tuple[Callable[[str], Iterable[Span]], str]:
    import euredact

    instance = euredact.EuRedact()

    def find(text: str) -> Iterator[Span]:
        for one in instance.redact(text, detect_dates=True, cache=False).detections:
            yield EUREDACT.get(one.entity_type.value, one.entity_type.value), one.start, one.end

    return find, f"euredact {euredact.__version__}, rules, 31 countries"


def _presidio() -> tuple[Callable[[str], Iterable[Span]], str]:
    from importlib.metadata import version

    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SlimSpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    nlp = SlimSpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    nlp.nlp = {"en": spacy.blank("en")}  # no model is downloaded
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("PhoneRecognizer")
    registry.add_recognizer(PhoneRecognizer(supported_regions=("NL", "BE", "DE", "FR", "GB", "US", "IE")))
    engine = AnalyzerEngine(nlp_engine=nlp, registry=registry, supported_languages=["en"])

    def find(text: str) -> Iterator[Span]:
        for one in engine.analyze(text=text, language="en"):
            if one.score >= 0.3:
                national = "national_id" if one.entity_type[2:3] == "_" else one.entity_type
                yield PRESIDIO.get(one.entity_type, national), one.start, one.end

    return find, f"presidio-analyzer {version('presidio-analyzer')}, blank spaCy engine, default recognisers"


def _deduce() -> tuple[Callable[[str], Iterable[Span]], str]:
    from importlib.metadata import version

    from deduce import Deduce

    engine = Deduce()

    def find(text: str) -> Iterator[Span]:
        for one in engine.deidentify(text).annotations:
            yield DEDUCE.get(one.tag, one.tag), one.start_char, one.end_char

    return find, f"deduce {version('deduce')}, Dutch"


ENGINES = {OURS: _ours, "euredact": _euredact, "presidio": _presidio, "deduce": _deduce}
SLOW_ROWS = 300
"""Rows that an engine is timed on when it is slower than a millisecond for a row."""


def main(arguments: Sequence[str]) -> None:
    """Measure one engine and print its figures."""
    find, version = ENGINES[arguments[0]]()
    corpora = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    recall = {name: _recall(find, corpora[name]) for name in ("made", "presidio-research") if corpora[name]}
    alarms: dict[str, int] = {}
    for text in corpora["clean"]:
        for group, _, _ in find(text):
            alarms[group] = alarms.get(group, 0) + 1
    rows = corpora["speed"]
    first = _seconds(find, rows[:SLOW_ROWS])
    timed = rows if first < SLOW_ROWS / 1000 else rows[:SLOW_ROWS]
    seconds = _seconds(find, timed) if timed is rows else first
    figures = {"recall": recall, "alarms": [alarms, len(corpora["clean"])], "seconds": seconds}
    print(json.dumps({**figures, "timed": len(timed), "version": version}))


def _recall(find: Callable[[str], Iterable[Span]], pairs: Sequence[Any]) -> dict[str, list[int]]:
    """Class → how many are covered whole by spans of their class (of addresses and names: half), how many there are."""
    counts: dict[str, list[int]] = {}
    for text, spans in pairs:
        found = list(find(text))
        for group, start, end in spans:
            least = 0.5 if group in ("name", "address") else 1.0
            covered = sum(max(0, min(end, stop) - max(start, begin)) for kind, begin, stop in found if kind == group)
            count = counts.setdefault(group, [0, 0])
            count[0] += covered >= least * (end - start)
            count[1] += 1
    return counts


def _seconds(find: Callable[[str], Iterable[Span]], texts: Sequence[str]) -> float:
    begin = time.process_time()
    for text in texts:
        for _ in find(text):
            pass
    return time.process_time() - begin


if __name__ == "__main__":
    main(sys.argv[1:])
