"""Real orders become examples through a column mapping, and come back out as they went in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Ran, inside
from tunesmith.curate import read_file


def data(at: Path, *arguments: object) -> Ran:
    return inside("data", *arguments, at=at, TUNESMITH_HOME=str(at / "home"))


def test_real_orders_through_a_column_mapping(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "customer-orders" / "northwind-orders.jsonl.gz"
    if not source.is_file():
        pytest.skip(f"{source} is not here")
    template = "prompt={customer} ({country}) ordered {quantity} × {item} on {date}. Which kind?"
    arguments = ("--template", template, "--column", "completion=category", "--out", "orders.jsonl")
    ran = data(tmp_path, "import", source, *arguments, "--json")
    assert ran.document["rows"] == 2155
    first = read_file(str(tmp_path / "orders.jsonl"))[0]
    assert first.messages[0].text == (
        "Vins et alcools Chevalier (France) ordered 12 × Queso Cabrales on 1996-07-04 00:00:00.000. Which kind?"
    )
    assert first.target.text == "Dairy Products"
    assert data(tmp_path, "check", "orders.jsonl").code == 0
    back = data(tmp_path, "import", "orders.jsonl", "--out", "orders.csv", "--to", "prompt-completion")
    assert back.code == 0, back.err
    again = data(tmp_path, "import", "orders.csv", "--out", "again.jsonl", "--json")
    assert again.document["sha256"] == ran.document["sha256"]
