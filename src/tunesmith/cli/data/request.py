"""What the command line asked for: files and how to read them, and the model's view of them if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tunesmith.cli.console import Console

if TYPE_CHECKING:
    from rich.text import Text

    from tunesmith.core.protocols import Renderer, Tagger
    from tunesmith.curate import Config, DatasetSpec

_CONFIG_SUFFIXES = (".yaml", ".yml")

FilesArgument = Annotated[list[str], typer.Argument(help="Data files, or one config file (.yaml).")]
FormatOption = Annotated[str, typer.Option("--format", help="auto, chat, sharegpt, alpaca, prompt-completion or text.")]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", help="Our field=your column, e.g. prompt=question; may be repeated.")
]
ModelOption = Annotated[str, typer.Option("--model", help="Model whose chat template and tokens are used.")]


@dataclass(frozen=True)
class Request:
    """Files, how to read them, and what their tokens are."""

    config: Config
    renderer: Any
    """A ``Renderer`` that also has ``pieces(row)``; None without a model."""
    max_length: int | None
    is_config: bool
    context: int | None = None


def request(
    console: Console,
    files: Sequence[str],
    model: str,
    max_length: int | None,
    format: str,
    columns: Sequence[str],
    overrides: Sequence[str],
) -> Request:
    """What the arguments ask for; a config file says everything itself."""
    configs = [file for file in files if Path(file).suffix.lower() in _CONFIG_SUFFIXES]
    if not configs and not overrides:
        renderer = _renderer(model, console) if model else None
        return Request(_config_of(files, format, columns), renderer, max_length, is_config=False)
    if not configs or len(files) > 1 or format != "auto" or columns or model:
        _refuse_mixture(files, overrides)
    from tunesmith import lifecycle

    config, renderer, length, context = lifecycle.data_of(Path(configs[0]), overrides, emit=console.emit)
    return Request(config, renderer, max_length or length, is_config=True, context=context)


def data_config(files: Sequence[str], format: str, columns: Sequence[str], overrides: Sequence[str] = ()) -> Config:
    """The data that the arguments name, for what needs no model; a config file says everything itself."""
    if len(files) == 1 and Path(files[0]).suffix.lower() in _CONFIG_SUFFIXES and format == "auto" and not columns:
        from tunesmith import curate, lifecycle

        return lifecycle.load_settings(Path(files[0]), overrides).stage("data", curate.Config)
    if overrides or any(Path(file).suffix.lower() in _CONFIG_SUFFIXES for file in files):
        _refuse_mixture(files, overrides)
    return _config_of(files, format, columns)


def _refuse_mixture(files: Sequence[str], overrides: Sequence[str]) -> NoReturn:
    from tunesmith.core.errors import InputError

    configs = [file for file in files if Path(file).suffix.lower() in _CONFIG_SUFFIXES]
    if configs:
        raise InputError(
            "a config file says everything itself",
            where=configs[0],
            rule="give data files with options, or one config file alone",
            fix="change the config file, or use --set key=value",
        )
    raise InputError(
        "--set changes a config file, and none was given",
        where=f"--set {' '.join(overrides)}",
        rule="data files have no configuration",
        fix="give the config file, or use the options of the command",
    )


def _renderer(model: str, console: Console) -> Renderer:
    from tunesmith import lifecycle

    return lifecycle.renderer_for(model, emit=console.emit)


def _config_of(files: Sequence[str], format: str, columns: Sequence[str]) -> Config:
    """The configuration that reads plain files."""
    from pydantic import ValidationError

    from tunesmith.core.errors import ConfigError
    from tunesmith.curate import Config

    wrong = next((column for column in columns if "=" not in column), None)
    if wrong is not None:
        raise ConfigError(
            f"--column {wrong} has no equals sign",
            where="--column",
            rule="a column is given as our field=your column",
            fix="for example --column prompt=question --column completion=answer",
        )
    shared = {"format": format, "columns": dict(column.split("=", 1) for column in columns)}
    try:
        return Config.model_validate(
            {"datasets": [{"path": file, **shared} for file in files], "require_provenance": None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise ConfigError(cause.what, where="--column", rule=cause.rule, fix=cause.fix) from None
        raise ConfigError(
            f"--format does not know {first['input']!r}",
            where="--format",
            rule=first["msg"],
            fix="use one of the names that the rule lists",
        ) from None


def dataset_spec(file: str, format: str, columns: Sequence[str], system: str) -> DatasetSpec:
    """How one file is to be read, from the options of the command line."""
    return _config_of([file], format, columns).datasets[0].model_copy(update={"system": system})


def tagger_of(config: Config) -> Tagger | None:
    """The model of names, where one is configured; nothing heavy is imported otherwise."""
    if not config.checks.personal.ner_model:
        return None
    from tunesmith import lifecycle

    return lifecycle.tagger_for(config)


def styled(text: str, style: str) -> Text:
    """Text in a style, without control characters."""
    from rich.text import Text

    from tunesmith.cli.failures import clean

    return Text(clean(text), style=style)
