"""What a data owner sees when real data with known faults are checked from the command line."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.command import Ran, inside
from tunesmith.core.records import Example
from tunesmith.curate.lab.labels import flip_labels
from tunesmith.curate.lab.personal import IDS, planting
from tunesmith.curate.lab.planted import row

ISO = "NL91 ABNA 0417 1643 00"


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]


def written(at: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path = at / "rows.jsonl"
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows), encoding="utf-8")
    return path


def pairs(rows: Iterable[Example]) -> Iterable[dict[str, Any]]:
    return ({"prompt": each.messages[0].text, "completion": each.target.text} for each in rows)


def check(at: Path) -> tuple[Ran, dict[str, Any], list[dict[str, Any]]]:
    """The command, what it says about each check, and its findings."""
    ran = inside("data", "check", "rows.jsonl", "--json", at=at, TUNESMITH_HOME=str(at / "home"))
    return ran, {each["name"]: each for each in ran.document["checks"]}, ran.document["findings"]


def of(findings: Iterable[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [found for found in findings if found["check"] == name]


def test_original_restaurant_facts_are_doubted_where_they_were_corrected_later(
    shared_data: Path, tmp_path: Path
) -> None:
    raw = lines(shared_data, "e2e-restaurants/train.jsonl.gz")
    wrong = {number for number, item in enumerate(raw, 1) if item["mr_was_fixed"]}
    seen = {}
    for field in ("orig_mr", "mr"):
        written(tmp_path, ({"prompt": item[field], "completion": item["text"]} for item in raw))
        _, checks, findings = check(tmp_path)
        seen[field] = {found["source"]["line"] for found in of(findings, "unfaithful answers")}
        assert checks["unfaithful answers"]["passed"]
    assert len(seen["orig_mr"] & wrong) >= 0.5 * len(wrong)
    assert len(seen["orig_mr"] - wrong) <= 0.06 * len(seen["orig_mr"]), "19 of 20 reports are right"
    assert len(seen["mr"]) <= 0.06 * len(raw), "after the correction few rows are left"


def test_flipped_intents_of_a_bank_stand_at_the_top(shared_data: Path, tmp_path: Path) -> None:
    rows = [
        row(item["text"], item["label"], i) for i, item in enumerate(lines(shared_data, "banking77/train.jsonl.gz"))
    ]
    planted = flip_labels(rows, 0.1, random.Random(3))
    written(tmp_path, pairs(planted.rows))
    ran, checks, findings = check(tmp_path)
    doubted = of(findings, "label errors")
    first = {found["source"]["line"] - 1 for found in doubted[: len(planted.truth)]}
    assert len(first & set(planted.truth)) >= 0.5 * len(planted.truth), "five times what chance would give"
    assert all(found["severity"] != "error" and "“" in found["message"] for found in doubted)
    assert checks["label errors"]["figures"]["labels"] == 77
    assert ran.code == 0, "doubt stops nothing"


def test_broken_json_among_parsed_commands(shared_data: Path, tmp_path: Path) -> None:
    rows = [
        row(
            item["text"],
            json.dumps({"intent": item["intent"], "slots": {s["slot"]: s["value"] for s in item["slots"]}}),
        )
        for item in lines(shared_data, "snips-slots/train.jsonl.gz")[:3000]
    ]
    rng, spoiled = random.Random(4), {}
    for number in rng.sample(range(len(rows)), 60):
        text = rows[number].target.text
        spoiled[number] = rng.choice(
            (text[:-1], text.replace('"intent"', '"intnt"'), text.replace('"slots": {', '"slots": [{'))
        )
    broken = [row(each.messages[0].text, spoiled.get(i, each.target.text)) for i, each in enumerate(rows)]
    written(tmp_path, pairs(broken))
    _, checks, findings = check(tmp_path)
    reported = {found["source"]["line"] - 1 for found in of(findings, "form of the answers")}
    assert set(spoiled) <= reported
    assert len(reported) <= len(spoiled) + 2, "two real rows have a value where all others choose among few"
    assert checks["form of the answers"]["figures"]["conformance"] == pytest.approx(0.98, abs=1e-3)


def test_personal_data_in_english_and_dutch_is_found_and_never_shown(shared_data: Path, tmp_path: Path) -> None:
    english = lines(shared_data, "pii-synthetic/train.jsonl.gz")[:800]
    texts = [item["full_text"] for item in english]
    wanted = {"EMAIL_ADDRESS", "IBAN_CODE", "CREDIT_CARD", "PHONE_NUMBER", "US_SSN", "IP_ADDRESS"}
    holding = {n for n, item in enumerate(english, 1) if wanted & {span["entity_type"] for span in item["spans"]}}
    dutch = [
        f"Mijn rekening is {ISO}, kunt u dat nakijken?",
        "Mijn BSN is 111222333 en ik ben geboren op 12 mei 1980.",
        "Bel mij op 06-12345678 of mail naar jan.jansen@voorbeeld.nl.",
        "Ik woon op Dorpsstraat 12, 1234 AB Utrecht.",
    ]
    clean = ["Hoe laat gaat de winkel open?", "Waar vind ik de handleiding van de lamp?"]
    rows = [{"prompt": text, "completion": "Dank u wel."} for text in (*texts, *dutch, *clean)]
    path = written(tmp_path, rows)
    ran, _, findings = check(tmp_path)
    found = {each["source"]["line"] for each in of(findings, "personal data")}
    start = len(texts)
    assert set(range(start + 1, start + 5)) <= found, "every Dutch row"
    assert not {start + 5, start + 6} & found
    assert len(found & holding) >= 0.95 * len(holding)
    reports = ran.out + "".join(p.read_text("utf-8") for p in (tmp_path / "data-check").iterdir())
    values = [
        span["entity_value"]
        for item in english
        for span in item["spans"]
        if span["entity_type"] in wanted - {"PHONE_NUMBER"}
    ]
    assert [value for value in (*values, ISO, "111222333", "jan.jansen@voorbeeld.nl") if value in reports] == []
    assert path.exists()


PERSONAL_ONLY = ("--kind", "personal data", "--out", "clean.jsonl")
DUTCH = ("email", "phone", "iban", "card", "address", "birth_date", "ip", "bsn", "rijksregister")


def dutch_values(sentences: list[str], rng: random.Random) -> Iterable[tuple[str, str]]:
    """Real Dutch sentences, every second one with a value at its end; gives the value too."""
    for number, sentence in enumerate(sentences):
        if number % 2:
            yield sentence, ""
            continue
        made = planting(DUTCH[number // 2 % len(DUTCH)], rng)
        while made.kind not in IDS and made.language != "nl":
            made = planting(made.kind, rng)
        yield f"{sentence} {made.text}", made.text[made.start : made.end]


def test_dutch_rows_with_personal_data_are_found_and_repaired(shared_data: Path, tmp_path: Path) -> None:
    sentences = [item["text"] for item in lines(shared_data, "dutch-sentences/dev.jsonl.gz")]
    rows = list(dutch_values(sentences + [f"Nogmaals: {text}" for text in sentences], random.Random(6)))
    written(tmp_path, ({"prompt": text, "completion": "Dank u wel, wij kijken het na."} for text, _ in rows))
    ran, checks, findings = check(tmp_path)
    found = {each["source"]["line"] - 1 for each in of(findings, "personal data")}
    holding = {number for number, (_, value) in enumerate(rows) if value}
    assert len(rows) > 1400
    assert holding <= found, "every planted value"
    assert len(found - holding) <= 0.01 * len(rows), "what is left are titles with a name, and a real date of birth"
    kinds = checks["personal data"]["figures"]["kinds"]
    assert all(kinds[kind]["rows"] >= 79 for kind in DUTCH)
    values = [value for _, value in rows if value]
    reports = ran.out + "".join(path.read_text("utf-8") for path in (tmp_path / "data-check").iterdir())
    assert [value for value in values if value in reports] == []
    home = {"TUNESMITH_HOME": str(tmp_path / "home")}
    repaired = inside("data", "repair", "rows.jsonl", *PERSONAL_ONLY, at=tmp_path, **home)
    assert repaired.code == 0, repaired.err
    text = (tmp_path / "clean.jsonl").read_text("utf-8")
    assert [value for value in values if value in text] == []
    assert text.count("[BSN]") >= 79


def test_clauses_of_many_contracts_as_long_documents(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "legal-clauses" / "cuad-clauses-fewshot.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    clauses = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    contracts: dict[str, list[str]] = {}
    for clause in clauses:
        contracts.setdefault(clause["document"], []).append(clause["text"])
    documents = ["\n\n".join(dict.fromkeys(parts)) for parts in contracts.values()]
    longest = max(range(len(documents)), key=lambda number: len(documents[number]))
    shown = documents[longest].split()
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps({"prompt": "What does this mean? " + " ".join(shown[:60]), "completion": "A."}) + "\n")
    again = " ".join(documents[longest].upper().split())
    written(tmp_path, ({"text": text} for text in (*documents, again)))
    arguments = ("data", "check", "rows.jsonl", "--against", "exam.jsonl", "--json")
    ran = inside(*arguments, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert ran.code == 0, ran.err
    checks = {each["name"]: each for each in ran.document["checks"]}
    copies = of(ran.document["findings"], "exact duplicates")
    assert any(f"lines {longest + 1}, {len(documents) + 1}" in found["message"] for found in copies)
    leaks = of(ran.document["findings"], "training rows that give away held-out rows")
    assert any(found["source"]["path"] == "exam.jsonl" and "words in a row" in found["message"] for found in leaks)
    assert not of(ran.document["findings"], "secrets")
    assert checks["conflicting answers"]["passed"] is None


def test_clauses_of_contracts_as_long_documents(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "legal-clauses" / "contracts"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.md"))]
    clauses = [part for text in texts for part in text.split("\n\n") if len(part.split()) >= 40]
    twice = clauses[7].upper()
    near = clauses[11].replace(" the ", " this ", 1)
    written(tmp_path, ({"text": text} for text in (*clauses, twice, near, texts[0])))
    ran, checks, findings = check(tmp_path)
    assert ran.code == 0, ran.err
    copies = [found["message"] for found in of(findings, "exact duplicates")]
    assert any(f"lines 8, {len(clauses) + 1}" in message for message in copies)
    groups = [
        {found["source"]["line"], *(o["line"] for o in found["others"])} for found in of(findings, "near duplicates")
    ]
    assert any({12, len(clauses) + 2} <= group for group in groups)
    assert checks["label errors"]["passed"] is None, "documents have no labels: not checked is not passed"
    assert checks["conflicting answers"]["detail"] == "not checked: no row has a question"
