"""The table of contents of all that Tunesmith does, and the only module that puts verbs together.

    prepare       config → model folder, renderer, checked and split data
    plan          what training would take: tokens, time, memory
    measure_base  the base model on the held-out rows
    train         rows → run and adapter, verified
    sweep         many trials on the validation rows → the best configuration as a file
    judge         tuned against base on the same rows → report with a verdict
    register      the adapter becomes an artifact with a name
    (serve.open_gateway: base and adapters answer requests)

Weights are imported inside the functions that need them, so that everything else starts without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import assess, curate, evaluate, serve
from tunesmith import train as training
from tunesmith.core import config as configuration
from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard, Estimate, Machine, Release, Report, RunRecord, SweepRecord
from tunesmith.core.config import Settings
from tunesmith.core.events import Emit, Note, RowLoss, Stage, ignore
from tunesmith.core.protocols import Sampler, Tagger
from tunesmith.core.ranks import place
from tunesmith.core.records import TokenizedExample
from tunesmith.core.store import Artifact, Workspace
from tunesmith.held_out import TRAINED_ROWS, look_at, once_each
from tunesmith.model.resolve import CARD, context_of, resolve_model, resolve_subject
from tunesmith.settings import for_anywhere, resolve_autos, with_whole_paths
from tunesmith.text.sources import require_template
from tunesmith.text.template import TemplateRenderer

if TYPE_CHECKING:
    from tunesmith.model.engine import Engine
    from tunesmith.model.load import Base

STAGES: Mapping[str, Any] = {
    "data": curate.Config,
    "train": training.Config,
    "adapter": training.AdapterConfig,
    "loop": training.LoopConfig,
    "sweep": training.SweepConfig,
    "evaluate": evaluate.Config,
    "risks": evaluate.RiskConfig,
    "assess": assess.Block,
    "serve": serve.Config,
}
"""What the keys of ``tunesmith.yaml`` configure."""


@dataclass
class Project:
    """A configuration with its model and data at hand. ``engine`` is made when weights are first needed."""

    settings: Settings
    workspace: Workspace
    folder: Path
    renderer: TemplateRenderer
    dataset: curate.Dataset
    emit: Emit = ignore
    baseline: Sampler | None = None
    engine: Engine | None = field(default=None, repr=False)

    @property
    def config(self) -> training.Config:
        """The knobs of training."""
        return self.settings.stage("train", training.Config)

    @property
    def adapter(self) -> training.AdapterConfig:
        """The shape of the adapter."""
        return self.settings.stage("adapter", training.AdapterConfig)

    @property
    def loop(self) -> training.LoopConfig:
        """How training is carried out and watched."""
        return self.settings.stage("loop", training.LoopConfig)

    @property
    def output_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.config.output_dir)


@dataclass(frozen=True)
class Outcome:
    """A finished run with its verdict: where everything is."""

    run: RunRecord
    report: Report
    release: Release
    page: Path


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read a config file; paths in it count from its own folder.

    Raises:
        ConfigError: unknown keys, impossible values; all problems are shown together.
    """
    settings = with_whole_paths(configuration.load(path, STAGES, overrides), path)
    config, adapter = settings.stage("train", training.Config), settings.stage("adapter", training.AdapterConfig)
    training.refuse_unread(config.method, adapter, settings.origins)
    training.refuse_undeployable(config.method, adapter, settings.origins)
    training.refuse_formats(config, settings.origins)
    return settings


def load_evaluation(path: Path | None, overrides: Sequence[str] = (), models: Sequence[str] = ()) -> Settings:
    """The evaluation keys of a config file; without one, those of the first run among ``models``, else the defaults.

    The file need not name data.
    """
    if path is None:
        path = next((run for model in models if (run := Path(model) / "config.yaml").is_file()), None)
        if path is None:
            alone = {"evaluate": evaluate.Config, "risks": evaluate.RiskConfig}
            return configuration.load(None, alone, overrides)
        return configuration.load(path, STAGES, overrides)
    return with_whole_paths(configuration.load(path, STAGES, overrides, optional=["data"]), path)


def load_serving(path: Path | None, overrides: Sequence[str] = ()) -> serve.Config:
    """The serving keys of a config file, or their defaults where there is none. The file need not name data."""
    stages = {"serve": serve.Config} if path is None else STAGES
    return configuration.load(path, stages, overrides, optional=["data"]).stage("serve", serve.Config)


