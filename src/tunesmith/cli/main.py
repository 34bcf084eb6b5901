"""The ``tunesmith`` command: a table of verbs, and the way from an exception to an exit code.

Exit codes: 0 done, 1 the answer is "no", 2 wrong input or usage, 3 it broke, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from tunesmith import __version__
from tunesmith.cli import failures
from tunesmith.cli.console import Console, set_debug

VERBS = {
    "quickstart": "tunesmith.cli.quickstart:quickstart",
    "init": "tunesmith.cli.init:init",
    "data": "tunesmith.cli.data:app",
    "assess": "tunesmith.cli.assess:assess",
    "plan": "tunesmith.cli.plan:plan",
    "train": "tunesmith.cli.train:train",
    "sweep": "tunesmith.cli.sweep:sweep",
    "eval": "tunesmith.cli.eval:evaluate",
    "compare": "tunesmith.cli.eval:compare",
    "report": "tunesmith.cli.report:report",
    "cost": "tunesmith.cli.cost:cost",
    "chat": "tunesmith.cli.chat:chat",
    "serve": "tunesmith.cli.serve:serve",
    "promote": "tunesmith.cli.promote:promote",
    "rollback": "tunesmith.cli.promote:rollback",
    "jobs": "tunesmith.cli.jobs:app",
    "migrate": "tunesmith.cli.migrate:app",
    "probe": "tunesmith.cli.probe:probe",
    "keys": "tunesmith.cli.keys:app",
    "merge": "tunesmith.cli.merge:merge",
    "export": "tunesmith.cli.export:export",
    "doctor": "tunesmith.cli.doctor:doctor",
}
"""Command → where its function, or its ``typer.Typer`` of subcommands, is found. Help lists them in this order."""


class LazyVerbs(Mapping[str, Any]):
    """The commands of :data:`VERBS`, each imported when it is first asked for."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = VERBS[name].partition(":")
        target = vars(importlib.import_module(module))[attribute]
        if isinstance(target, typer.Typer):
            command = typer.main.get_group(target)  # a group even when it has one command only
        else:
            single = typer.Typer(add_completion=False)
            single.command(name)(target)
            command = typer.main.get_command(single)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class VerbGroup(TyperGroup):
    """Typer's group over the lazy table."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": LazyVerbs()})


app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tunesmith {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From your own examples to a proven, served fine-tuned model on your own hardware.

    Every command takes --json. Exit codes: 0 done, 1 the answer is "no", 2 wrong input or usage, 3 it broke.
    """
    set_debug(debug)


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    set_debug("--debug" in options)
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="tunesmith", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except TyperException as wrong:
        error = failures.usage_error(wrong)
        return wrong.exit_code if error is None else Console(json="--json" in options).fail(error)
    except typer.Abort:
        return Console(json="--json" in options).fail(KeyboardInterrupt())
    except Exception as error:
        return Console(json="--json" in options).fail(error)


def main() -> NoReturn:
    """Entry point of the ``tunesmith`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a log in a small encoding gets "?" rather than a crash
    sys.exit(run(sys.argv[1:]))
