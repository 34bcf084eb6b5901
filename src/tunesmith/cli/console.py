"""The console: where events become lines and bars, and results become text or one JSON document.

Progress (events) always goes to stderr. Text for people goes to stdout, or to stderr with ``--json``, where stdout
carries exactly one JSON document: the result, or the error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tunesmith.cli import failures
from tunesmith.core.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console as RichConsole
    from rich.console import RenderableType

    from tunesmith.cli.progress import Progress
    from tunesmith.core import events
    from tunesmith.core.records import Record

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; all else on stderr.")]
"""The type of every command's ``json`` parameter."""

SetOption = Annotated[list[str] | None, typer.Option("--set", help="key=value over the config file; may be repeated.")]
"""The type of every command's ``set`` parameter."""

_LOG_WIDTH = 120
"""Columns of tables where there is no terminal to ask (rich would take 80)."""


class Console:
    """Prints for one command. Make it with :func:`session`."""

    def __init__(self, *, json: bool = False, silent: bool = False) -> None:
        self.json_mode = json and not silent
        self._silent = silent
        self.answered = False
        """Whether the JSON document was written."""
        self.stopped = False
        """Whether Ctrl-C was typed."""
        self._document_stream: TextIO = sys.stdout
        self.err = _rich(sys.stderr)
        self.out = self.err if json else _rich(sys.stdout)
        self._progress: Progress | None = None

    def emit(self, event: events.AnyEvent) -> None:
        """Show an event: a heading, a note, a bar. This is the ``Emit`` to hand to a verb."""
        self._obey()
        if self._silent:
            return
        if self._progress is None:
            from tunesmith.cli.progress import Progress

            self._progress = Progress(self.err)
        self._progress.show(event)

    def _obey(self) -> None:
        """Raise the exception of a Ctrl-C that Python dropped; not while it is on its way already."""
        first = threading.current_thread() is threading.main_thread()
        if self.stopped and first and not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            self.stopped = False
            raise KeyboardInterrupt

    def print(self, *renderables: RenderableType) -> None:
        """Text for people. Strings are printed as they are (no markup), other rich renderables as they render."""
        from rich.text import Text

        self.pause()
        if self._silent:
            return
        for item in renderables or ("",):
            plain = isinstance(item, str)
            self.out.print(Text(failures.clean(item)) if plain else item, soft_wrap=plain)

    def result(self, record: Record | Mapping[str, object]) -> None:
        """The command's result as its one JSON document; without ``--json`` nothing (people read ``print``).

        Raises:
            RuntimeError: when the command already gave its result.
        """
        if self.answered:
            raise RuntimeError("a command gives one result, and this one already did")
        self.answered = True
        if self.json_mode:
            self.pause()
            self._document_stream.write(to_json(record) + "\n")
            self._document_stream.flush()

    def fail(self, error: BaseException) -> int:
        """Show an error (as the JSON document too, if none was written) and return its exit code."""
        self.pause()
        shown = failures.as_tunesmith_error(error)
        if self._silent:
            self.err.print(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}:")
        if debugging():
            self.err.print(failures.as_traceback(error), markup=False, highlight=False, soft_wrap=True)
        self.err.print(failures.as_text(shown), soft_wrap=True)
        if not self.answered:
            self.result(failures.as_document(shown))
        return shown.exit_code

    def pause(self) -> None:
        """Leave running bars as they stand, so that something else can be printed."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def session(json: bool = False, several: bool = False) -> Iterator[Console]:
    """The console of a command, and the border where exceptions become messages and exit codes.

    Args:
        json: stdout carries one JSON document.
        several: the command can run in several processes at once; all but the first print errors of their own only.

    Raises:
        typer.Exit: with the exit code of whatever exception ended the block.
    """
    others = os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"
    console = Console(json=json, silent=others)
    stdout = sys.stdout
    try:
        if not several and os.environ.get("WORLD_SIZE", "1") != "1":
            if others:
                raise typer.Exit
            raise _one_process_only()
        if json:
            sys.stdout = sys.stderr  # a library that prints must not spoil the document
        with _remembering(console):
            yield console
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        _drop(stdout)
        raise typer.Exit(failures.BROKEN_PIPE_EXIT) from None
    except (Exception, KeyboardInterrupt) as error:
        raise typer.Exit(console.fail(error)) from None
    finally:
        console.pause()
        sys.stdout = stdout


@contextmanager
def _remembering(console: Console) -> Iterator[None]:
    """Ctrl-C is remembered, so that one that Python drops is obeyed at the next event.

    The exception of Ctrl-C rises wherever the program is. In a destructor, or in the callback with which the import
    system removes a lock, Python prints it as "ignored" and goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # somebody else's, or none: a job in the background
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        console.stopped = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _one_process_only() -> ConfigError:
    return ConfigError(
        f"several processes run this command (WORLD_SIZE={os.environ['WORLD_SIZE']})",
        where="environment variable WORLD_SIZE",
        rule="only `tunesmith train` shares its work among processes",
        fix="start it once, without torchrun and with WORLD_SIZE unset",
    )


def to_json(value: Record | Mapping[str, object]) -> str:
    """Indented JSON of a record or a mapping (records, paths and the like inside are fine; NaN becomes null)."""
    from pydantic_core import to_json as dump

    return dump(value, indent=2, inf_nan_mode="null").decode()


def debugging() -> bool:
    """Whether tracebacks are wanted (``--debug`` or ``TUNESMITH_DEBUG=1``)."""
    return _debug or os.environ.get("TUNESMITH_DEBUG", "") not in ("", "0")


def set_debug(on: bool) -> None:
    """Remember the global ``--debug``."""
    global _debug
    _debug = on


_debug = False


def _rich(stream: TextIO) -> RichConsole:
    from rich.console import Console as RichConsole

    class Plain(RichConsole):
        """A closed pipe is an exception like any other (rich would exit with 1, which means "no" here)."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if stream.isatty() or "COLUMNS" in os.environ else _LOG_WIDTH
    return Plain(file=stream, highlight=False, markup=False, emoji=False, width=width)


def _drop(stream: TextIO) -> None:
    """Point a stream whose reader went away at nothing, so that the interpreter's last flush does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
