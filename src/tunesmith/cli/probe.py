"""``tunesmith probe``: does an endpoint answer with the weights that were trained?"""

from __future__ import annotations

from typing import Annotated

import typer

from tunesmith.cli.console import JsonOption, session


def probe(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of an OpenAI-compatible endpoint, up to /v1.")],
    adapter: Annotated[str, typer.Option("--adapter", help="Run, adapter folder or released name that was trained.")],
    model: Annotated[str, typer.Option("--model", help="Name of the adapter at the endpoint.")],
    base: Annotated[str, typer.Option("--base", help="Name of its base at the endpoint.")],
    tolerance: Annotated[float, typer.Option("--tolerance", help="Largest difference allowed, in nats.")] = 0.05,
    json: JsonOption = False,
) -> None:
    """Compare an endpoint's log-probabilities with those stored in training, alone and in company.

    Exit code 1 when they differ. The key is taken from TUNESMITH_REMOTE_KEY or OPENAI_API_KEY.
    """
    with session(json) as console:
        from rich.table import Table

        from tunesmith import serve
        from tunesmith.core.store import Workspace

        checks = serve.probe(url, adapter, model, base, Workspace.open(), tolerance)
        table = Table("check", "largest difference", "wanted", "", box=None, pad_edge=False)
        for check in checks:
            table.add_row(check.name, f"{check.largest:.3g}", check.detail, "yes" if check.passed else "NO")
        console.print(table)
        passed = all(check.passed for check in checks)
        console.result({"passed": passed, "checks": [check.model_dump() for check in checks]})
        if not passed:
            raise typer.Exit(1)