def claim_output(settings: Settings, fresh: bool = False) -> None:
    """Make sure, before anything slow is done, that a run may write where it is going to. Nothing is written.

    A finished run without a report is no obstacle: it was stopped before its verdict, and is judged now.

    Raises:
        InputError: a finished run stands there. StorageError: the place cannot be written. ConfigError: a package
        that ``report_to`` needs is not installed.
    """
    output = Path(settings.stage("train", training.Config).output_dir)
    loop = settings.stage("loop", training.LoopConfig)
    training.refuse_alone(settings.stage("train", training.Config), loop.activation_offload)
    training.require_trackers(loop.report_to)
    store.require_writable(output)
    if not _is_unjudged(output):
        training.refuse_finished(output, fresh)


def _is_unjudged(output: Path) -> bool:
    return (output / "run.json").exists() and not (output / "report.json").exists()


def prepare(settings: Settings, workspace: Workspace, emit: Emit = ignore, judged: bool = True) -> Project:
    """Resolve the model, then read, check and split the data with its own tokens.

    ``judged``: rows are held out for a verdict.

    Raises:
        ModelError, OfflineError: no such model. DataError: rows that cannot be used.
    """
    config = settings.stage("train", training.Config)
    _require_files(settings)
    settings = training.take_over(settings, workspace)
    emit(Stage(title="model", detail=config.model))
    folder = resolve_model(config.model, workspace, emit)
    renderer = serve.make_renderer(folder, config.chat_template, config.train_on)
    settings = resolve_autos(settings, folder)
    emit(Stage(title="data", detail=", ".join(s.path for s in settings.stage("data", curate.Config).datasets)))
    longest = int(settings.stage("train", training.Config).max_length)
    data = settings.stage("data", curate.Config)
    dataset = curate.run(data, renderer, longest, emit, context_of(folder), workspace, tagger_for(data), judged)
    judged = settings.stage("evaluate", evaluate.Config)
    if judged.primary_metric != "auto":  # test rows are looked at only where a named metric has to fit them
        evaluate.require_primary(judged, once_each(dataset.of("test"), ignore))
    return Project(settings, workspace, folder, renderer, dataset, emit)


def tagger_for(data: curate.Config) -> Tagger | None:
    """The model that finds names of persons, where the checks of the data configure one.

    Raises:
        ModelError: it cannot be loaded.
    """
    folder = data.checks.personal.ner_model
    if not folder:
        return None
    from tunesmith.model.tagger import load_tagger

    return load_tagger(Path(folder).expanduser())


def _require_files(settings: Settings) -> None:
    """Refuse files that are missing and names that nothing has before a model is downloaded, which may take minutes."""
    curate.require_files(settings.stage("data", curate.Config))
    judged = settings.stage("evaluate", evaluate.Config)
    evaluate.load_schema(judged.json_schema)
    evaluate.require_primary(judged)
    require_template(settings.stage("train", training.Config).chat_template)


def data_of(
    path: Path, overrides: Sequence[str] = (), emit: Emit = ignore
) -> tuple[curate.Config, TemplateRenderer, int, int | None]:
    """What a config file says about data, the renderer of its model, and the longest row (wanted, possible) in tokens.

    The longest possible row is None where the model states no limit.
    """
    settings = load_settings(path, overrides)
    config = settings.stage("train", training.Config)
    _require_files(settings)
    folder = resolve_model(config.model, Workspace.open(), emit)
    renderer = serve.make_renderer(folder, config.chat_template, config.train_on)
    longest = int(resolve_autos(settings, folder).stage("train", training.Config).max_length)
    return settings.stage("data", curate.Config), renderer, longest, context_of(folder)


def renderer_for(model: str, workspace: Workspace | None = None, emit: Emit = ignore) -> TemplateRenderer:
    """The renderer of a model, a run or an adapter by name; no weights are loaded.

    Raises:
        AdapterError: the adapter was trained with another tokenizer or chat template.
    """
    workspace = workspace or Workspace.open()
    subject = resolve_subject(model, workspace)
    return serve.subject_renderer(subject, resolve_model(subject.base, workspace, emit))


def worst_rows(run: Path) -> tuple[RowLoss, ...]:
    """The last loss of every row that a run trained on, the highest first."""
    return training.worst_rows(run)


def tokenise(project: Project, split: str) -> Sequence[TokenizedExample]:
    """The rows of a split as ids and weights, read from the workspace as they are asked for."""
    return project.dataset.tokens[split]


