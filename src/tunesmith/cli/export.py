"""``tunesmith export``: a model or an adapter for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tunesmith.cli import deliver
from tunesmith.cli.console import JsonOption, session
from tunesmith.cli.merge import LimitOption


def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_ADAPTER_OR_MODEL", help="Run, adapter, released name, or model.")
    ],
    form: Annotated[
        Literal["safetensors", "peft", "gguf"],
        typer.Option("--format", help="A merged model folder, a plain PEFT folder, or one GGUF file."),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder or file to write; it must not exist yet.")],
    type: Annotated[
        Literal["auto", "f32", "f16", "bf16", "q8_0"] | None,
        typer.Option("--type", help="Number format of GGUF's matrices. auto: that of the weights."),
    ] = None,
    max_difference: LimitOption = None,
    json: JsonOption = False,
) -> None:
    """Write a model or an adapter for other programs, load it again, and compare.

    Exit code 1 when what was written is too far from what was judged; it is removed then.
    """
    with session(json) as console:
        from tunesmith import delivery
        from tunesmith.core.errors import InputError
        from tunesmith.core.store import Workspace

        if type is not None and form != "gguf":
            raise InputError(
                f"--type {type} means nothing to --format {form}",
                where="--type",
                rule="only GGUF files come in several number formats; folders keep that of the training",
                fix="take --type out, or use --format gguf",
            )
        order = delivery.Order(source, output, max_difference)
        made = delivery.export(order, form, type or "auto", Workspace.open(), console.emit)
        deliver.show(console, made)
