"""Prompt, retrieval or fine-tuning: the arms of an assessment, opened and measured on the rows of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith import assess, evaluate, lifecycle
from tunesmith.core import store
from tunesmith.core.artifacts import Report
from tunesmith.core.config import Settings
from tunesmith.core.costs import load_prices
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Example
from tunesmith.core.store import Workspace
from tunesmith.held_out import look_at, once_each
from tunesmith.proof.models import open_models
from tunesmith.text.retrieval import Corpus

LOOK_RESAMPLES = 200
"""Resamples of a quick look while prompts are searched for: only the score counts there."""


def assess_levers(
    settings: Settings, workspace: Workspace, emit: Emit = ignore, add: Sequence[str] = ()
) -> assess.Advice:
    """Try every arm that the configuration names on its held-out rows; the advice is kept in the workspace.

    What a model has answered once is not asked again, so a tuned run that is added later costs its own answers only.

    Args:
        add: runs or adapters beside those of the configuration.

    Raises:
        DataError: no held-out rows. ConfigError, InputError, ModelError: an arm cannot be opened.
    """
    config = settings.stage("assess", assess.Block).assess
    judged = settings.stage("evaluate", evaluate.Config)
    # What can be refused is refused before a model is loaded.
    prices = load_prices(Path(config.prices).expanduser()) if config.prices else None
    index = Corpus.build(Path(config.corpus).expanduser(), workspace, config.retrieval, emit) if config.corpus else None
    project = lifecycle.prepare(settings, workspace, emit)
    names = [config.model or project.config.model, *config.bigger, *config.tuned, *add]
    names += [config.rewriter] if config.rewriter else []
    samplers = [model.sampler for model in open_models(names, workspace, emit)]
    base, rest = samplers[0], samplers[1:]
    bigger, rest = rest[: len(config.bigger)], rest[len(config.bigger) :]
    tuned = rest[: len(config.tuned) + len(add)]
    test = once_each(project.dataset.of("test"), emit)
    look_at(test, [base, *bigger, *tuned], workspace)

    def measure(arms: Sequence[Sampler], rows: Sequence[Example]) -> Report:
        return evaluate.run(judged, arms, rows, emit=emit, dataset_digest=project.dataset.card.digest)

    def look(arms: Sequence[Sampler], rows: Sequence[Example]) -> Report:
        quick = judged.model_copy(update={"bootstrap_samples": LOOK_RESAMPLES, "slices": ()})
        return evaluate.run(quick, arms, rows)

    bench = assess.Bench(
        base=base,
        rows=assess.Rows(
            test=test,
            validation=once_each(project.dataset.of("validation"), ignore),
            training=once_each(project.dataset.of("train"), ignore),
            digest=project.dataset.card.digest,
        ),
        measure=measure,
        look=look,
        bigger=bigger,
        tuned=tuned,
        index=index,
        writer=samplers[-1] if config.rewriter else None,
        prices=prices,
        margin=judged.equivalence_margin,
        seed=judged.evaluation_seed,
        emit=emit,
    )
    advice = assess.run(config, bench)
    workspace.put("advice", advice.advice_id, advice)
    return advice


def write_advice(advice: assess.Advice, folder: Path, emit: Emit = ignore) -> None:
    """``why-not-prompting.md``, ``advice.html`` and ``advice.json`` in a folder."""
    store.write_text(folder / "why-not-prompting.md", assess.to_markdown(advice))
    store.write_text(folder / "advice.html", assess.to_html(advice))
    store.write_text(folder / "advice.json", advice.model_dump_json(indent=2) + "\n")
    emit(Note(text=f"written: {folder}/why-not-prompting.md, advice.html, advice.json"))