def _training_rows(project: Project) -> training.Rows:
    """What a run may see: training and validation rows, and how often an epoch shows each file."""
    parts, digest = training.parts_of(project.dataset.sets), project.dataset.card.digest
    return training.Rows(tokenise(project, "train"), tokenise(project, "validation"), digest, parts)


def load_engine(project: Project) -> Engine:
    """The base in memory, once per project."""
    if project.engine is None:
        config = project.config
        form = config.dtype + ("-nf4" if config.method == "qlora" else "")
        project.engine = serve.open_engine(project.folder, form, project.emit, serve.public_name(config.model))
    return project.engine


def measure_base(project: Project) -> Report:
    """The base model alone on the test rows. Its answers are remembered for the comparison."""
    from tunesmith.model.sample import LocalSampler

    engine = load_engine(project)
    project.emit(Stage(title="measuring the base model", detail=f"{len(project.dataset.of('test'))} held-out rows"))
    project.baseline = evaluate.Remembered(LocalSampler(engine, project.renderer, name="base"))
    return _evaluate(project, [project.baseline])


def train(project: Project, fresh: bool = False) -> RunRecord:
    """Train, and prove that what was saved is what was trained; writes ``output_dir``.

    A run that was stopped goes on: while it trained, from its checkpoint; before its verdict, with the verdict.

    Raises:
        TrainingError, Interrupted, ConfigError, StorageError: see `tunesmith.train.run`.
    """
    base, config = load_engine(project).base, project.config
    if _is_unjudged(project.output_dir) and not fresh:
        record = training.finished(config, project.adapter, project.dataset.card.digest, base, project.renderer)
        project.emit(Note(text=f"{project.output_dir} is trained already; what is missing is its verdict"))
        return _with_rows(project, record)
    project.emit(Stage(title="training", detail=f"{project.config.method}, {len(project.dataset.of('train'))} rows"))
    values, wanted = project.settings.as_dict(), project.loop.report_to if place().is_first else ()
    with training.trackers(wanted, project.output_dir, values, project.emit) as emit:
        return _with_rows(project, training.run(*_inputs(project, fresh, emit)))


def plan(project: Project) -> Estimate:
    """What training would take on this machine, from a few real steps; nothing is written."""
    load_engine(project)
    project.emit(Stage(title="planning", detail="a few real steps, the longest batch first"))
    return training.plan(*_inputs(project, False, project.emit))


def _inputs(
    project: Project, fresh: bool, emit: Emit
) -> tuple[training.Config, training.AdapterConfig, training.Rows, training.Context]:
    rows = _training_rows(project)
    kept = for_anywhere(project.settings)
    context = training.Context(
        base=load_engine(project).base,
        renderer=project.renderer,
        chat_template=project.config.chat_template,
        output_dir=project.output_dir,
        origins=kept.origins,
        emit=emit,
        fresh=fresh,
        loop=project.loop,
        sources={row.id: str(row.source) for row in project.dataset.examples if row.source.path},
        measure=_grader(project),
    )
    return kept.stage("train", training.Config), project.adapter, rows, context


def _grader(project: Project) -> Callable[[str, int], Mapping[str, float]] | None:
    """Task metrics of the weights in training, on a fixed part of the validation rows."""
    from tunesmith.model.sample import LocalSampler

    engine, renderer = load_engine(project), project.renderer
    config = project.settings.stage("evaluate", evaluate.Config)
    rows = evaluate.fixed_rows(project.dataset.of("validation"))

    def measure(adapter: str, count: int) -> Mapping[str, float]:
        engine.adopt(adapter)
        sampler = LocalSampler(engine, renderer, adapter, name="the weights in training")
        return evaluate.grade_answers(config, sampler, rows[:count], renderer)

    return measure if rows else None


def _with_rows(project: Project, record: RunRecord) -> RunRecord:
    """Write down which rows the model has seen, and the whole configuration."""
    if not place().is_first:
        return record
    trained = sorted(example.id for example in project.dataset.examples if example.split in ("train", "validation"))
    store.write_text(project.output_dir / TRAINED_ROWS, "\n".join(trained) + "\n")
    store.write_text(project.output_dir / "config.yaml", for_anywhere(project.settings).to_yaml())
    return record


