"""Every command keeps the contract of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.cli.main import LazyVerbs


def commands(table: Any, prefix: str = "tunesmith") -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command, those in groups included."""
    for name, command in table.items():
        children = vars(command).get("commands")
        yield from commands(children, f"{prefix} {name}") if children else [(f"{prefix} {name}", command)]


def test_every_command_takes_json() -> None:
    without = [
        name
        for name, command in commands(LazyVerbs())
        if not any("--json" in getattr(parameter, "opts", ()) for parameter in command.params)
    ]
    assert without == []


def test_every_command_and_every_option_is_explained() -> None:
    unexplained = [name for name, command in commands(LazyVerbs()) if not command.help]
    unexplained += [
        f"{name} {parameter.name}"
        for name, command in commands(LazyVerbs())
        for parameter in command.params
        if not vars(parameter).get("help")
    ]
    assert unexplained == []
