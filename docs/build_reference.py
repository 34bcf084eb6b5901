"""Write docs/reference/ from the code: commands from their own help, config keys from the models, error classes.

python docs/build_reference.py            write the pages (`make docs`)
python docs/build_reference.py --check    exit 1 when a page differs from the code
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from tunesmith.cli.main import LazyVerbs
from tunesmith.core import errors
from tunesmith.core.config import json_schema
from tunesmith.core.rules import Schema
from tunesmith.lifecycle import STAGES

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by `make docs` from the code. Changes by hand are lost. -->\n"


def main(arguments: list[str]) -> int:
    """Write or check every page; returns the exit code."""
    pages = {"commands.md": commands(), "configuration.md": configuration(), "errors.md": error_tree()}
    stale = [name for name, text in pages.items() if read(FOLDER / name) != text]
    if arguments == ["--check"]:
        for name in stale:
            print(f"docs/reference/{name} is not what the code says; fix: make docs")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(pages[name], encoding="utf-8")
        print(f"wrote docs/reference/{name}")
    return 0


def read(path: Path) -> str:
    """The page as it stands; empty when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def commands() -> str:
    """Every command with its arguments and options."""
    sections = [section for name, command in LazyVerbs().items() for section in command_sections(command, name)]
    lead = (
        "Every command also takes `-h`/`--help`. Before the command: `--debug` shows the traceback of an error,\n"
        "`--version` the version. Exit codes: 0 done, 1 the answer is “no” (a gate failed, findings at error level),\n"
        "2 wrong input or usage, 3 it broke, 130 stopped by Ctrl-C.\n"
    )
    return f"{NOTE}\n# Commands\n\n{lead}\n" + "\n".join(sections)


def command_sections(command: Any, name: str) -> Iterator[str]:
    """The section of a command, or of each command of a group."""
    children = vars(command).get("commands")
    if children:
        for child, target in children.items():
            yield from command_sections(target, f"{name} {child}")
        return
    context = command.context_class(command, info_name=f"tunesmith {name}")
    usage = " ".join([f"tunesmith {name}", *command.collect_usage_pieces(context)])
    rows = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    table = "".join(f"| `{cell(names)}` | {cell(text)} |\n" for names, text in rows)
    about = inspect.cleandoc(command.help or "")
    yield f"## {name}\n\n    {usage}\n\n{about}\n\n| argument or option | meaning |\n|---|---|\n{table}"


def configuration() -> str:
    """Every key of the config file: rule, default, meaning."""
    lead = "One flat YAML file. A key that is not listed here is refused, and the nearest name is offered.\n"
    schema = Schema(json_schema(STAGES))
    sections = []
    for name, model in STAGES.items():
        rows = "".join(row(schema, (key,), field) for key, field in model.model_fields.items())
        about = inspect.cleandoc(model.__doc__ or "")
        sections.append(f"## {name}\n\n{about}\n\n| key | value | default | meaning |\n|---|---|---|---|\n{rows}")
    return f"{NOTE}\n# Configuration\n\n{lead}\n" + "\n".join(sections)


def row(schema: Schema, keys: tuple[str | int, ...], field: Any) -> str:
    """One line of a table of keys, and the lines of the keys inside it."""
    default = "*required*" if field.is_required() else f"`{plain(field.get_default(call_default_factory=True))}`"
    name = ".".join("0" if key == 0 else str(key) for key in keys)
    line = f"| `{name}` | {cell(schema.words(keys))} | {cell(default)} | {cell(field.description or '')} |\n"
    for inner in schema.names((*keys, 0)):
        inside = schema.field((*keys, 0, inner))
        shown = f"`{plain(inside['default'])}`" if "default" in inside else "*required*"
        words = cell(schema.words((*keys, 0, inner)))
        line += f"| `{name}.0.{inner}` | {words} | {cell(shown)} | {cell(inside.get('description', ''))} |\n"
    return line


def plain(value: object) -> str:
    """A value as it is written in the file."""
    text = yaml.safe_dump(to_jsonable_python(value), default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...") or '""'


def error_tree() -> str:
    """The error classes as their module draws them."""
    return f"{NOTE}\n# Errors\n\n```text\n{inspect.cleandoc(errors.__doc__ or '')}\n```\n"


def cell(text: str) -> str:
    """Text that fits into one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
