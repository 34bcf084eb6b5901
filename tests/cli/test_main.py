"""The command line as a whole: verbs, help, usage errors, exit codes, closed pipes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tunesmith import __version__
from tunesmith.cli import main

VERBS = {"sample": "tests.cli.sample_verb:sample", "things": "tests.cli.sample_verb:group"}


@pytest.fixture(autouse=True)
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "VERBS", VERBS)


def test_help_lists_every_verb_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "sample" in out
    assert "Do a sample thing." in out
    assert "A group of commands." in out


def test_no_arguments_shows_help_and_counts_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    out, err = capsys.readouterr()
    assert "Usage: tunesmith" in out + err
    assert "error" not in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"tunesmith {__version__}\n"


def test_a_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sample", "c.yaml", "--rows", "2"]) == 0
    assert capsys.readouterr().out == "row 0\nrow 1\n"


def test_a_command_of_a_group_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["things", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"checked": True}


def test_only_the_verb_that_runs_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "VERBS", {**VERBS, "broken": "tests.cli.no_such_module:broken"})
    assert main.run(["things", "check"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampel"], "No such command 'sampel'. Did you mean 'sample'?"),
        (["sample"], "Missing argument 'config'"),
        (["sample", "c.yaml", "--row", "3"], "No such option: --row"),
        (["sample", "c.yaml", "--rows", "many"], "Invalid value for '--rows'"),
        (["sample", "c.yaml", "--rows", "0"], "Invalid value for '--rows'"),
        (["--jsn"], "No such option: --jsn"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_where_help_is(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert "--help` lists what can be given" in err
    assert out == ""


def test_wrong_usage_in_json_mode_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sample", "c.yaml", "--row", "3", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"].startswith("No such option: --row")
    assert error["where"] == "tunesmith sample"
    assert error["exit_code"] == 2


def test_an_error_of_ours_keeps_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sample", "c.yaml", "--fail", "config"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown key 'lora_rank'\n  where: c.yaml:4\n")


def test_the_answer_no_is_exit_code_1() -> None:
    assert main.run(["sample", "c.yaml", "--fail", "no"]) == 1


def test_a_verb_that_cannot_be_imported_is_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "VERBS", {"broken": "tests.cli.no_such_module:broken"})
    assert main.run(["broken", "--json"]) == 3
    out, err = capsys.readouterr()
    assert "unexpected ModuleNotFoundError" in err
    assert json.loads(out)["error"]["exit_code"] == 3


def test_debug_is_not_remembered_from_one_command_line_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["--debug", "sample", "c.yaml", "--fail", "config"])
    assert "Traceback" in capsys.readouterr().err
    main.run(["sample", "c.yaml", "--fail", "config"])
    assert "Traceback" not in capsys.readouterr().err


_PIPED = f"""
import sys
from tunesmith.cli import main
main.VERBS = {VERBS!r}
sys.argv = ["tunesmith", "sample", "c.yaml", "--rows", "20000"]
main.main()
"""


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", _PIPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    assert command.stderr is not None
    assert command.stdout.readline() == "row 0\n"
    command.stdout.close()
    assert command.stderr.read() == ""
    command.stderr.close()
    assert command.wait(timeout=60) == 141
