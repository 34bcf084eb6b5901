"""``tunesmith promote`` and ``tunesmith rollback``: what an alias means, on every running server within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import JsonOption, session

if TYPE_CHECKING:
    from tunesmith.serve import Deployment

AliasOption = Annotated[str, typer.Option("--as", help="The alias that clients write into `model`.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose alias it is; everybody's where it is left out.")]


def promote(
    source: Annotated[str, typer.Argument(metavar="RUN", help="Run, adapter folder or released name.")],
    alias: AliasOption,
    share: Annotated[
        float, typer.Option("--share", help="Part of the requests, 0 to 1; the rest goes to what the alias means now.")
    ] = 1.0,
    reason: Annotated[str, typer.Option("--reason", help="Why it may go without a good verdict; it is kept.")] = "",
    tenant: TenantOption = "",
    json: JsonOption = False,
) -> None:
    """Let an alias mean a judged adapter. Refused without a good verdict, unless a reason is given."""
    with session(json) as console:
        from tunesmith.core.store import Workspace
        from tunesmith.delivery import promote as promote_adapter

        made = promote_adapter(source, alias, Workspace.open(), reason, share, tenant)
        console.print(f"promoted: {source} as {alias} (verdict: {made.verdict})", *_arms(made.deployment))
        console.result({"deployment": made.deployment.model_dump(mode="json"), "verdict": made.verdict})


def rollback(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    tenant: TenantOption = "",
    json: JsonOption = False,
) -> None:
    """Let an alias mean again what it meant before."""
    with session(json) as console:
        from tunesmith import serve
        from tunesmith.core.store import Workspace

        back = serve.roll_back(Workspace.open(), alias, tenant, reason)
        console.print(f"rolled back: {alias}, version {back.number}", *_arms(back))
        console.result({"deployment": back.model_dump(mode="json")})


def _arms(deployment: Deployment) -> list[str]:
    total = sum(arm.weight for arm in deployment.arms)
    return [f"  {arm.name}: {arm.digest[:12] or 'the base'}, {arm.weight / total:.0%}" for arm in deployment.arms]
