"""How varied the rows are, and whether they look like production."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.curate.helpers import example, jsonl, pair
from tunesmith.core.artifacts import Check
from tunesmith.curate import Inspection
from tunesmith.curate.checks.diversity import (
    DiversityOptions,
    ProductionOptions,
    Sample,
    clusters_of,
    delong,
    two_samples,
)
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.table import inspect

TOPICS = {
    "return": ["return my parcel", "refund for the parcel", "send a parcel back", "returns and refunds"],
    "invoice": ["invoice for my order", "a copy of the invoice", "wrong amount on the invoice", "pay an invoice"],
    "delivery": ["when does delivery come", "delivery is late", "change the delivery address", "track a delivery"],
}


def asked(topics: list[str], n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    extra = ["please", "today", "thanks", "hello", "urgent", "again", "kindly", "soon"]
    return [
        " ".join([rng.choice(TOPICS[rng.choice(topics)]), *rng.sample(extra, 3), str(rng.randrange(100))])
        for _ in range(n)
    ]


def inspected(questions: list[str], **options: object) -> Inspection:
    rows = [example(q, f"answer {i % 9} of nine", i + 1) for i, q in enumerate(questions)]
    return inspect(rows, Setting(Checks(**options)))  # type: ignore[arg-type]


def line(found: Inspection, name: str) -> Check:
    return next(check for check in found.checks if check.name == name)


def test_clusters_are_named_by_their_words_and_numbers_are_given() -> None:
    found = inspected(asked(list(TOPICS), 300, 1))
    figures = found.figures["diversity"]
    assert figures["clusters"] == 12
    assert 3 <= figures["effective clusters"] <= 12
    assert figures["distinct-1"] == pytest.approx(12 / (300 * 4), abs=0.001)
    assert figures["rows by turns before the answer"] == {"1": 300}
    names = {word for _, words in clusters_of(asked(list(TOPICS), 300, 1)) for word in words}
    assert {"invoice", "delivery", "parcel"} <= names


def test_rows_that_are_nearly_all_alike_are_said_to_be() -> None:
    rows = [f"return my parcel number {i}" for i in range(190)] + asked(["invoice"], 10, 1)
    found = inspected(rows, diversity=DiversityOptions(largest_cluster=0.3))
    assert {f.severity for f in found.findings if f.check == "diversity"} <= {"info"}
    shares = [share for share, _ in clusters_of(["return my parcel"] * 190 + asked(["invoice"], 10, 1))]
    assert shares[0] >= 0.95
    assert sum(shares) == pytest.approx(1)
    alike = inspected(["return my parcel"] * 190 + asked(["invoice"], 10, 1))
    (said,) = [f for f in alike.findings if f.check == "diversity"]
    assert "% of the questions are alike: " in said.message
    assert "parcel" in said.message


def test_few_rows_say_nothing() -> None:
    assert line(inspected(["a", "b"]), "diversity").detail == "not checked: diversity (fewer than 40 rows)"


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", *[pair(q, "x") for q in asked(list(TOPICS), 600, 2)])
    found = inspected(asked(["return", "invoice"], 600, 1), like_production=ProductionOptions(production=path))
    (said,) = [f for f in found.findings if f.check == "like production"]
    assert said.severity == "info"
    assert said.message.startswith("somewhat different: ")
    assert "delivery" in said.evidence.partition(";")[0]


def test_other_requests_than_those_of_production_are_a_warning(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "p.jsonl", *[pair(q, "x") for q in asked(["delivery", "invoice"], 300, 2)])
    found = inspected(asked(["return"], 300, 1), like_production=ProductionOptions(production=path))
    (said,) = [f for f in found.findings if f.check == "like production"]
    assert said.severity == "warning"
    assert said.message.startswith("not representative: training and production rows are told apart with AUC 1.00")
    assert found.figures["like production"]["AUC"] == 1.0


@pytest.mark.parametrize("seed", range(3, 9))
def test_rows_of_one_source_are_alike(seed: int) -> None:
    found = two_samples(asked(list(TOPICS), 300, seed), asked(list(TOPICS), 300, 100 + seed))
    assert found.low <= 0.5 <= found.high
    assert found.low > 0.4


def test_what_was_not_compared_is_said(tmp_path: Path) -> None:
    assert "not checked" in line(inspected(asked(["return"], 50, 1)), "like production").detail
    few = jsonl(tmp_path / "p.jsonl", pair("a", "b"))
    found = inspected(asked(["return"], 50, 1), like_production=ProductionOptions(production=few))
    assert line(found, "like production").detail == (
        "not checked: likeness to production (1 row on one side, 40 needed)"
    )


def test_the_area_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    negative, positive = rng.normal(0, 1, 150).round(1), rng.normal(0.7, 1, 120).round(1)
    auc, low, high = delong(negative, positive)
    sides = np.r_[np.zeros(150), np.ones(120)]
    assert auc == pytest.approx(roc_auc_score(sides, np.r_[negative, positive]), abs=1e-12)
    draws = [roc_auc_score(sides, np.r_[rng.choice(negative, 150), rng.choice(positive, 120)]) for _ in range(1000)]
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)


def test_a_sample_does_not_depend_on_the_order() -> None:
    texts = [f"text {i}" for i in range(1000)]
    one, other = Sample(50), Sample(50)
    for a, b in zip(texts, reversed(texts), strict=True):
        one.add(a)
        other.add(b)
    assert one.texts == other.texts
    assert len(one.texts) == 50
