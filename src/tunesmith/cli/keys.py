"""``tunesmith keys``: who may call a server of this workspace, and what for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session

if TYPE_CHECKING:
    from tunesmith.serve import StoredKey

app = typer.Typer(help="Make, list and revoke the keys of this workspace's servers.", no_args_is_help=True)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the key: lower-case letters and digits.")],
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose key it is; it sees this tenant's models, files and jobs only.")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="inference (the default), jobs, metrics or admin; may be repeated."),
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0.0, help="Days until it expires; 0: never.")] = 0.0,
    json: JsonOption = False,
) -> None:
    """Make a key and show it once. Running servers take it within a second."""
    with session(json) as console:
        from tunesmith import serve
        from tunesmith.core.store import Workspace

        key = serve.add_key(Workspace.open(), name, tenant, scope or ["inference"], days)
        console.print(f"key: {key}", "It is shown once: only its digest is kept.")
        console.result({"name": name, "tenant": tenant, "key": key})


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """Show the keys: names, tenants, scopes, and whether they still count. Never the keys themselves."""
    with session(json) as console:
        from rich.table import Table

        from tunesmith import serve
        from tunesmith.core.store import Workspace

        keys = serve.stored_keys(Workspace.open())
        table = Table("name", "tenant", "scopes", "made", "counts", box=None, pad_edge=False)
        for key in keys:
            table.add_row(key.id, key.tenant or "(owner)", ", ".join(key.scopes), _day(key.created), _counts(key))
        console.print(table if keys else "no keys yet: the first start of `tunesmith serve` makes one")
        console.result({"keys": [key.model_dump(exclude={"digest"}) for key in keys]})


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the key.")], json: JsonOption = False
) -> None:
    """Let a key count no longer. Running servers notice within a second."""
    with session(json) as console:
        from tunesmith import serve
        from tunesmith.core.store import Workspace

        serve.revoke_key(Workspace.open(), name)
        console.print(f"revoked: {name}")
        console.result({"revoked": name})


def _counts(key: StoredKey) -> str:
    if key.revoked:
        return "no, revoked"
    if not key.holds(datetime.now(UTC).timestamp()):
        return f"no, expired {_day(key.expires)}"
    return f"until {_day(key.expires)}" if key.expires else "yes"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
