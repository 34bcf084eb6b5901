"""The checks for personal data and secrets, and what no report may hold."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.curate.helpers import chat, example, jsonl, pair, write
from tunesmith.cli import main
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.records import Example, Finding, Message, Reply, ToolCall
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.privacy import PERSONAL, SAMPLE, SECRETS, Personal
from tunesmith.curate.checks.quotes import Quotes, error_without_values
from tunesmith.curate.checks.table import Inspection, inspect
from tunesmith.curate.corpus import Corpus
from tunesmith.curate.lab import keys, personal
from tunesmith.curate.lab.planted import numbered
from tunesmith.curate.personal.detector import Detector
from tunesmith.curate.personal.redact import apply, load_key, without_personal


def check(rows: Sequence[Example], tagger: Any = None, **options: Any) -> Inspection:
    setting = Setting(options=Checks.model_validate({"personal": options}), tagger=tagger)
    return inspect(rows, setting)


def of(found: Inspection, name: str) -> list[Any]:
    return [finding for finding in found.findings if finding.check == name]


def line(found: Inspection, name: str) -> Any:
    return next(check for check in found.checks if check.name == name)


def test_a_row_with_personal_data_is_a_warning_with_its_repair() -> None:
    row = example("Ik ben jan@bedrijf.nl", "BSN 111222333 en 123456782, toch?")
    (finding,) = of(check([row, example()]), PERSONAL)
    assert finding.severity == "warning"
    assert finding.message == "the row holds 2 Dutch BSNs, 1 e-mail address"
    assert finding.evidence == (
        "turn 1 (user), characters 8–21: [EMAIL]; turn 2 (assistant), characters 5–13: [BSN]; "
        "turn 2 (assistant), characters 18–26: [BSN]"
    )
    repaired = apply(row, finding.action.edits)
    assert repaired.target.text == "BSN [BSN] en [BSN], toch?"
    assert of(check([repaired]), PERSONAL) == []


def test_findings_count_in_words() -> None:
    (finding,) = of(check([example("Meneer Jansen en mevrouw De Boer", "geboren 1-2-1980 en 3-4-1981")]), PERSONAL)
    assert finding.message == "the row holds 1 date of birth, 2 names of persons"


def test_a_class_that_blocks_is_an_error_and_the_row_goes() -> None:
    row = example("Ik ben jan@bedrijf.nl", "BSN 111222333")
    (finding,) = of(check([row], policies={"national_id": "block"}), PERSONAL)
    assert finding.severity == "error"
    assert finding.action.kind == "quarantine"
    assert finding.action.rows == (row.source,)
    assert "the policy of Dutch BSN is block" in finding.fix


def test_a_class_that_is_kept_is_counted_with_its_reason() -> None:
    found = check([example("Ik ben jan@bedrijf.nl", "ja")], policies={"email": "keep: our own helpdesk"})
    assert of(found, PERSONAL) == []
    kinds = found.figures[PERSONAL]["kinds"]
    assert kinds == {"email": {"values": 1, "rows": 1, "policy": "keep", "reason": "our own helpdesk"}}


def test_pseudonyms_are_proposed_where_there_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_PSEUDONYM_KEY", raising=False)
    row = example("Ik ben jan@bedrijf.nl", "ja")
    with pytest.raises(ConfigError, match="pseudonyms need a key"):
        check([row], policies={"email": "pseudonym"})
    monkeypatch.setenv("TUNESMITH_PSEUDONYM_KEY", "a key that is long enough")
    (finding,) = of(check([row], policies={"email": "pseudonym"}), PERSONAL)
    (edit,) = finding.action.edits
    assert edit.text.endswith("@example.invalid")
    assert load_key() == b"a key that is long enough"


def test_the_report_says_how_names_were_looked_for(tmp_path: Path) -> None:
    found = check([example()])
    assert (
        "names: only behind titles and greetings, no dictionary and no NER model configured"
        in line(found, PERSONAL).detail
    )
    names = tmp_path / "names.txt"
    names.write_text("Jan de Vries\n", "utf-8")
    found = check([example("Jan de Vries belde")], dictionary=str(names))
    assert line(found, PERSONAL).detail.endswith("; names: dictionary only, no NER model configured")
    assert found.figures[PERSONAL]["engines"] == {"rules": "1", "dictionary": "1 name"}
    assert found.figures[PERSONAL]["kinds"]["name"]["values"] == 1


class Names:
    """A tagger that knows one name, and a town that is nobody."""

    name = "tiny-names"

    def __call__(self, text: str) -> list[tuple[str, int, int, float]]:
        return [
            (label, text.index(word), text.index(word) + len(word), 0.9)
            for label, word in (("PER", "Sanne"), ("LOC", "Delft"))
            if word in text
        ]


def test_a_model_of_names_finds_persons_only() -> None:
    found = check([example("Sanne woont in Delft")], Names(), ner_model="folder")
    (finding,) = of(found, PERSONAL)
    assert finding.message == "the row holds 1 name of a person"
    assert found.figures[PERSONAL]["names"] == "names: NER model tiny-names"


def test_a_model_that_nobody_loaded_is_not_passed_over() -> None:
    with pytest.raises(ConfigError, match="a model of names is configured, and was not loaded"):
        check([example()], ner_model="folder")


def test_the_sample_for_people_is_the_same_in_any_order() -> None:
    rows = numbered([example(f"question {n}", f"answer {n}") for n in range(3 * SAMPLE)])
    first = check(rows).figures[PERSONAL]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert check(shuffled).figures[PERSONAL]["sample"] == first["sample"]
    assert len(first["sample"]) == SAMPLE
    assert set(first["sample"]) <= {row.id for row in rows}
    assert "at most 1.5 % of the rows" in first["left over"]


def test_a_secret_is_always_an_error_and_shows_four_characters() -> None:
    value = keys.secret("github_token", random.Random(1))
    rows = numbered([example(f"gebruik {value}"), example("niets"), example("x", f"nog eens {value}")])
    findings = of(check(rows, policies={"others": "keep: test data"}), SECRETS)
    assert [finding.severity for finding in findings] == ["error", "error"]
    first, second = (finding.evidence.rpartition(": ")[2] for finding in findings)
    assert first == second, "equal secrets are seen to be equal"
    assert first.startswith("ghp_… #")
    assert value not in str(findings)
    assert findings[0].action.kind == "quarantine"
    assert "revoke it" in findings[0].fix


def test_of_a_short_password_less_is_shown() -> None:
    (finding,) = of(check([example("mijn wachtwoord is zomer2024!")]), SECRETS)
    assert finding.message == "the row holds a secret: password in words"
    assert finding.evidence.startswith("turn 1 (user): z… #")


def test_the_hash_of_a_secret_depends_on_all_rows() -> None:
    value = keys.secret("github_token", random.Random(1))
    one = of(check([example(f"gebruik {value}")]), SECRETS)
    two = of(check([example(f"gebruik {value}"), example("another row")]), SECRETS)
    assert one[0].evidence != two[0].evidence, "a guess cannot be tried without the data"


def test_secrets_in_tool_descriptions_and_arguments_are_found() -> None:
    value = keys.secret("stripe_key", random.Random(1))
    call = ToolCall(id="a", name="pay", arguments=json.dumps({"key": value}))
    row = Example(
        messages=(Message(role="user", content="pay"),),
        target=Reply(message=Message(role="assistant", tool_calls=(call,))),
        tools=({"type": "function", "function": {"name": "pay", "description": f"uses {value}"}},),
    )
    (finding,) = of(check([row]), SECRETS)
    assert "turn 2 (assistant), call 1: sk_l…" in finding.evidence
    assert "tool descriptions: sk_l…" in finding.evidence


def test_planted_rows_are_reported_and_no_others() -> None:
    rng = random.Random(6)
    clean = [example(f"Wat kost artikel {n}?", f"Het kost {n} euro en {n % 60} cent.") for n in range(300)]
    planted = personal.plant(clean, 0.2, rng)
    reported = {finding.source.line - 1 for finding in of(check(planted.rows), PERSONAL)}
    assert reported == set(planted.truth)
    planted = keys.plant(clean, 0.2, rng)
    reported = {finding.source.line - 1 for finding in of(check(planted.rows), SECRETS)}
    assert reported == set(planted.truth)


# ---------------------------------------------------------------- no report holds a value


def planted_values() -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of many kinds of defects, each with values in it, and the values."""
    rng = random.Random(9)
    rows: list[dict[str, Any]] = []
    values: list[str] = []
    for kind in [kind for kind in personal.KINDS if kind != "name"]:
        one, other = personal.planting(kind, rng), personal.planting(kind, rng)
        values += [one.value, other.value]
        rows += [pair(one.text, "ja"), pair(one.text, "nee"), pair(f"Vraag {kind}", f'{{"a": "{other.value}"}}')]
    for kind in keys.FORMS:
        secret = keys.secret(kind, rng)
        values.append(max(secret.replace("\n", " ").split(), key=len))
        rows.append(pair(f"Sleutel: {secret}", "ja"))
    tool = {"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}
    mail = personal.planting("email", rng).value
    values.append(mail)
    call = {"id": "1", "type": "function", "function": {"name": mail, "arguments": json.dumps({"to": mail})}}
    turns = [{"role": "user", "content": mail}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return [*rows, {"messages": turns, "tools": [tool]}], values


def leaks(text: str, values: Sequence[str]) -> list[str]:
    """Values that a text holds, also as JSON or HTML writes them."""
    forms = {
        value: (value, json.dumps(value)[1:-1], value.replace("&", "&amp;").replace("+", "&#43;")) for value in values
    }
    return [value for value, written in forms.items() if any(form in text for form in written)]


def test_no_output_of_data_check_holds_a_planted_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, values = planted_values()
    pairs = jsonl(tmp_path / "pairs.jsonl", *rows[:-1])
    chats = jsonl(tmp_path / "chats.jsonl", rows[-1])
    out = tmp_path / "out"
    for files in (pairs, chats):
        for arguments in (["--json"], []):
            assert main.run(["data", "check", files, "--out", str(out), *arguments]) == 1 or files == chats
            shown = "".join(capsys.readouterr())
            assert shown
            assert leaks(shown, values) == []
        for file in sorted(out.iterdir()):
            assert leaks(file.read_text("utf-8"), values) == [], file.name
    assert {file.name for file in out.iterdir()} == {"findings.jsonl", "curation_report.json", "curation.html"}


def test_no_error_about_a_row_holds_a_planted_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mail, token = "jan.de.vries@bedrijf.nl", keys.secret("gitlab_token", random.Random(4))
    bad = [
        pair("q", "a"),
        {"prompt": 5, "completion": f"x {mail}"},
        {"prompt": {"a": mail}, "completion": "x"},
        {"prompt": "q", mail: token},
        {"prompt": ["list", token], "completion": "x"},
    ]
    lines = [json.dumps(row) for row in bad] + ['{"prompt": "' + mail + '", "completion": ' + token]
    file = write(tmp_path / "bad.jsonl", "\n".join(lines))
    for arguments in ([], ["--json"]):
        assert main.run(["data", "check", file, "--out", str(tmp_path / "out"), *arguments]) == 2
        shown = "".join(capsys.readouterr())
        assert "cannot be read" in shown or "unreadable" in shown
        assert leaks(shown, [mail, token]) == []
    first = jsonl(tmp_path / "first.jsonl", chat(("narrator", mail), ("assistant", token)))
    assert main.run(["data", "check", first, "--out", str(tmp_path / "out")]) == 2
    assert leaks("".join(capsys.readouterr()), [mail, token]) == []
    for written in (tmp_path / "out").iterdir():
        assert leaks(written.read_text("utf-8"), [mail, token]) == []


def test_a_quote_without_the_words_around_it_is_masked_too() -> None:
    rows = numbered([example(f"Mijn OIB is {n}, wat is het?", f"Dat is {n}") for n in ("21728340122",)])
    found = {"style": [Finding(check="style", severity="info", message="has 21728340122", source=rows[0].source)]}
    observer = Personal(Setting(options=Checks()))
    for row in Corpus(rows):
        observer.see(row)
    quotes = Quotes(Corpus(rows), found, observer.hits, observer.detector)
    assert quotes.finding(found["style"][0]).message == "has [OIB]"
    other = Finding(
        check="style", severity="info", message="has 12 rows, 4.5 %; 87654321 in lines 1, 2, 3, 4, 5, 6, 7, 8"
    )
    assert quotes.finding(other).message == "has 12 rows, 4.5 %; [NUMBER] in lines 1, 2, 3, 4, 5, 6, 7, 8"


def test_what_checks_quote_is_masked() -> None:
    figures = {"worst": [{"text": "mail jan@bedrijf.nl", "jan@bedrijf.nl": 3}], "rows": 12, "share": 0.5}
    assert Quotes(Corpus([]), {}, (), Detector()).figures("style", figures) == {
        "worst": [{"text": "mail [EMAIL]", "[EMAIL]": 3}],
        "rows": 12,
        "share": 0.5,
    }
    error = error_without_values(DataError("is 'jan@bedrijf.nl'", where="a.jsonl:3", rule="r", fix="f", code="c"))
    assert (error.what, error.where, error.code) == ("is '[EMAIL]'", "a.jsonl:3", "c")
    assert without_personal("nothing here") == "nothing here"
