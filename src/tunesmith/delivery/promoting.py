"""Promotion: a judged adapter becomes what an alias means. Without a verdict it needs a reason that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunesmith import serve
from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard, Release, Report, RunRecord
from tunesmith.core.errors import AdapterError, InputError
from tunesmith.core.gates import overall
from tunesmith.core.store import Artifact, Workspace
from tunesmith.model.resolve import CARD, Subject, resolve_subject

GOOD = ("better", "equivalent")
"""Verdicts on the primary metric with which a model may go without a further word."""


@dataclass(frozen=True)
class Promotion:
    """What was promoted: the version that answers now, and on which verdict."""

    deployment: serve.Deployment
    release: Release
    verdict: str


def promote(
    source: str, alias: str, workspace: Workspace, reason: str = "", share: float = 1.0, tenant: str = ""
) -> Promotion:
    """Let an alias mean an adapter, wholly or for a share of its requests beside what it meant before.

    Args:
        source: run, adapter folder or released name.
        reason: why it may go without a good verdict; kept with the deployment.
        share: of the requests, 0 to 1; below 1 the alias has to mean something already.
        tenant: whose alias it is; "" is everybody's.

    Raises:
        AdapterError: not an adapter. InputError: no good verdict and no reason, or a share without a control.
    """
    subject = resolve_subject(source, workspace)
    if subject.adapter is None:
        raise AdapterError(
            f"{source} is not an adapter",
            where=source,
            rule="an alias means an adapter on the server's base",
            fix="give a run with an adapter; a whole model is served by itself: tunesmith serve --model PATH",
        )
    report = _report_of(subject, workspace)
    verdict, objection = _judged(report)
    if objection and not reason:
        raise InputError(
            f"{source} may not go: {objection}",
            where=source,
            rule="what answers to users was judged better than, or as good as, its baseline, and passed its gates",
            fix="judge it (tunesmith eval), or say why it may go all the same: --reason TEXT",
        )
    artifact = _artifact_of(subject, source, workspace)
    wanted = _deployment(alias, tenant, artifact.digest, share, reason or f"verdict: {verdict}", workspace)
    before = serve.deployed(workspace, alias, tenant)
    deployment = serve.deploy(workspace, wanted)
    release = Release(
        alias=alias,
        adapter_digest=artifact.digest,
        report_id=report.report_id if report else "",
        verdict=report.verdict if report else None,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        previous_digest=before.control_arm.digest if before else "",
    )
    workspace.release(release)
    return Promotion(deployment, release, verdict)


def _judged(report: Report | None) -> tuple[str, str]:
    """The verdict in words, and what speaks against promotion; "" when nothing does."""
    if report is None:
        return "none", "it was never judged"
    verdict = report.verdict or "none"
    if verdict not in GOOD:
        return verdict, f"its verdict is {verdict!r}" if report.verdict else "it was judged without a baseline"
    gates = overall(report.gates) if report.gates else "pass"
    if gates != "pass":
        return verdict, f"its gates say {gates!r}"
    return verdict, ""


def _report_of(subject: Subject, workspace: Workspace) -> Report | None:
    """The report that a run ended with, from its folder or the workspace."""
    if subject.run is not None and (subject.run / "report.json").is_file():
        return Report.model_validate_json((subject.run / "report.json").read_bytes())
    release = workspace.released(subject.name)
    if release is None or not release.report_id:
        return None
    return workspace.get("report", release.report_id, Report)


def _artifact_of(subject: Subject, source: str, workspace: Workspace) -> Artifact:
    """The adapter as an artifact of the workspace: the one that its run registered, or a copy made now."""
    assert subject.adapter is not None
    if subject.run is not None:
        run = RunRecord.model_validate_json((subject.run / "run.json").read_bytes())
        for known in workspace.artifacts("adapter"):
            if run.adapter_digest and known.meta.get("digest") == run.adapter_digest:
                return workspace.artifact(known.digest)
    release = None if Path(source).exists() else workspace.released(source)
    if release is not None:
        return workspace.artifact(release.adapter_digest)
    folder = subject.adapter
    store.verify_folder(folder)
    return workspace.publish("adapter", lambda target: _copy(folder, target), {"source": subject.name})


def _copy(folder: Path, target: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in ("manifest.json", CARD):
            store.copy_file(path, target / path.name)
    card = AdapterCard.model_validate_json((folder / CARD).read_bytes())
    store.write_text(target / CARD, card.model_dump_json(indent=2) + "\n")


def _deployment(
    alias: str, tenant: str, digest: str, share: float, reason: str, workspace: Workspace
) -> serve.Deployment:
    """The next version: the new adapter alone, or beside the control of the current version."""
    before = serve.deployed(workspace, alias, tenant)
    kept = {
        "sticky": before.sticky if before else "user",
        "guardrails": before.guardrails if before else (),
    }
    if not 0 < share <= 1 or (share < 1 and before is None):
        raise InputError(
            f"a share of {share:g} cannot be promoted as {alias!r}",
            where="--share",
            rule="a share is above 0 and at most 1, and the rest goes to what the alias means already",
            fix="promote the first one wholly: leave --share out",
        )
    if share == 1:
        arms: tuple[serve.Arm, ...] = (serve.Arm(name="current", digest=digest),)
        return serve.Deployment(alias=alias, tenant=tenant, arms=arms, reason=reason, **kept)
    assert before is not None
    control = serve.Arm(name="control", digest=before.control_arm.digest, weight=1 - share)
    arms = (serve.Arm(name="candidate", digest=digest, weight=share), control)
    return serve.Deployment(alias=alias, tenant=tenant, arms=arms, control="control", reason=reason, **kept)
