"""From tokenised rows to a run: plan, train, keep the best, write it down, prove that what was saved is what ran."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard, Canary, Check, Estimate, RunRecord
from tunesmith.core.errors import ConfigError, InputError, Interrupted, TrainingError
from tunesmith.core.events import Emit, Note, Noticed, Saved, Step, Validated, ignore
from tunesmith.core.protocols import Renderer
from tunesmith.core.records import TokenizedExample, digest_of
from tunesmith.model import device
from tunesmith.model.adapters import adapter_digest
from tunesmith.model.compiled import compile_layers
from tunesmith.model.load import Base, fingerprint
from tunesmith.model.recompute import set_recompute
from tunesmith.model.resolve import CARD, TEMPLATE
from tunesmith.model.trainable import Trainable, make_trainable
from tunesmith.train import checkpoint, fit, mix, parent, preflight, ranks, row_losses, verify
from tunesmith.train.config import AdapterConfig, Config, LoopConfig
from tunesmith.train.generation import Measure, measure_answers
from tunesmith.train.loop import Loss, Plan, State, make_optimiser, train, validation_loss
from tunesmith.train.optimiser import Optimiser
from tunesmith.train.options import options_of
from tunesmith.train.order import Order, Part
from tunesmith.train.output import RECORD, STEPS, prepare_output, refuse_finished, weights_folder
from tunesmith.train.sft import loss as sft_loss
from tunesmith.train.signals import stop_requests

Tensor = torch.Tensor
TASKS: Mapping[str, Loss] = {"sft": sft_loss}
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Rows:
    """Tokenised training and validation rows, the digest of the data set, and its parts in the order of ``train``."""

    train: Sequence[TokenizedExample]
    validation: Sequence[TokenizedExample]
    dataset_digest: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a run is told about its surroundings.

    ``sources`` are file and line of each row id. ``measure`` grades answers to validation rows; see `generation`.
    """

    base: Base
    renderer: Renderer
    chat_template: str
    output_dir: Path
    origins: Mapping[str, str] = field(default_factory=dict)
    emit: Emit = ignore
    fresh: bool = False
    loop: LoopConfig = field(default_factory=LoopConfig)
    sources: Mapping[str, str] = field(default_factory=dict)
    measure: Measure | None = None


@dataclass(frozen=True)
class _Before:
    """How things stood before the first step: the trained weights (P,), and the base's canaries."""

    weights: Tensor
    canaries: tuple[Canary, ...]


@dataclass
class _Evidence:
    """The lines of the verify table so far, and the fresh process that is making one."""

    checks: list[Check]
    reload: verify.Reload | None = None
    saved: bool = False


@dataclass
class _Run:
    """The parts of a run that its steps share."""

    config: Config
    adapter: AdapterConfig
    rows: Rows
    context: Context
    trainable: Trainable
    plan: Plan
    optimiser: Optimiser
    state: State
    best: Tensor
    before: _Before
    evidence: _Evidence
    planned: Estimate | None = None

    @property
    def loss(self) -> Loss:
        return TASKS[self.config.task]

    def identity(self) -> dict[str, str]:
        digest = self.rows.dataset_digest
        return identity(self.config, self.adapter, digest, self.context.base, self.context.renderer)


def identity(
    config: Config, adapter: AdapterConfig, dataset_digest: str, base: Base, renderer: Renderer
) -> dict[str, str]:
    """What a resumed run must have in common with the one that it continues."""
    shape = adapter.model_dump(mode="json", exclude={"init_adapter", "deploy_to"})
    knobs = {**config.model_dump(mode="json", exclude={"output_dir", "model"}), **shape}
    if adapter.init_adapter:
        knobs["init_adapter"] = adapter_digest(Path(adapter.init_adapter))
    return {
        "configuration": digest_of(knobs),
        "data": dataset_digest,
        "base model": base.fingerprint,
        "chat template": renderer.digest,
    }


