"""``tunesmith plan``: what training would take on this machine, before it is begun."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.console import JsonOption, SetOption, session
from tunesmith.cli.progress import duration
from tunesmith.cli.train import ConfigArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tunesmith.core.artifacts import Estimate

GIB = 1024**3


def plan(config: ConfigArgument = Path("tunesmith.yaml"), set: SetOption = None, json: JsonOption = False) -> None:
    """Say what training would take: tokens, time, memory, from a few real steps on this machine.

    Nothing is trained and nothing is written. What does not fit into memory is refused with the numbers.
    """
    with session(json) as console:
        from tunesmith import lifecycle
        from tunesmith.core.store import Workspace

        settings = lifecycle.load_settings(config, set or [])
        project = lifecycle.prepare(settings, Workspace.open(), console.emit)
        planned = lifecycle.plan(project)
        wanted = project.config.per_device_train_batch_size
        console.print("", plan_table(planned, wanted))
        console.result({"plan": planned.model_dump(mode="json"), "per_device_train_batch_size": wanted})


def plan_table(planned: Estimate, wanted: int) -> RenderableType:
    """The plan, a line a fact."""
    from rich.table import Table
    from rich.text import Text

    table = Table("plan", "", box=None, pad_edge=False)
    for name, value in lines(planned, wanted):
        table.add_row(name, Text(value))
    return table


def lines(planned: Estimate, wanted: int) -> list[tuple[str, str]]:
    """Name and value of every fact of a plan."""
    seconds, memory = planned.seconds, planned.peak_memory_bytes
    rows = f"{planned.micro_batch}" + (f", not {wanted}, to fit the memory" if planned.micro_batch != wanted else "")
    recomputed = f"{planned.recomputed_layers} of {planned.layers} layers" if planned.recomputed_layers else "none"
    offload = ", their inputs in the host's memory" if planned.activation_offload else ""
    return [
        ("steps", f"{planned.steps:,}, {planned.validations:,} validations"),
        ("tokens", f"{planned.tokens:,}, {planned.target_tokens:,} of them trained"),
        ("work", f"{planned.flops:.3g} floating-point operations"),
        ("speed", f"{planned.tokens_per_second:,.0f} tokens/s"),
        ("time", f"{duration(seconds[0])} to {duration(seconds[1])}, for steps and validation losses"),
        ("peak memory", f"{memory[0] / GIB:.2f} to {memory[1] / GIB:.2f} GiB"),
        ("reload", f"{planned.reload_bytes / GIB:.2f} GiB beside it for a moment, to load the saved weights again"),
        ("free memory", f"{planned.free_memory_bytes / GIB:.2f} GiB, beside what the model takes already"),
        ("rows at a time", rows),
        ("recompute", recomputed + offload),
    ]
