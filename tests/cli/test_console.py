"""What a command prints where: text, bars, lines, and exactly one JSON document."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import typer
from rich.console import Console as RichConsole

from tunesmith.cli import console as console_module
from tunesmith.cli.console import session, set_debug
from tunesmith.cli.progress import Progress, duration
from tunesmith.core import events
from tunesmith.core.errors import AdapterError, CorruptArtifactError, DataError, Interrupted, OfflineError
from tunesmith.core.records import Source


def _step(number: int, total: int, loss: float) -> events.Step:
    return events.Step(
        step=number,
        total_steps=total,
        epoch=number / total,
        loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens=400,
        target_tokens=100,
        seconds=0.5,
    )


def _lines(*shown: events.AnyEvent) -> str:
    stream = io.StringIO()
    progress = Progress(RichConsole(file=stream, highlight=False, width=120))
    for event in shown:
        progress.show(event)
    progress.stop()
    return stream.getvalue()


def test_text_goes_to_stdout_and_progress_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with session() as console:
        console.emit(events.Stage(title="reading", detail="rows.jsonl"))
        console.print("answer: [bold]42[/bold]")
        console.result({"answer": 42})
    out, err = capsys.readouterr()
    assert out == "answer: [bold]42[/bold]\n", "markup in data is not obeyed, and people get no JSON"
    assert err == "\nreading  rows.jsonl\n"


def test_json_mode_gives_one_document_and_nothing_else_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with session(json=True) as console:
        console.emit(events.Note(text="a note"))
        console.print("for people")
        print("a library that prints")
        console.result({"source": Source(path="a.jsonl", line=3), "at": Path("x"), "loss": float("nan")})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"source": {"path": "a.jsonl", "line": 3}, "at": "x", "loss": None}
    assert err == "  a note\nfor people\na library that prints\n"


def test_a_second_result_is_refused() -> None:
    with session() as console:
        console.result({})
        with pytest.raises(RuntimeError, match="one result"):
            console.result({})


def test_error_is_readable_without_colour(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, session():
        raise DataError(
            "role 'robot' is unknown", where="rows.jsonl:17, messages[0].role", rule="system or user", fix="rename it"
        )
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == (
        "error: role 'robot' is unknown\n"
        "  where: rows.jsonl:17, messages[0].role\n"
        "  rule:  system or user\n"
        "  fix:   rename it\n"
    )


def test_error_document_in_json_mode(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, session(json=True):
        raise AdapterError("adapter belongs to another base", where="runs/a/adapter", fix="serve it with its own base")
    out, err = capsys.readouterr()
    assert ended.value.exit_code == 2
    assert json.loads(out)["error"] == {
        "type": "AdapterError",
        "what": "adapter belongs to another base",
        "where": "runs/a/adapter",
        "rule": "",
        "fix": "serve it with its own base",
        "exit_code": 2,
    }
    assert err.startswith("error: adapter belongs to another base\n")


def test_an_error_after_the_result_does_not_add_a_second_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, session(json=True) as console:
        console.result({"address": "127.0.0.1:8000"})
        raise OfflineError("no network", fix="unset TUNESMITH_OFFLINE")
    out, err = capsys.readouterr()
    assert ended.value.exit_code == 2
    assert json.loads(out) == {"address": "127.0.0.1:8000"}
    assert "error: no network" in err


@pytest.mark.parametrize(
    ("error", "code", "first_line"),
    [
        (CorruptArtifactError("a byte differs", where="adapter_model.safetensors"), 2, "error: a byte differs"),
        (Interrupted("stopped at step 7", fix="tunesmith train c.yaml"), 130, "stopped: stopped at step 7"),
        (KeyboardInterrupt(), 130, "stopped: stopped by Ctrl-C"),
        (KeyError("x"), 3, "error: unexpected KeyError: 'x'"),
        (ValueError("two\nlines"), 3, "error: unexpected ValueError: two lines"),
    ],
)
def test_exit_codes(error: BaseException, code: int, first_line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, session():
        raise error
    err = capsys.readouterr().err
    assert ended.value.exit_code == code
    assert err.splitlines()[0] == first_line
    assert "Traceback" not in err


def test_unexpected_error_names_the_debug_switch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), session():
        raise KeyError("x")
    assert "--debug" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_shows_the_traceback(
    how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "option":
        monkeypatch.setattr(console_module, "_debug", False)
        set_debug(True)
    else:
        monkeypatch.setenv("TUNESMITH_DEBUG", "1")
    with pytest.raises(typer.Exit), session():
        raise KeyError("x")
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "test_console.py" in err


def test_control_characters_of_data_are_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), session() as console:
        console.print("a\x1b[2Jb")
        raise DataError("cell \x1b[31m", where="r\x07.csv")
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2Jb\n"
    assert "cell \\x1b[31m" in err
    assert "r\\x07.csv" in err


def test_an_exit_code_chosen_by_the_command_is_kept() -> None:
    with pytest.raises(typer.Exit) as ended, session():
        raise typer.Exit(1)
    assert ended.value.exit_code == 1


def test_stdout_is_given_back_after_json_mode() -> None:
    before = sys.stdout
    with session(json=True):
        assert sys.stdout is not before
    assert sys.stdout is before


def test_plain_lines_where_there_is_no_terminal() -> None:
    ticks = [events.Tick(task="reading rows", done=n, total=1000) for n in range(0, 1001, 10)]
    text = _lines(events.Stage(title="reading"), *ticks)
    assert text.splitlines()[1:] == [
        "reading",
        "  reading rows: 0/1000 (0 %)",
        "  reading rows: 1000/1000 (100 %)  0 s",
    ]


def test_training_lines_show_loss_validation_speed_and_no_control_characters() -> None:
    text = _lines(
        _step(1, 4, 2.0),
        events.Validated(step=2, loss=1.75, best=True),
        _step(4, 4, 1.0),
        events.Saved(step=4, path="runs/a/adapter", what="best"),
    )
    assert "training: 1/4 (25 %)  loss 2.0000  800 tok/s" in text
    assert "step 2: validation loss 1.7500 (best so far)" in text
    assert "training: 4/4 (100 %)  loss 1.5000  val 1.7500  800 tok/s" in text
    assert "saved best of step 4: runs/a/adapter" in text
    assert text.replace("\n", "").isprintable()


def test_training_lines_show_utilisation_memory_task_metrics_and_warnings() -> None:
    last = _step(4, 4, 1.0).model_copy(update={"utilisation": 0.624, "memory_bytes": 3 * 2**30})
    text = _lines(
        last,
        events.Validated(step=4, loss=1.75, best=False, metrics={"chrf": 41.26, "stop_rate": 1.0}),
        events.Noticed(step=4, what="overfitting", text="overfitting from step 2 on"),
    )
    assert "loss 1.0000  800 tok/s  62 % of matrix speed  3.0 GiB" in text
    assert "step 4: validation loss 1.7500, chrf 41.3, stop_rate 1" in text
    assert "warning: overfitting from step 2 on" in text


def test_a_terminal_gets_one_bar_a_task_that_fits_80_columns() -> None:
    stream = io.StringIO()
    terminal = RichConsole(file=stream, force_terminal=True, width=80, color_system=None, highlight=False)
    progress = Progress(terminal)
    progress.show(events.Validated(step=0, loss=2.5, best=True))
    for number in range(1, 1201, 100):
        progress.show(_step(number, 1200, 1.0))
    progress.show(events.Stage(title="next"))
    text = stream.getvalue()
    assert "training" in text
    assert "1101/1200 loss 1.0000  val 2.5000  800 tok/s" in text, "nothing is cut off"
    assert text.rstrip().endswith("next"), "the heading stands below the finished bars"


def test_a_task_that_starts_again_is_a_new_task() -> None:
    ticks = [events.Tick(task="asking", done=n, total=2) for n in (1, 2, 1, 2)]
    assert _lines(*ticks).count("asking: 2/2 (100 %)") == 2


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3:05"), (3723, "1:02:03")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """Whoever starts the tests in the background of a shell hands down that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_a_ctrl_c_that_python_drops_is_obeyed_at_the_next_event() -> None:
    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)  # what rises in a destructor is printed as "ignored", and gone

    dropped: list[object] = []
    with (
        mock.patch.object(sys, "unraisablehook", dropped.append),
        pytest.raises(typer.Exit) as stopped,
        session() as it,
    ):
        Dropping()
        assert len(dropped) == 1
        it.emit(events.Note(text="on we go"))
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_events_on_the_way_out_of_a_ctrl_c_are_shown() -> None:
    said: list[str] = []
    with pytest.raises(typer.Exit), session() as it:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            it.emit(events.Note(text="tidying up"))
            said.append("tidied up")
    assert said == ["tidied up"]
