"""Personal data and secrets that were planted are found, and clean text is left alone."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rows import shared_data
from tunesmith.curate.lab import keys, personal
from tunesmith.curate.lab.personal import Planting
from tunesmith.curate.personal.detector import Detector
from tunesmith.curate.personal.found import KINDS, Found

NUMBERS = json.loads((Path(__file__).parent / "numbers.json").read_text("utf-8"))
"""Numbers that another implementation (python-stdnum 2.2) calls valid or invalid, and published test numbers."""

DETECTOR = Detector()


def hit(planting: Planting, found: list[Found]) -> bool:
    """Whether the whole value was found, as what it is."""
    return any(one.kind == planting.kind and one.start <= planting.start <= planting.end <= one.end for one in found)


def recall(kind: str, count: int, seed: int = 11) -> float:
    plantings = personal.corpus(count, random.Random(seed), [kind])
    return sum(hit(one, DETECTOR.find(one.text)) for one in plantings) / count


@pytest.mark.parametrize("kind", [*personal.IDS, "iban", "card"])
def test_every_planted_number_with_a_check_digit_is_found(kind: str) -> None:
    assert recall(kind, 60) == 1.0


@pytest.mark.parametrize("kind", ["email", "phone", "ip", "mac", "birth_date"])
def test_planted_values_without_check_digits_are_found(kind: str) -> None:
    assert recall(kind, 300) >= 0.99


def test_most_planted_addresses_are_found_and_names_only_where_something_introduces_them() -> None:
    assert recall("address", 200) >= 0.95
    names = recall("name", 200)
    assert 0.3 < names < 0.7, "half of the names stand behind a title, and rules find no others"


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != "vat"])
def test_numbers_that_another_implementation_calls_valid_are_found(kind: str) -> None:
    label = personal.LABELS.get(kind, "number of my card")
    for value in NUMBERS[kind]["valid"]:
        text = f"My {label} is {value}, thank you."
        assert kind in {one.kind for one in DETECTOR.find(text)}, value


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if NUMBERS[kind]["invalid"]])
def test_numbers_that_another_implementation_calls_invalid_are_not_taken_for_one(kind: str) -> None:
    label = personal.LABELS.get(kind, "number of my card")
    for value in NUMBERS[kind]["invalid"]:
        text = f"My {label} is {value}, thank you."
        assert kind not in {one.kind for one in DETECTOR.find(text)}, value


def test_vat_numbers_of_twelve_countries_are_found() -> None:
    missed = [v for v in NUMBERS["vat"]["valid"] if not any(f.kind == "vat" for f in DETECTOR.find(f"VAT {v} applies"))]
    assert missed == []


def test_no_number_that_fails_the_11_test_is_a_bsn() -> None:
    rng = random.Random(5)
    wrong = 0
    while wrong < 300:
        value = personal.digits(rng, 9)
        if sum(int(d) * w for d, w in zip(value, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True)) % 11:
            wrong += 1
            assert "bsn" not in {one.kind for one in DETECTOR.find(f"Mijn BSN is {value}.")}


def test_a_number_with_a_word_for_a_thing_is_not_a_person() -> None:
    assert [f.kind for f in DETECTOR.find("Mijn BSN is 111222333.")] == ["bsn"]
    assert DETECTOR.find("Uw bestelnummer is 111222333, uw factuurnummer: 123456782.") == []


@pytest.mark.parametrize("kind", list(keys.FORMS))
def test_every_form_of_secret_is_found(kind: str) -> None:
    rng = random.Random(7)
    for around in ("{}", "Gebruik {} voor de test.", '{{"text": "x"}} {}\nen verder', "```\n{}\n```"):
        text = around.format(keys.secret(kind, rng))
        assert kind in {one.kind for one in DETECTOR.find_secrets(text)}


def test_at_least_thirty_forms_of_secrets_are_known() -> None:
    assert len(keys.FORMS) >= 30


@pytest.mark.parametrize(
    "text",
    [
        "api_key = os.environ['API_KEY']",
        'client = OpenAI(api_key="sk-...")',
        "export GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "postgresql://user:password@localhost/db",
        "mysql://${USER}:${PASSWORD}@host/db",
        "password = input('Password: ')",
        "Uw wachtwoord is verlopen, kies een nieuw wachtwoord.",
        "token = tokenizer.convert_ids_to_tokens(ids)",
        "the secret of a good soup is patience, and 3 carrots",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "digest: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "https://example.org/very/long/path/with/2026/01/some-article-title-that-goes-on",
        "skip-connections-and-other-long-words-with-dashes",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert DETECTOR.find_secrets(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Op 12-03-2024 om 10:30 kochten 1.500 mensen 25 kaartjes voor € 1.250.000,00.",
        "In 2019-2020 groeide de omzet van 100 000 naar 250 000 euro.",
        "Versie 1.2.3.4 van het programma, build 20240312.1, poort 8080.",
        "ISBN 978-90-274-3964-2 en ISBN 0-306-40615-2, EAN 4006381333931.",
        "Order 12345678, artikelnummer 87654321, zending 3SABCD1234567.",
        "std::vector<int> a{1, 2, 3}; auto b = foo::bar::baz(a);",
        "De test geeft 0.123456782 en 1/123456782 als antwoord.",
        "Each tile is 1 square inch, so 48 square inches; 12 Angry Men is a film.",
        "M&Ms. He eats 12 of them. Dr. No is a film.",
        "Het ticket kost 1500 MB aan data, zegt de 2000 EU-ambtenaar.",
        "f(x) = 3141592653589793 * 2.718281828459045",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "@decorator\ndef f(): return user@",
        "Route::get('/users/{id}', 12);",
    ],
)
def test_numbers_of_everyday_text_are_left_alone(text: str) -> None:
    found = [(one.kind, text[one.start : one.end]) for one in DETECTOR.find(text)]
    assert [pair for pair in found if pair != ("name", "No")] == []


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def rows(folder: str, file: str) -> list[str]:
    place = shared_data(folder)
    if place is None:
        pytest.skip(f"shared/data/{folder} is not there")
    with gzip.open(place / file, "rt", encoding="utf-8") as lines:
        return ["\n".join(strings(json.loads(line))) for line in lines]


@pytest.mark.parametrize(
    ("folder", "file", "most"),
    [
        ("dutch-sentences", "dev.jsonl.gz", 0.0),
        ("humaneval", "HumanEval.jsonl.gz", 0.0),
        ("banking77", "dev.jsonl.gz", 0.0),
        ("xsid-dutch", "valid.jsonl.gz", 0.0),
        ("e2e-restaurants", "dev.jsonl.gz", 0.0),
        ("tldr-commands", "nl.jsonl.gz", 0.003),  # e-mail and IP addresses of examples
    ],
)
def test_clean_text_raises_next_to_no_alarm(folder: str, file: str, most: float) -> None:
    texts = rows(folder, file)
    alarms: Counter[str] = Counter()
    for text in texts:
        alarms.update(one.kind for one in DETECTOR.find(text) if one.kind not in ("name", "birth_date"))
        assert DETECTOR.find_secrets(text) == []
    assert sum(alarms.values()) <= most * len(texts), alarms


def test_published_synthetic_sentences() -> None:
    place = shared_data("pii-synthetic")
    if place is None:
        pytest.skip("shared/data/pii-synthetic is not there")
    there: Counter[str] = Counter()
    found: Counter[str] = Counter()
    classes = {"EMAIL_ADDRESS": "email", "IBAN_CODE": "iban", "CREDIT_CARD": "card", "PHONE_NUMBER": "phone"}
    classes |= {"US_SSN": "national_id", "IP_ADDRESS": "ip"}
    with gzip.open(place / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            seen = DETECTOR.find(row["full_text"])
            for span in row["spans"]:
                group = classes.get(span["entity_type"])
                if group:
                    there[group] += 1
                    found[group] += any(
                        KINDS[one.kind].group == group
                        and one.start <= span["start_position"]
                        and one.end >= span["end_position"]
                        for one in seen
                    )
    least = {"email": 1.0, "iban": 1.0, "card": 0.99, "national_id": 1.0, "ip": 1.0, "phone": 0.9}
    assert {group: found[group] / there[group] >= bound for group, bound in least.items()} == dict.fromkeys(least, True)