def finished(config: Config, adapter: AdapterConfig, dataset_digest: str, base: Base, renderer: Renderer) -> RunRecord:
    """The record of the finished run in ``output_dir``, which must be of this very configuration, data and base.

    Raises:
        ConfigError: it is another run. TrainingError: it failed a check.
    """
    output = Path(config.output_dir)
    record = RunRecord.model_validate_json((output / RECORD).read_bytes())
    if record.run_id != run_id(identity(config, adapter, dataset_digest, base, renderer)):
        raise ConfigError(
            f"{output} holds a finished run of another configuration, data or base",
            where="output_dir",
            rule="only the run itself can be judged and registered",
            fix="undo the change, choose another output_dir, or start over with --fresh",
        )
    _refuse_failed(record, output)
    return record


def _refuse_failed(record: RunRecord, output: Path) -> None:
    failed = [check for check in record.checks if check.passed is False]
    if failed:
        raise TrainingError(
            f"the finished run failed a check: {failed[0].name}: {failed[0].detail}",
            where=str(output),
            rule="a run counts only when what was saved is what was trained",
            fix="don't use this adapter; train again with --fresh, and report it if it happens twice",
        )


def run(config: Config, adapter: AdapterConfig, rows: Rows, context: Context) -> RunRecord:
    """Train and write ``output_dir``: ``adapter/`` (or ``model/``) with the best weights, ``last/``, ``run.json``.

    A stopped run goes on from its newest checkpoint and ends with the same bits; ``context.fresh`` starts over. Several
    processes that have `ranks.joined` share the work; the first one writes, and all get the record.

    Args:
        config: with no "auto" left in ``learning_rate``.
        adapter: the shape of the adapter; not read by ``method: full``.
        rows: at least one training and one validation row.
        context: base model, renderer, folders, listener.

    Raises:
        ConfigError: the checkpoint belongs to another configuration or other data.
        TrainingError: the loss ran away, the batch does not fit, or the saved weights are not the trained ones.
        Interrupted: stopped by the user; a checkpoint was written.
    """
    output = context.output_dir
    refuse_finished(output, context.fresh)
    run_ = _begin(config, adapter, rows, context)
    ranks.require_same(run_.identity())
    if ranks.first():
        prepare_output(output, context.fresh)  # only now may an earlier run be removed: this one can begin
    ranks.after_first()
    _resume(run_, output / "checkpoints")
    _plan(run_)
    try:
        _train(run_)
        _finish(run_)
    finally:
        set_recompute(context.base.model, 0)
        if run_.evidence.reload is not None:
            run_.evidence.reload.kill()
    record = RunRecord.model_validate_json((output / RECORD).read_bytes())
    if record.outturn is not None:
        context.emit(Note(text=record.outturn.sentence))
    _refuse_failed(record, output)
    return record


def plan(config: Config, adapter: AdapterConfig, rows: Rows, context: Context) -> Estimate:
    """What a run would take, and how it would be carried out to fit into memory. Nothing is written or kept.

    Raises:
        TrainingError: nothing fits; the message has the numbers.
    """
    run_ = _begin(config, adapter, rows, context)
    _plan(run_)
    assert run_.planned is not None
    set_recompute(context.base.model, 0)
    return run_.planned


def _plan(run_: _Run) -> None:
    """Compile the layers if that is wanted, estimate the run, and say so."""
    if run_.config.torch_compile:
        seconds = compile_layers(run_.context.base, run_.trainable)
        run_.context.emit(Note(text=f"layers compiled in {seconds:.0f} s; they do what the plain ones do"))
    planned = _fitted(run_)
    run_.context.emit(Note(text=preflight.sentence(planned, run_.plan.micro_batch)))
    if run_.rows.parts:
        run_.context.emit(Note(text=f"data: {mix.sentence(planned.sets)}"))


