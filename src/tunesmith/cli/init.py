"""``tunesmith init``: a commented config file, made from the config models themselves."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.console import JsonOption, session
from tunesmith.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

CONFIG = Path("tunesmith.yaml")
PLACEHOLDER = "data/train.jsonl"

FIRST = ("model", "num_train_epochs", "learning_rate", "output_dir")
"""Keys that are set in the file; all others stand there as comments with their default."""

HEADER = """\
What to tune, on what, and how. A key behind "#" shows its default: remove the "#" to change it.
Every key can also be given on the command line, as --set key=value.
"""
DATA_HINT = """\
One JSON object a line, such as
  {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
  {"prompt": "…", "completion": "…"}
Alpaca and ShareGPT rows, CSV and Parquet are recognised too; `columns` names the columns of a table.
"""


def init(
    data: Annotated[Path | None, typer.Option("--data", help="Your data file, to be written into the config.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a tunesmith.yaml that is already there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a commented tunesmith.yaml into this folder."""
    from tunesmith.core.store import write_text
    from tunesmith.lifecycle import STAGES

    with session(json) as console:
        replaced = CONFIG.exists()
        if replaced and not force:
            raise InputError(
                f"{CONFIG} is already there",
                where=str(CONFIG.absolute()),
                rule="init replaces nothing",
                fix="edit it, or replace it with `tunesmith init --force`",
            )
        if data is not None and not data.is_file():
            raise InputError(
                "there is no such data file",
                where=str(data),
                rule="--data names a file with examples",
                fix="give the path of a .jsonl, .json, .csv or .parquet file, or leave --data out",
            )
        if data is not None and _is_empty(data):
            raise InputError(
                "the data file is empty",
                where=str(data),
                rule="--data names a file with examples",
                fix="put your examples into it first, or leave --data out to get a config with an example path",
            )
        write_text(CONFIG, template(STAGES, data))
        steps = next_steps(data)
        console.print(f"{'replaced' if replaced else 'wrote'} {CONFIG}", "", "next:", *(f"  {step}" for step in steps))
        console.result({"path": str(CONFIG.absolute()), "replaced": replaced, "next": steps})


def template(stages: Mapping[str, type[BaseModel]], data: Path | None) -> str:
    """The file's text: the keys of :data:`FIRST` and the data set are set, every other key is a comment."""
    from tunesmith.core.config import json_schema
    from tunesmith.core.rules import Schema
    from tunesmith.core.yamlfile import dump

    fields = {key: field for model in stages.values() for key, field in model.model_fields.items()}
    rules = Schema(json_schema(stages))
    blocks = [_comment(HEADER), _datasets(fields.pop("datasets"), data)]
    for key in FIRST:
        field = fields.pop(key)
        blocks.append(_about(field, rules.words((key,))) + dump({key: _default(field)}))
    for name, model in stages.items():
        blocks.append(f"# ---- {name}: everything else, with its default ----\n")
        for key in [key for key in model.model_fields if key in fields]:
            field = fields.pop(key)
            disabled = "".join(f"#{line}\n" for line in dump({key: _default(field)}).splitlines())
            blocks.append(_about(field, rules.words((key,))) + disabled)
    return "\n".join(blocks)


def next_steps(data: Path | None) -> list[str]:
    """What to do now: only commands that exist."""
    from tunesmith.cli.main import VERBS

    steps = [] if data else [f"put your examples into {PLACEHOLDER}, or change `datasets` in {CONFIG}"]
    commands = (f"tunesmith data check {CONFIG}", f"tunesmith data show {CONFIG}", f"tunesmith train {CONFIG}")
    return steps + [command for command in commands if command.split()[1] in VERBS]


def _datasets(field: FieldInfo, data: Path | None) -> str:
    from tunesmith.core.yamlfile import dump

    columns = _columns(data) if data and data.suffix in (".csv", ".tsv") else []
    spec: dict[str, Any] = {"path": data.as_posix() if data else PLACEHOLDER}
    hint = _comment(f"{field.description}\n{DATA_HINT}")
    if len(columns) == 2:
        spec["columns"] = {"prompt": columns[0], "completion": columns[1]}
        hint += _comment(f"Guessed from the first line of {data}: please check which column is the answer.")
    elif columns:
        hint += _comment(f"The columns of {data}: {', '.join(columns)}. Say which is which, for example")
        hint += _comment(f"  columns: {{prompt: {columns[0]}, completion: {columns[-1]}}}")
    return hint + dump({"datasets": [spec]})


def _is_empty(path: Path) -> bool:
    """Whether a file holds nothing but white space; one that cannot be read is left to `tunesmith data check`."""
    try:
        with path.open("rb") as file:
            return not any(line.strip() for line in file)
    except OSError:
        return False


def _columns(path: Path) -> list[str]:
    """The names in the first line of a table; none when it cannot be read (`tunesmith data check` says why)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _default(field: FieldInfo) -> Any:
    from pydantic_core import to_jsonable_python

    return None if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))


def _about(field: FieldInfo, rule: str) -> str:
    told = rule in ("text", str(field.default))
    return _comment(field.description or "" if told else f"{field.description} ({rule})")


def _comment(text: str) -> str:
    lines = [piece for line in text.splitlines() for piece in textwrap.wrap(line, 110, break_long_words=False)]
    return "".join(f"# {line}\n" for line in lines)
