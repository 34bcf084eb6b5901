"""Errors as people and programs read them: a few labelled lines, or one JSON document, and an exit code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from tunesmith.core.errors import InputError, Interrupted, TunesmithError

if TYPE_CHECKING:
    from rich.text import Text
    from typer.exceptions import TyperException

BROKEN_PIPE_EXIT = 141
"""What a shell reports for a program whose reader went away (128 + SIGPIPE)."""


def as_tunesmith_error(error: BaseException) -> TunesmithError:
    """The error to show for any exception: ours as it is, Ctrl-C as a stop, everything else as a fault of ours."""
    if isinstance(error, TunesmithError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped by Ctrl-C", fix="nothing is left half-written; run the command again")
    what = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
    return TunesmithError(
        one_line(what),
        fix="this is a fault of Tunesmith, not of your input: `tunesmith --debug …` shows the traceback to report",
    )


def usage_error(error: TyperException) -> TunesmithError | None:
    """A wrong option or argument as an error of ours; None when the help was shown instead."""
    message = error.format_message()
    if not message:
        return None
    # Typer keeps the class that carries the context private; the attribute is all that is needed of it.
    context = vars(error).get("ctx")
    command = context.command_path if context is not None else "tunesmith"
    return InputError(clean(message), where=command, fix=f"`{command} --help` lists what can be given")


def as_document(error: TunesmithError) -> dict[str, object]:
    """The JSON document of an error: ``{"error": {type, what, where, rule, fix, exit_code}}``."""
    return {"error": {**error.as_dict(), "exit_code": error.exit_code}}


def as_text(error: TunesmithError) -> Text:
    """What, where, rule and way out, one labelled line each; readable without colour."""
    from rich.text import Text

    stopped = isinstance(error, Interrupted)
    text = Text("stopped: " if stopped else "error: ", style="bold yellow" if stopped else "bold red")
    text.append(clean(error.what), style="not bold default")
    for label, value in (("where", error.where), ("rule", error.rule), ("fix", error.fix)):
        if value:
            text.append(f"\n  {label + ':':<7}", style="bold default")
            text.append(clean(value).replace("\n", "\n" + " " * 9), style="not bold default")
    return text


def as_traceback(error: BaseException) -> str:
    """The whole traceback, causes included, without the values of local variables (they may hold private data)."""
    return "".join(traceback.format_exception(error))


def clean(text: str) -> str:
    """The text with control characters made visible, so that data in a message cannot drive the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """All white space runs as single blanks."""
    return " ".join(text.split())