def _fitted(run_: _Run) -> Estimate:
    """Estimate the run; take over the micro-batch that fits, unless a checkpoint knows a smaller one."""
    context, state = run_.context, run_.state
    planned = preflight.estimate(
        context.base, run_.trainable, run_.loss, run_.rows.train, run_.rows.validation, run_.plan, context.loop
    )
    run_.planned = planned
    if planned.micro_batch != run_.plan.micro_batch and not state.micro_batch:
        state.micro_batch = planned.micro_batch
    return planned


def _begin(config: Config, adapter: AdapterConfig, rows: Rows, context: Context) -> _Run:
    if not rows.train or not rows.validation:
        raise InputError(
            f"{len(rows.train)} training and {len(rows.validation)} validation rows",
            where="datasets",
            rule="a run needs at least one row of each",
            fix="add rows, or change val_size",
        )
    torch.manual_seed(config.seed)  # before the adapter is made, so that the seed fixes its first weights too
    base = context.base
    trainable = make_trainable(config.method, base, options_of(config, adapter))
    if adapter.init_adapter:
        parent.begin_from(trainable, base, Path(adapter.init_adapter))
    if base.way.alone:
        context.emit(Note(text=f"packing: {verify.packing_sentence(base)}; slower, and as exact"))
    before = _Before(trainable.master.clone(), verify.canaries(base, context.renderer, ""))
    planned = make_plan(config, len(rows.train), rows.parts)
    checks = [
        verify.mask_coverage(rows.train),
        verify.stop_trained(rows.train, context.renderer.stop_ids),
        verify.packing(base),
        verify.packing_isolation(base, rows.train),
    ]
    optimiser = make_optimiser(trainable, planned)
    evidence = _Evidence(checks)
    return _Run(
        config, adapter, rows, context, trainable, planned, optimiser, State(), before.weights, before, evidence
    )


def make_plan(config: Config, rows: int, parts: tuple[Part, ...] = ()) -> Plan:
    """The steps that a configuration means for this many training rows, which come from ``parts``."""
    order = Order(rows, config.per_device_train_batch_size * config.gradient_accumulation_steps, config.seed, parts)
    total = order.total_steps(config.num_train_epochs, config.max_steps)
    per_epoch = math.ceil(order.steps_per_epoch / 5)
    every = config.eval_steps if isinstance(config.eval_steps, int) else min(200, max(5, per_epoch))
    assert not isinstance(config.learning_rate, str), "resolve learning_rate: auto first"
    return Plan(
        order=order,
        total_steps=total,
        micro_batch=config.per_device_train_batch_size,
        learning_rate=config.learning_rate,
        scheduler=config.lr_scheduler_type,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        eval_steps=every,
        patience=config.early_stopping_patience,
        optim=config.optim,
    )


def _resume(run_: _Run, folder: Path) -> None:
    """Go back to the newest checkpoint, and cut the logs back to it: what came later is going to happen again."""
    found = checkpoint.latest(folder, run_.context.emit)
    ranks.require_same({"newest checkpoint": found.name if found else ""})
    if found is not None:
        checkpoint.check_identity(found, run_.identity())
        run_.state, run_.best = checkpoint.load(found, run_.trainable, run_.optimiser)
        run_.context.emit(Note(text=f"resumed from step {run_.state.step} ({found.name})"))
    for name in (EVENTS, row_losses.FILE):
        row_losses.trim(run_.context.output_dir / name, run_.state.step)


def _train(run_: _Run) -> None:
    context, state = run_.context, run_.state

    def validate() -> float:
        size = state.micro_batch or run_.plan.micro_batch
        return validation_loss(context.base, run_.trainable, run_.loss, run_.rows.validation, size)

    arguments = (context.base, run_.trainable, run_.loss, run_.rows.train, run_.plan, run_.optimiser, state, validate)
    with stop_requests() as requested:
        try:
            for event in train(*arguments, context.sources):
                _take(run_, event)
                if isinstance(event, Step) and ranks.most(len(requested)):
                    _save_checkpoint(run_)
                    whose = requested[0] if requested else "a signal to another process"
                    raise Interrupted(
                        f"stopped by {whose} after step {state.step} of {run_.plan.total_steps}",
                        where=str(context.output_dir / "checkpoints"),
                        rule="a checkpoint was written; the same command goes on from it",
                        fix="run the same `tunesmith train` command again to resume",
                    )
        except MemoryError as error:
            if ranks.world() == 1:  # the others may be elsewhere, and would never come to save theirs
                _save_checkpoint(run_)
            raise fit.out_of_memory(error, context.output_dir / "checkpoints") from error


