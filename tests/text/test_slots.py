"""Facts that a text has to state, on rows that were checked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.core.errors import ConfigError
from tunesmith.text.graders import Lexicon, SlotChecker, load_lexicon, read_facts, slot_counts

LEXICON = Path(__file__).parents[2] / "recipes" / "restaurants.lexicon.yaml"
EAGLE = (
    "name[The Eagle], eatType[coffee shop], food[French], priceRange[less than £20], customer rating[low], "
    "area[riverside], familyFriendly[yes], near[Burger King]"
)
RIGHT = (
    "The Eagle is a kid-friendly French coffee shop by the river, near Burger King. It is cheap and has a low customer "
    "rating."
)

# (facts, text, missing, wrong, invented): judged by a person before the checker was run
BY_HAND = [
    (EAGLE, RIGHT, [], [], []),
    (EAGLE, RIGHT.replace("kid-friendly", "Kid Friendly").replace("the river", "the riverside"), [], [], []),
    (EAGLE, RIGHT.replace("kid-friendly ", ""), ["yes"], [], []),
    (EAGLE, RIGHT.replace("kid-friendly", "adults-only"), [], ["yes"], []),
    (EAGLE, RIGHT.replace("is a kid-friendly", "is not family-friendly. It is a"), [], ["yes"], []),
    (EAGLE, RIGHT.replace("French", "Italian"), [], ["French"], []),
    (EAGLE, RIGHT.replace("The Eagle", "The Mill"), ["The Eagle"], [], []),
    (EAGLE, RIGHT.replace("cheap", "in the high price range"), [], ["less than £20"], []),
    (EAGLE, RIGHT.replace("low customer rating", "customer rating of 5 out of 5"), [], ["low"], []),
    (EAGLE, "", [value for values in read_facts(EAGLE).values() for value in values], [], []),
    ("name[The Mill], area[city centre]", "The Mill is in the center of the city.", [], [], []),
    ("name[The Mill], area[city centre]", "The Mill is a pub in the city centre.", [], [], ["pub"]),
    ("name[The Mill], area[city centre]", "The Mill is a restaurant in the city center.", [], [], []),
    ("name[The Mill], area[city centre]", "The Mill is riverside.", [], ["city centre"], []),
    ("name[The Mill], familyFriendly[no]", "The Mill does not allow children.", [], [], []),
    ("name[The Mill], familyFriendly[no]", "The Mill welcomes families.", [], ["no"], []),
    ("name[The Mill], near[Raja Indian Cuisine]", "The Mill is near Raja Indian Cuisine.", [], [], []),
    ("name[The Mill], near[Raja Indian Cuisine]", "The Mill is Indian.", ["Raja Indian Cuisine"], [], ["indian"]),
    ("name[Cocum], food[English], food[Chinese]", "Cocum has English and Chinese food.", [], [], []),
    ("name[Cocum], food[English], food[Chinese]", "Cocum has English food.", ["Chinese"], [], []),
    ("name[Cocum], food[English], food[Chinese]", "Cocum has English and Italian food.", [], ["Chinese"], []),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "text", "missing", "wrong", "invented"), BY_HAND)
def test_rows_that_were_checked_by_hand(facts, text, missing, wrong, invented):
    read = read_facts(facts)
    [found] = slot_counts(load_lexicon(LEXICON), [read], [text])
    parts = [sorted(value for _, value in part) for part in (found.missing, found.wrong, found.invented)]
    assert parts == [sorted(missing), sorted(wrong), sorted(invented)]
    assert found.wanted == sum(map(len, read.values()))
    assert found.errors == len(missing) + len(wrong) + len(invented)


def test_a_value_of_another_row_is_invented():
    rows = [read_facts("name[Zizzi], near[The Vaults]"), read_facts("name[Aromi], near[Café Adriatic]")]
    found = slot_counts(Lexicon(), rows, ["Zizzi is near The Vaults and Café Adriatic.", "Aromi is near Zizzi"])
    assert [(c.missing, c.wrong, c.invented) for c in found] == [
        ((), (), (("near", "café adriatic"),)),
        ((("near", "Café Adriatic"),), (), (("name", "zizzi"),)),
    ]


@pytest.mark.parametrize(
    ("question", "facts"),
    [
        ("Describe it:\nname[A b], price range[£20-25]", {"name": ("A b",), "price range": ("£20-25",)}),
        ('Write it up: {"name": "A", "tags": ["x", "y", "x"], "n": 3, "of": {"a": true}}',
         {"name": ("A",), "tags": ("x", "y"), "n": ("3",), "of.a": ("true",)}),
        ("What is the capital of France?", None),
        ("", None),
        ("{not json}", None),
    ],
)  # fmt: skip
def test_reading_facts(question, facts):
    assert read_facts(question) == facts


def test_values_that_nobody_says_verbatim_need_a_lexicon():
    rows = [{"name": ("A",), "open": ("yes",)}]
    checker = SlotChecker(Lexicon(), rows)
    assert checker.unsayable == ["open"]
    assert checker.check(rows[0], "A").wanted == 1
    declared = Lexicon.model_validate({"slots": {"open": {"values": {"yes": ["open now"]}}}})
    assert SlotChecker(declared, rows).unsayable == []
    assert slot_counts(declared, rows, ["A is open now"])[0].errors == 0
    assert slot_counts(Lexicon(ignore=("open",)), rows, ["A"])[0].wanted == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slots: {a: {value: {}}}", "not a lexicon: slots.a.value"),
        ("slots: {a: {values: {b: ['/(/']}}}", "not a lexicon: a /pattern/"),
        ("[1]", "not a lexicon: "),
    ],
)
def test_files_that_are_no_lexicon(tmp_path, text, message):
    (tmp_path / "l.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not a lexicon:") as error:
        load_lexicon(tmp_path / "l.yaml")
    assert message in error.value.what
    with pytest.raises(ConfigError, match="cannot read the lexicon"):
        load_lexicon(tmp_path / "none.yaml")
