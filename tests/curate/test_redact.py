"""Personal data leaves rows: masks, pseudonyms, and what keeps them from being undone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.records import Document, Edit, Example, Message, Reply, ToolCall
from tunesmith.curate.lab import keys, personal
from tunesmith.curate.personal.detector import Detector, euredact_engine
from tunesmith.curate.personal.found import Found, without_overlaps
from tunesmith.curate.personal.names import NameList, read_names
from tunesmith.curate.personal.options import PersonalOptions, action_of, reason_of
from tunesmith.curate.personal.redact import apply, load_key, pseudonym, redact, without_personal

KEY, OTHER = b"a key of sixteen bytes or more", b"and another key of such a length"


def row(question: str, answer: str, *calls: ToolCall) -> Example:
    turns = (Message(role="system", content="Help jan@bedrijf.nl."), Message(role="user", content=question))
    return Example(messages=turns, target=Reply(message=Message(role="assistant", content=answer, tool_calls=calls)))


def said(example: Example) -> list[str]:
    return [message.text for message in example.conversation]


def test_every_turn_is_masked_and_the_rest_stays() -> None:
    before = row("Mijn BSN is 111222333, bel 06-12345678.", "Genoteerd: 111.222.333? Nee: NL91 ABNA 0417 1643 00.")
    after, counts = redact(before)
    assert said(after) == [
        "Help [EMAIL].",
        "Mijn BSN is [BSN], bel [PHONE].",
        "Genoteerd: [BSN]? Nee: [IBAN].",
    ]
    assert counts == {"email": 1, "bsn": 2, "phone": 1, "iban": 1}
    assert redact(after) == (after, {}), "what was masked is not found again"


def test_a_row_without_personal_data_is_the_same_row() -> None:
    before = Example(messages=(Message(role="user", content="Hoi"),), target=Reply(message=Message(role="assistant")))
    after, counts = redact(before)
    assert after is before
    assert not counts


def test_arguments_of_tool_calls_stay_json() -> None:
    call = ToolCall(name="f", arguments='{"bsn": 111222333, "mail": "rené@x.nl", "n": [111222333]}')
    escaped = ToolCall(name="g", arguments=json.dumps({"wie": "Zoë Çelik", "mail": "zoë@post.nl", "bsn": "111222333"}))
    after, counts = redact(row("?", "", call, escaped), detector=Detector(names=NameList(["Zoë Çelik"])))
    first, second = (json.loads(made.arguments) for made in after.conversation[-1].tool_calls)
    assert first == {"bsn": "[BSN]", "mail": "[EMAIL]", "n": ["[BSN]"]}
    assert second == {"wie": "[PERSON]", "mail": "[EMAIL]", "bsn": "[BSN]"}
    assert counts == {"bsn": 3, "email": 3, "name": 1}


def test_answers_that_are_json_stay_json() -> None:
    after, _ = redact(row("?", '{"id": 111222333, "text": "bel \\"06-12345678\\" nu", "n": 4}'))
    assert json.loads(after.target.text) == {"id": "[BSN]", "text": 'bel "[PHONE]" nu', "n": 4}


def test_plain_texts_are_redacted() -> None:
    before = Example(messages=(), target=Document(text="Schrijf naar jan@bedrijf.nl of bel 020-1234567."))
    after, _ = redact(before)
    assert after.target.text == "Schrijf naar [EMAIL] of bel [PHONE]."


def test_values_are_found_whatever_signs_they_are_written_with() -> None:
    after, counts = redact(
        row("Bel 06\u00a012\u202f34\u00a056\u00a078 of +31\u201120\u20111234567", "BSN １１１２２２３３３")
    )
    assert said(after)[1:] == ["Bel [PHONE] of [PHONE]", "BSN [BSN]"]
    assert counts["phone"] == 2


def test_policies_of_kinds_go_before_those_of_classes() -> None:
    policies = {"national_id": "block", "bsn": "pseudonym", "others": "keep: invented", "email": "mask"}
    assert [action_of(kind, policies) for kind in ("bsn", "pesel", "email", "phone")] == [
        "pseudonym",
        "block",
        "mask",
        "keep",
    ]
    assert reason_of("phone", policies) == "invented"
    assert reason_of("email", policies) == ""
    after, counts = redact(row("bel 06-12345678", "BSN 111222333"), policies, KEY)
    assert said(after)[1] == "bel 06-12345678"
    assert said(after)[2].startswith("BSN BSN_")
    assert counts == {"email": 1, "phone": 1, "bsn": 1}


def test_pseudonyms_are_stable_under_a_key_and_unlinkable_across_keys() -> None:
    rng = random.Random(2)
    values = [personal.planting("email", rng).value for _ in range(50)]
    values += [personal.planting("phone", rng).value for _ in range(50)]
    kinds = ["email"] * 50 + ["phone"] * 50
    first = [pseudonym(kind, value, KEY) for kind, value in zip(kinds, values, strict=True)]
    assert first == [pseudonym(kind, value, KEY) for kind, value in zip(kinds, values, strict=True)]
    second = [pseudonym(kind, value, OTHER) for kind, value in zip(kinds, values, strict=True)]
    assert not set(first) & set(second)
    assert len(set(first)) == len({value.lower() for value in values})
    for value, name in zip(values, first, strict=True):
        assert value.lower() not in name.lower()


def test_one_value_has_one_pseudonym_however_it_is_written() -> None:
    assert pseudonym("iban", "NL91 ABNA 0417 1643 00", KEY) == pseudonym("iban", "nl91abna0417164300", KEY)
    assert pseudonym("email", "Jan@Bedrijf.NL", KEY) == pseudonym("email", "jan@bedrijf.nl", KEY)
    assert pseudonym("name", "Jan  de Vries", KEY) == pseudonym("name", "JAN DE VRIES", KEY)
    assert pseudonym("phone", "+31 (0)20 123 45 67", KEY) == pseudonym("phone", "0031 20 1234567", KEY)
    assert pseudonym("email", "jan@bedrijf.nl", KEY) != pseudonym("email", "jan.@bedrijf.nl", KEY)


def test_pseudonyms_are_not_found_again_and_belong_to_nobody() -> None:
    before = row("Mail piet@bedrijf.nl, bel 06-12345678, IBAN NL91ABNA0417164300", "Dag meneer Jansen, BSN 111222333")
    after, _ = redact(before, {"others": "pseudonym"}, KEY)
    assert "@example.invalid" in said(after)[1]
    assert redact(after, {"others": "pseudonym"}, KEY) == (after, {})


def test_pseudonyms_need_a_key() -> None:
    with pytest.raises(ConfigError, match="pseudonyms need a key") as caught:
        redact(row("jan@x.nl", ""), {"email": "pseudonym"})
    assert "TUNESMITH_PSEUDONYM_KEY" in caught.value.fix


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert load_key(environment={"TUNESMITH_PSEUDONYM_KEY": " " + KEY.decode() + "\n"}) == KEY
    file = tmp_path / "key"
    file.write_bytes(OTHER + b"\n")
    assert load_key(str(file), {"TUNESMITH_PSEUDONYM_KEY": KEY.decode()}) == OTHER
    with pytest.raises(ConfigError, match="pseudonyms need a key"):
        load_key(environment={})
    with pytest.raises(ConfigError, match="the key of pseudonyms has 5 bytes"):
        load_key(environment={"TUNESMITH_PSEUDONYM_KEY": "short"})
    with pytest.raises(ConfigError, match="the key of pseudonyms cannot be read"):
        load_key(str(tmp_path / "none"))


def refusal(policies: dict[str, str]) -> ConfigError:
    with pytest.raises(ValidationError) as caught:
        PersonalOptions(policies=policies)
    error = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(error, ConfigError)
    return error


@pytest.mark.parametrize("policy", ["hide", "keep", "keep: ", "mask: because", "Block"])
def test_policies_that_are_not_understood_are_refused(policy: str) -> None:
    error = refusal({"email": policy})
    assert f"the policy {policy!r} of email is not understood" in error.what
    assert "keep with its reason" in error.rule


def test_unknown_classes_are_refused_with_the_nearest() -> None:
    error = refusal({"e-mail": "mask"})
    assert error.what == "there is no class of personal data 'e-mail'"
    assert error.fix == "did you mean 'email'?"
    with pytest.raises(ValidationError):
        PersonalOptions.model_validate({"key": "in the configuration"})


def test_edits_apply_to_the_turn_or_the_call_that_they_name() -> None:
    before = row("abc def", "ghi", ToolCall(name="f", arguments='{"a": "xyz"}'), ToolCall(name="g", arguments="{}"))
    after = apply(
        before,
        [
            Edit(turn=1, start=0, end=3, text="A"),
            Edit(turn=1, start=4, end=7, text="D"),
            Edit(turn=2, call=0, start=7, end=10, text="Z"),
        ],
    )
    assert said(after) == ["Help jan@bedrijf.nl.", "A D", "ghi"]
    assert [call.arguments for call in after.conversation[2].tool_calls] == ['{"a": "Z"}', "{}"]


# ---------------------------------------------------------------- names


def test_names_of_a_list_are_found_as_whole_words(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# customers\nJan de Vries\nRoos\nÖzlem Weiß\n\n", "utf-8")
    names = read_names(str(file))
    assert len(names) == 3
    found = Detector(names=names)
    text = "jan DE vries en Roos kochten een roos; Roosmarijn en ÖZLEM WEISS ook, Jan niet. Özlem Weiß wel."
    seen = [text[one.start : one.end] for one in found.find(text)]
    assert seen == ["jan DE vries", "Roos", "Özlem Weiß"]


def test_a_list_of_names_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the list of names cannot be read"):
        read_names(str(tmp_path / "none.txt"))
    file = tmp_path / "empty.txt"
    file.write_text("# nobody\n", "utf-8")
    with pytest.raises(DataError, match="the list of names is empty"):
        read_names(str(file))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Geachte mevrouw Van den Berg,", "Van den Berg"),
        ("Ik heet Sanne Bakker en woon hier.", "Sanne Bakker"),
        ("Met vriendelijke groet,\nDaan Mulder", "Daan Mulder"),
        ("Dear Mr. O'Brien, thank you", "O'Brien"),
        ("My name is Amelia Whitmore.", "Amelia Whitmore"),
        ("Sehr geehrter Herr Müller,", "Müller"),
        ("Je m'appelle Élise Dubois.", "Élise Dubois"),
        ("Dear Customer Support,", ""),
        ("Beste klant, het beste restaurant", ""),
        ("Mister is a title; Mr is one too.", ""),
    ],
)
def test_names_behind_titles_and_greetings(text: str, name: str) -> None:
    assert [text[one.start : one.end] for one in Detector().find(text)] == ([name] if name else [])


# ---------------------------------------------------------------- several engines


def test_of_overlapping_spans_the_surest_stays() -> None:
    spans = [Found("phone", 0, 10, confidence=0.6), Found("bsn", 2, 9, confidence=0.99), Found("name", 12, 15)]
    assert [one.kind for one in without_overlaps(spans)] == ["bsn", "name"]
    assert without_overlaps(spans, least=0.95) == [spans[1]]


def test_euredact_looks_beside_our_rules_where_it_is_installed() -> None:
    pytest.importorskip("euredact")
    detector = Detector(engines=(euredact_engine(),))
    text = "Factuur voor NL91ABNA0417164300, VIN WVWZZZ1JZXW000001."
    assert ("iban", "rules") in {(one.kind, one.engine) for one in detector.find(text)}


def test_euredact_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "euredact", None)
    with pytest.raises(ConfigError, match="the engine euredact is not installed"):
        euredact_engine()


# ---------------------------------------------------------------- what reports quote


def test_reports_quote_rows_without_their_values() -> None:
    token = keys.secret("github_token", random.Random(1))
    text = f"the answer 'mail jan@bedrijf.nl, BSN 111222333, {token}' differs from 'bel 06-12345678'"
    assert without_personal(text) == "the answer 'mail [EMAIL], BSN [BSN], [SECRET]' differs from 'bel [PHONE]'"
    assert without_personal("lines 1, 3, 9: 2 of 400 rows") == "lines 1, 3, 9: 2 of 400 rows"


def test_long_texts_take_no_more_than_linear_time() -> None:
    for nasty in (
        "a" * 200_000,
        "1 " * 100_000,
        "@" * 50_000,
        "a@" * 30_000,
        "+1-" * 60_000,
        "A1" * 100_000,
        "://:" * 40_000,
    ):
        Detector().find(nasty)
        Detector().find_secrets(nasty)