def _take(run_: _Run, event: Step | Validated | Noticed) -> None:
    """Add to an event what only the run knows, tell it to everybody, and save what it asks for."""
    context, state = run_.context, run_.state
    if isinstance(event, Step):
        row_losses.write(context.output_dir, event.step, event.row_losses)
        peak = device.peak_memory(context.base.device)
        event = event.model_copy(update={"utilisation": _utilisation(run_, event), "memory_bytes": peak})
    if isinstance(event, Validated) and context.measure is not None and run_.planned is not None and ranks.first():
        seconds = sum(run_.planned.seconds) / 2
        adapter, validations = run_.trainable.adapter, run_.planned.validations
        metrics = measure_answers(state, context.measure, context.loop, adapter, seconds, validations, context.emit)
        event = event.model_copy(update={"metrics": metrics})
    _tell(context, event)
    if isinstance(event, Validated):
        if event.best:
            run_.best = run_.trainable.master.clone()
        if context.loop.keep_adapters:
            kept = _write(run_, f"{STEPS}/step-{state.step:06d}")
            _tell(context, Saved(step=state.step, path=str(kept), what="step"))
        _save_checkpoint(run_)
        _start_first_reload(run_)


def _utilisation(run_: _Run, event: Step) -> float:
    if run_.planned is None or not run_.planned.gemm_flops or not event.seconds:
        return 0.0
    flops = preflight.training_flops(run_.context.base, run_.trainable, event.computed_tokens, event.target_tokens)
    return flops / event.seconds / run_.planned.gemm_flops


def _tell(context: Context, event: Step | Validated | Noticed | Saved) -> None:
    """An event goes to whoever listens, and into the run's folder; the losses of rows have a file of their own."""
    context.emit(event)
    if ranks.first():
        store.append_line(context.output_dir / EVENTS, event.model_dump_json(exclude={"row_losses"}))


def _save_checkpoint(run_: _Run) -> None:
    folder = run_.context.output_dir / "checkpoints"
    path = checkpoint.save(folder, run_.trainable, run_.optimiser, run_.state, run_.best, run_.identity())
    ranks.after_first()
    _tell(run_.context, Saved(step=run_.state.step, path=str(path), what="checkpoint"))


def _start_first_reload(run_: _Run) -> None:
    """After the first save: write the weights as they are and load them elsewhere while training goes on."""
    if not run_.evidence.saved:
        run_.evidence.saved = True
        folder = _write(run_, "last")
        if ranks.first():
            run_.evidence.reload = verify.Reload("reload, first save", folder, run_.context.base, 1, True)


def _write(run_: _Run, name: str) -> Path:
    """Save the present weights with card and manifest as ``output_dir/name``; all processes wait for the first."""
    target = run_.context.output_dir / name
    run_.trainable.publish()
    if ranks.first():
        _write_published(run_, target)
    ranks.after_first()
    return target


def _write_published(run_: _Run, target: Path) -> None:
    context, trainable = run_.context, run_.trainable
    own_template = Path(context.chat_template)
    card = AdapterCard(
        method=run_.config.method,
        task=run_.config.task,
        base=run_.config.model,
        base_fingerprint=context.base.fingerprint,
        renderer_digest=context.renderer.digest,
        chat_template=TEMPLATE if own_template.is_file() else context.chat_template,
        stop_ids=tuple(sorted(context.renderer.stop_ids)),
        run_id=run_id(run_.identity()),
        dtype=context.base.format,
        canaries=verify.canaries(context.base, context.renderer, trainable.adapter),
    )
    with store.staged_folder(target) as staged:
        trainable.write(staged)
        if own_template.is_file():
            store.write_bytes(staged / TEMPLATE, own_template.read_bytes())
        files = {path.name: store.file_digest(path) for path in sorted(staged.iterdir())}
        card = card.model_copy(update={"files": files})
        store.write_text(staged / CARD, card.model_dump_json(indent=2) + "\n")
        store.write_manifest(staged)