def sweep(settings: Settings, workspace: Workspace, emit: Emit = ignore, fresh: bool = False) -> SweepRecord:
    """Search for the best configuration on the validation rows; the test rows are put away before the first trial.

    Writes ``<output_dir>-sweep/``: ``best.yaml`` where a trial was completed, ``report.html``, ``sweep.json``.

    Raises:
        ConfigError, TrainingError, Interrupted: see `tunesmith.train.search`.
    """
    folder = training.claim_sweep(settings)
    project = prepare(settings, workspace, emit)
    kept = tuple(e for e in project.dataset.examples if e.split in ("train", "validation"))
    project.dataset = replace(project.dataset, examples=kept)

    def open_base() -> Base:
        if project.config.method == "full":  # training all weights spoils them
            project.engine = None
        return load_engine(project).base

    rows = _training_rows(project)
    record = training.search(project.settings, rows, open_base, project.renderer, workspace, emit, fresh)
    store.write_text(folder / "report.html", evaluate.sweep_to_html(record))
    return record


def judge(project: Project) -> Report:
    """The saved weights against the base on the test rows."""
    from tunesmith.model.sample import LocalSampler

    if project.baseline is None:
        measure_base(project)
    assert project.baseline is not None
    project.emit(Stage(title="judging", detail="the saved weights against the base, on the same held-out rows"))
    name = project.output_dir.name
    weights = project.output_dir / training.weights_folder(project.config.method)
    if project.config.method != "full":
        engine = load_engine(project)
        engine.add_adapter(name, weights)
        tuned = LocalSampler(engine, project.renderer, adapter=name, name="tuned")
    else:
        engine = serve.open_engine(weights, project.config.dtype, project.emit)
        tuned = LocalSampler(engine, project.renderer, name="tuned")
    return _evaluate(project, [project.baseline, tuned])


def _evaluate(project: Project, samplers: Sequence[Sampler]) -> Report:
    config = project.settings.stage("evaluate", evaluate.Config)
    rows = once_each(project.dataset.of("test"), project.emit)
    report = evaluate.run(config, samplers, rows, emit=project.emit, dataset_digest=project.dataset.card.digest)
    if len(samplers) < 2:
        return report
    return report.model_copy(update={"standing": look_at(rows, samplers, project.workspace)})


def keep_weights(project: Project, run: RunRecord) -> Artifact:
    """The run, its data and its weights in the workspace, whole or not at all; the same ones are kept once."""
    workspace, output = project.workspace, project.output_dir
    folder = output / training.weights_folder(project.config.method)

    def fill(target: Path) -> None:
        rows = output / TRAINED_ROWS
        for path in [*sorted(folder.iterdir()), rows]:
            if path.name not in ("manifest.json", CARD):
                store.copy_file(path, target / path.name)
        card = AdapterCard.model_validate_json((folder / CARD).read_bytes())
        card = card.model_copy(update={"files": {**card.files, rows.name: store.file_digest(rows)}})
        store.write_text(target / CARD, card.model_dump_json(indent=2) + "\n")

    artifact = workspace.publish("adapter", fill, {"run_id": run.run_id, "digest": run.adapter_digest})
    workspace.put("dataset", project.dataset.card.digest, project.dataset.card)
    curate.keep_rows(project.dataset, workspace)
    workspace.put("run", run.run_id, run)
    return artifact


def register(project: Project, run: RunRecord, report: Report) -> Outcome:
    """Keep run, report and adapter in the workspace under the run's name, and write the report's page."""
    workspace, output = project.workspace, project.output_dir
    artifact = keep_weights(project, run)
    workspace.put("report", report.report_id, report)
    previous = workspace.released(output.name)
    release = Release(
        alias=output.name,
        adapter_digest=artifact.digest,
        report_id=report.report_id,
        verdict=report.verdict,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        previous_digest=previous.adapter_digest if previous else "",
    )
    workspace.release(release)
    page = output / "report.html"
    store.write_text(page, evaluate.to_html(report, run, project.dataset.card))
    store.write_text(output / "report.json", report.model_dump_json(indent=2) + "\n")
    return Outcome(run, report, release, page)


def run_to_verdict(project: Project, fresh: bool = False) -> Outcome | None:
    """The main job on a prepared project: measure the base, train, judge, register.

    Where several processes train, the first one alone measures, judges and registers; the others get None.
    """
    if place().is_first:
        measure_base(project)
    else:
        load_engine(project)
    training.after_first()
    run = train(project, fresh)
    return register(project, run, judge(project)) if place().is_first else None


def machine() -> Machine:
    """What this machine offers, with a short measurement of its speed."""
    from tunesmith.model import device

    return device.machine()
