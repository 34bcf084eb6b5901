"""What a named run may have lost, keeps and gives away, or treats unequally, measured beside its own base.

Everything is measured on the artefact that the name means: its digest stands in every gate, and a merged, quantised or
retrained model has to be measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith import curate, evaluate, lifecycle, serve
from tunesmith.core.config import Settings
from tunesmith.core.errors import InputError
from tunesmith.core.events import Emit, Note, Stage, ignore, ticking
from tunesmith.core.store import Workspace
from tunesmith.evaluate import Material, Pair, Planted, RiskConfig, RiskKind, RiskReport, Secret, Watched
from tunesmith.model.resolve import Subject, resolve_subject
from tunesmith.proof.canaries import planted_rows

KINDS: tuple[RiskKind, ...] = ("forgetting", "leakage", "bias")


@dataclass(frozen=True)
class _Opened:
    subject: Subject
    pair: Pair
    watched: Watched


def measure_risks(
    name: str,
    kinds: Sequence[RiskKind],
    settings: Settings,
    workspace: Workspace,
    emit: Emit = ignore,
    twin: str = "",
) -> list[RiskReport]:
    """Measure the risks of a tuned model beside its base, and keep the reports in the workspace.

    Args:
        name: a run, an adapter or a released name.
        kinds: which risks, each once.
        twin: a run with canaries, which shows what the test of leakage can find.

    Raises:
        InputError: the name means a base, or leakage is asked of something without its training rows.
        ModelError: a score is not a number.
    """
    config = settings.stage("risks", RiskConfig)
    opened = _open(name, workspace, emit)
    found = []
    for kind in dict.fromkeys(kinds):
        emit(Stage(title=f"risk: {kind}", detail=f"{opened.pair.tuned.name} beside {opened.pair.base.name}"))
        if kind == "forgetting":
            report = evaluate.measure_forgetting(config, opened.pair)
        elif kind == "bias":
            report = evaluate.measure_bias(config, opened.pair)
        else:
            planted = _planted(opened, twin, workspace, emit) if twin else None
            report = evaluate.measure_leakage(config, opened.pair, _material(opened, planted, workspace, emit))
        workspace.put("risk", report.report_id, report)
        found.append(report)
    return found


def _open(name: str, workspace: Workspace, emit: Emit) -> _Opened:
    from tunesmith.model.sample import LocalSampler
    from tunesmith.model.scrutiny import token_scorer

    subject = resolve_subject(name, workspace)
    if subject.adapter is None:
        raise InputError(
            f"{name} is a base, and no adapter on one",
            where=name,
            rule="forgetting, leakage and bias of tuning are measured on an adapter beside its own base",
            fix="name a run, an adapter folder or a released name",
        )
    samplers = [sampler for _, sampler in serve.open_samplers([subject.base, name], workspace, emit)]
    base, tuned = samplers
    assert isinstance(base, LocalSampler)
    assert isinstance(tuned, LocalSampler)
    tell = ticking(emit, "rows token by token")
    return _Opened(subject, Pair(base, tuned, emit), Watched(token_scorer(base, tell), token_scorer(tuned, tell)))


def _planted(opened: _Opened, twin: str, workspace: Workspace, emit: Emit) -> Planted:
    """The canaries of a twin run, and what scores them."""
    found = planted_rows(Path(twin), workspace)
    its = _open(twin, workspace, emit)
    if its.pair.base.digest != opened.pair.base.digest:
        raise InputError(
            f"{twin} stands on another base than {opened.subject.name}",
            where="--twin",
            rule="a twin is the same run with planted rows beside its own",
            fix="train the twin from the same config, with the canaries added",
        )
    return Planted(found.planting, found.rows, its.watched, f"in the twin {its.subject.name}")


def _material(opened: _Opened, planted: Planted | None, workspace: Workspace, emit: Emit) -> Material:
    """The rows that the run was trained on, and those that its split held out."""
    run = opened.subject.run
    config = run / "config.yaml" if run else None
    if config is None or not config.is_file():
        raise InputError(
            f"the training rows of {opened.subject.name} are not known",
            where=opened.subject.name,
            rule="leakage is measured with the rows that a model was trained on; the folder of its run names them",
            fix="give the folder of the run, with its config.yaml and the data files where they were",
        )
    project = lifecycle.prepare(lifecycle.load_settings(Path(config)), workspace, emit)
    members, unseen = project.dataset.of("train"), project.dataset.of("test")
    data = project.settings.stage("data", curate.Config)
    values = curate.personal_values(members, data, lifecycle.tagger_for(data))
    emit(Note(text=f"{len(members)} training rows, {len(unseen)} held-out rows, {len(values)} personal values in them"))
    return Material(
        members=members,
        unseen=unseen,
        watched=opened.watched,
        secrets=[Secret(kind, value) for kind, value in values],
        planted=planted,
    )