def run_id(identity: Mapping[str, str]) -> str:
    """Equal for equal configuration, data, base and template: 16 hex digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _finish(run_: _Run) -> None:
    """Save the last weights and the best, prove that they are what was trained, and write the record."""
    context, trainable = run_.context, run_.trainable
    if run_.evidence.reload is not None:
        run_.evidence.checks.append(run_.evidence.reload.check())
    last = _write(run_, "last")
    _tell(context, Saved(step=run_.state.step, path=str(last), what="last"))
    moved = verify.every_weight_moved(trainable, run_.before.weights, run_.state.step, run_.optimiser)
    run_.evidence.checks += [moved, *verify.same_everywhere(trainable)]
    trainable.load(run_.best)
    best = _write(run_, weights_folder(run_.config.method))
    _tell(context, Saved(step=run_.state.best_step, path=str(best), what="best"))
    if ranks.first():
        _conclude(run_, best)
    ranks.after_first()


def _conclude(run_: _Run, best: Path) -> None:
    context, base = run_.context, run_.context.base
    tuned = verify.canaries(base, context.renderer, run_.trainable.adapter)
    run_.evidence.checks.append(verify.adapter_differs(run_.before.canaries, tuned))
    threads, _ = device.choose_threads()
    reload = verify.Reload("reload, last save", best, base, threads)
    run_.evidence.reload = reload
    run_.evidence.checks.append(reload.check())
    store.write_text(context.output_dir / RECORD, _record(run_, best).model_dump_json(indent=2) + "\n")
    store.remove(context.output_dir / "checkpoints")


def _record(run_: _Run, best: Path) -> RunRecord:
    state, context, planned = run_.state, run_.context, run_.planned
    sets = mix.shares(run_.plan.order, run_.rows.train, state.step) if run_.rows.parts else ()
    if sets:
        run_.evidence.checks.append(mix.as_planned(sets, state.tokens, state.target_tokens))
    digest = adapter_digest(best) if run_.trainable.is_adapter else fingerprint(best)
    peak = device.peak_memory(context.base.device)
    flops = preflight.training_flops(context.base, run_.trainable, state.computed_tokens, state.target_tokens)
    used = state.seconds + state.validation_seconds
    values = (run_.config, run_.adapter, context.loop)
    return RunRecord(
        run_id=run_id(run_.identity()),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config={key: value for part in values for key, value in part.model_dump(mode="json").items()},
        origins=dict(context.origins),
        dataset_digest=run_.rows.dataset_digest,
        base_fingerprint=context.base.fingerprint,
        renderer_digest=context.renderer.digest,
        seed=run_.config.seed,
        environment=device.environment(),
        estimate=planned,
        outturn=preflight.outturn(planned, state.step, used, peak) if planned else None,
        steps=state.step,
        seconds=state.seconds,
        tokens=state.tokens,
        target_tokens=state.target_tokens,
        train_losses=tuple(state.losses),
        validation_losses=state.validation,
        task_metrics=state.generation.metrics,
        task_metric_rows=max(0, state.generation.rows),
        best_step=state.best_step,
        peak_memory_bytes=max(peak, planned.earlier_peak_bytes if planned else 0),
        utilisation=flops / state.seconds / planned.gemm_flops if planned and state.seconds else 0.0,
        noticed=tuple(state.noticed),
        adapter_digest=digest,
        parent_digest=adapter_digest(Path(run_.adapter.init_adapter)) if run_.adapter.init_adapter else "",
        checks=tuple(run_.evidence.checks),
        sets=sets,
        stopped=state.stopped,
    )
