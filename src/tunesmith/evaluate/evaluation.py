"""Ask the models, grade the answers, judge the difference."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from tunesmith.core.artifacts import Comparison, ItemResult, ModelIdentity, Report, Summary, Verdict
from tunesmith.core.errors import ConfigError, InputError, ModelError, TunesmithError
from tunesmith.core.events import Emit, Tick, ignore
from tunesmith.core.protocols import Progress, Renderer, Sampler
from tunesmith.core.records import Completion, Example, SamplingParams, Score, digest_of
from tunesmith.evaluate import rows, wording
from tunesmith.evaluate.asked import declared, further, require_documents, require_metrics
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.rows import Row, Wanted
from tunesmith.text.graders import load_schema

if TYPE_CHECKING:
    from tunesmith.evaluate.metrics import Array, Metric
    from tunesmith.evaluate.verdict import Scored

T = TypeVar("T")

SPARE_LENGTH = 1.25
SPARE_TOKENS = 8
CHARACTERS_PER_TOKEN = 2


def run(
    config: Config,
    samplers: Sequence[Sampler],
    examples: Sequence[Example],
    *,
    emit: Emit = ignore,
    dataset_digest: str = "",
    answer_tokens: Sequence[int] | None = None,
    created_at: str | None = None,
    judges: Mapping[str, Sampler] | None = None,
) -> Report:
    """Measure every model on the same rows and compare each with the first.

    Args:
        samplers: the models; the first is the baseline when there are two or more.
        answer_tokens: tokens of each wanted answer, for ``max_new_tokens: auto``; without it the scored tokens count.
        created_at: time stamp of the report; now when absent. Everything else follows from the inputs.
        judges: what answers for the models that ``graders`` and ``judge`` name, by these names.

    Raises:
        DataError: no rows, an empty wanted answer, a row twice. ConfigError: schema or primary metric does not fit.
        ModelError: a model gave NaN. TunesmithError: a sampler gave too many or too few results.
    """
    from tunesmith.evaluate.seeds import judge
    from tunesmith.evaluate.slices import by_slice

    models = _identities(samplers, config)
    examples, set_aside = _of_one_kind(examples)
    wanted, metrics = _surveyed(config, examples)
    primary, reason = _primary(config, wanted, metrics)
    if len(models) > 1:
        emit(wording.foresight(len(examples), config.minimum_difference, 1.0 - config.confidence))
    scores = _once(models, lambda i: _score(samplers[i], models[i].name, examples, emit))
    params, limit_note = _params(config, *_limit(config, wanted, scores, answer_tokens))
    answers = _once(models, lambda i: _answer(samplers[i], models[i].name, examples, params, emit))
    scored = _grade_all(models, metrics, wanted, answers, scores)
    more = further(config, wanted, examples, samplers, answers, judges, scored, emit)
    scored, metrics = more.scored, [*metrics, *more.metrics]
    clusters = _clusters(examples)
    summaries, comparisons = judge(scored, metrics, config, primary, clusters)
    verdict, sentence = more.decided(primary, *_verdict(primary, summaries, comparisons, models))
    notes = [f"Decided by {wording.term(primary).title}, {reason}.", *_notes(limit_note, config, wanted, set_aside)]
    report = Report(
        report_id="",
        created_at=created_at or datetime.now(UTC).isoformat(timespec="seconds"),
        dataset_digest=dataset_digest,
        models=tuple(models),
        params=params,
        primary_metric=primary,
        confidence=config.confidence,
        summaries=summaries,
        comparisons=comparisons,
        items=_items(examples, models, answers, scored, metrics),
        verdict=verdict,
        sentence=sentence,
        notes=(*notes, *_family_notes(clusters, comparisons), *more.notes),
        judges=more.audits,
        slices=by_slice(scored, _named(primary, metrics), examples, config) if len(models) > 1 else (),
    )
    return report.model_copy(update={"report_id": digest_of(report.model_dump(exclude={"created_at"}))[:16]})


def _surveyed(config: Config, examples: Sequence[Example]) -> tuple[Wanted, list[Metric]]:
    """What the rows want, and the metrics of the table for it.

    Raises:
        DataError: the rows cannot be judged. ConfigError: ``metrics`` names what does not fit.
    """
    from tunesmith.evaluate.metrics import extra_metrics, metrics_for

    wanted = rows.survey(examples, load_schema(config.json_schema))
    require_metrics(config, wanted)
    return wanted, [*metrics_for(wanted), *extra_metrics(config.metrics, wanted)]


def _named(name: str, metrics: Sequence[Metric]) -> Metric:
    return next(metric for metric in metrics if metric.name == name)


def fixed_rows(examples: Sequence[Example]) -> list[Example]:
    """The rows that answers can be graded on, each once, in the order of their content hashes.

    The first n of them are a sample that is the same whatever the order of the files.
    """
    graded = (example for example in examples if not example.is_document and example.target.text.strip())
    distinct = {example.id: example for example in graded}
    return [distinct[key] for key in sorted(distinct)]


def grade_answers(
    config: Config, sampler: Sampler, examples: Sequence[Example], renderer: Renderer
) -> dict[str, float]:
    """Task metrics of one model's answers, without intervals, the deciding one first: a quick look while training.

    Answers are limited as in `run`, by the tokens that ``renderer`` gives the wanted ones.

    Raises:
        DataError, ConfigError: see `run`.
    """
    from tunesmith.evaluate.metrics import metrics_for

    wanted = rows.survey(examples, load_schema(config.json_schema))
    metrics = metrics_for(wanted)
    primary, _ = _primary(config, wanted, metrics)
    spans = [renderer.example(example)[-1].spans[-1] for example in examples]
    params, _ = _params(config, *_limit(config, wanted, [], [span.end - span.start for span in spans]))
    answers = sampler.sample([example.prompt for example in examples], params)
    _check_count(sampler.name, "answers", len(answers), len(examples))
    unscored = [Score(example_id=example.id, logprobs=()) for example in examples]
    graded = [rows.grade(wanted, i, *row) for i, row in enumerate(zip(answers, unscored, strict=True))]
    scored = _count(ModelIdentity(name=sampler.name, digest=""), metrics, wanted, graded)
    values = {
        metric.name: float(metric.value(scored.counts[metric.name].sum(axis=0)))
        for metric in metrics
        if metric.name in scored.counts and not metric.name.startswith(wording.FIELD)
    }
    return {name: values[name] for name in sorted(values, key=lambda name: name != primary)}


def _params(config: Config, limit: int, note: str) -> tuple[SamplingParams, str]:
    params = SamplingParams(
        max_tokens=limit, temperature=config.temperature, top_p=config.top_p, seed=config.evaluation_seed
    )
    return params, note


def _once(models: Sequence[ModelIdentity], ask: Callable[[int], T]) -> list[T]:
    """Results of all models in order; models with equal digests are one model and are asked once."""
    results: list[T] = []
    for i, model in enumerate(models):
        twin = next((j for j in range(i) if model.digest and models[j].digest == model.digest), None)
        results.append(ask(i) if twin is None else results[twin])
    return results


def _score(sampler: Sampler, name: str, examples: Sequence[Example], emit: Emit) -> list[Score]:
    scores = sampler.score(examples, _ticks(f"scoring with {name}", emit))
    _check_count(name, "scores", len(scores), len(examples))
    for score, example in zip(scores, examples, strict=True):
        if score.example_id != example.id:
            raise TunesmithError(
                f"{name} scored row {score.example_id} where row {example.id} was asked",
                rule="scores come back in the order of the rows",
                fix="this is a fault of the sampler: report it",
            )
        if not all(math.isfinite(value) for value in score.logprobs):
            raise ModelError(
                f"{name} gave a log-probability that is not a number",
                where=str(example.source),
                rule="every token of a wanted answer has a finite log-probability",
                fix="the weights are broken, or overflow in this precision: try float32, or an earlier checkpoint",
            )
    return scores


def _answer(
    sampler: Sampler, name: str, examples: Sequence[Example], params: SamplingParams, emit: Emit
) -> Sequence[Completion | None]:
    if examples[0].is_document:  # all are then, and a text asks nothing
        return [None] * len(examples)
    answers = sampler.sample([example.prompt for example in examples], params, _ticks(f"answering with {name}", emit))
    _check_count(name, "answers", len(answers), len(examples))
    return answers


def _of_one_kind(examples: Sequence[Example]) -> tuple[Sequence[Example], int]:
    """The rows with a question and the number of plain texts beside them; texts only where no row asks."""
    asking = [example for example in examples if not example.is_document]
    return (asking, len(examples) - len(asking)) if asking else (examples, 0)


def _check_count(name: str, what: str, found: int, asked: int) -> None:
    if found != asked:
        raise TunesmithError(
            f"{name} gave {found} {what} for {asked} rows",
            rule="one result for each row, in order",
            fix="this is a fault of the sampler: report it",
        )


def _ticks(task: str, emit: Emit) -> Progress:
    return lambda done, total: emit(Tick(task=task, done=done, total=total))


def _identities(samplers: Sequence[Sampler], config: Config) -> list[ModelIdentity]:
    """Names that tell the models apart (the second of its name gets a number) and digests."""
    from tunesmith.evaluate.seeds import require_seeds

    if not samplers:
        raise InputError("there is no model to evaluate", rule="an evaluation takes one model or more", fix="name one")
    seen: Counter[str] = Counter()
    models = []
    for sampler in samplers:
        seen[sampler.name] += 1
        name = sampler.name if seen[sampler.name] == 1 else f"{sampler.name} #{seen[sampler.name]}"
        models.append(ModelIdentity(name=name, digest=sampler.digest))
    require_seeds(config, [model.digest for model in models])
    return models


def require_primary(config: Config, examples: Sequence[Example] = ()) -> None:
    """Refuse a ``primary_metric`` that there is not, or, given the rows, one that does not fit them.

    `run` would refuse it too, but with the model already in memory.

    Raises:
        ConfigError: names what could decide. DataError: the rows cannot be judged.
    """
    from tunesmith.evaluate.metrics import NAMES

    require_documents(config)
    name = config.primary_metric
    if examples and (name != "auto" or config.metrics):
        _primary(config, *_surveyed(config, _of_one_kind(examples)[0]))
    if name == "auto" or name in declared(config):
        return
    if not examples and name not in (*NAMES, "answer_tokens") and not name.startswith("field_f1:"):
        raise _unusable(f"there is no metric {name!r}", name, NAMES)


def _primary(config: Config, wanted: Wanted, metrics: Sequence[Metric]) -> tuple[str, str]:
    from tunesmith.evaluate.metrics import primary_for

    name = config.primary_metric
    if name == "auto":
        return primary_for(wanted)
    if name in declared(config):
        return name, "as primary_metric says"
    usable = [m.name for m in metrics if not m.unfit(wanted) and m.higher_is_better is not None]
    metric = next((m for m in metrics if m.name == name), None)
    if name not in usable:
        if metric is None:
            raise _unusable(f"there is no metric {name!r}", name, usable)
        reason = metric.unfit(wanted) or "neither more nor less of it is better"
        raise _unusable(f"{name!r} cannot decide: {reason}", "", usable)
    return name, "as primary_metric says"


def _unusable(what: str, name: str, usable: Sequence[str]) -> ConfigError:
    near = difflib.get_close_matches(name, usable, 1)
    return ConfigError(
        what + (f"; did you mean {near[0]!r}?" if near else ""),
        where="primary_metric",
        rule="the primary metric must fit the wanted answers",
        fix=f"use auto or one of: {', '.join(usable)}",
    )


def _limit(
    config: Config, wanted: Wanted, scores: Sequence[Sequence[Score]], answer_tokens: Sequence[int] | None
) -> tuple[int, str]:
    """Most tokens of an answer, and a note on where the number comes from."""
    if wanted.kind == "document":
        return 1, "Nothing was generated: plain text asks nothing."
    if config.max_new_tokens != "auto":
        return config.max_new_tokens, f"Answers end after {config.max_new_tokens} tokens: set by max_new_tokens."
    if answer_tokens is not None and len(answer_tokens) != len(wanted.texts):
        raise InputError(
            f"answer_tokens has {len(answer_tokens)} numbers for {len(wanted.texts)} rows",
            rule="one length for each row",
            fix="leave answer_tokens out or give all of them",
        )
    lengths = [len(score.logprobs) for model in scores for score in model]
    if answer_tokens is not None:
        lengths = list(answer_tokens)
    source = "tokens"
    if not max(lengths):
        lengths = [math.ceil(len(text) / CHARACTERS_PER_TOKEN) for text in wanted.texts]
        source = "tokens, estimated from its characters"
    limit = math.ceil(SPARE_LENGTH * max(lengths)) + SPARE_TOKENS
    reason = f"{SPARE_LENGTH:g} times the longest wanted answer ({max(lengths)} {source}) plus {SPARE_TOKENS}"
    return limit, f"Answers end after {limit} tokens: {reason}."


def _notes(limit_note: str, config: Config, wanted: Wanted, set_aside: int) -> list[str]:
    notes = [limit_note]
    if set_aside:
        notes.append(
            f"Not measured: {set_aside} held-out plain texts. Rows with a question decide; "
            "evaluate the texts in a file of their own."
        )
    if config.equivalence_margin:
        margin = f"{100 * config.equivalence_margin:g}"
        notes.append(
            f"Differences inside ± {margin} points (BLEU, chrF: {margin}; perplexity: {margin} % of the baseline's; "
            f"bits per byte: {config.equivalence_margin:g}) count as equal."
        )
    if wanted.fields_left_out:
        notes.append(
            f"{wanted.fields_left_out} rarer fields count in field F1 and have no line of their own; "
            f"the {len(wanted.fields)} most frequent do."
        )
    schema = wanted.schema
    broken = [i for i, value in enumerate(wanted.values) if schema is not None and not schema.accepts(value)]
    if broken:
        notes.append(
            f"{len(broken)} of {len(wanted.values)} wanted answers break the JSON schema themselves "
            f"(the first is row {broken[0] + 1}): correct the data or the schema."
        )
    return notes


def _grade_all(
    models: Sequence[ModelIdentity],
    metrics: Sequence[Metric],
    wanted: Wanted,
    answers: Sequence[Sequence[Completion | None]],
    scores: Sequence[Sequence[Score]],
) -> list[Scored]:
    return [
        _count(model, metrics, wanted, [rows.grade(wanted, i, *row) for i, row in enumerate(zip(*given, strict=True))])
        for model, given in zip(models, zip(answers, scores, strict=True), strict=True)
    ]


def _clusters(examples: Sequence[Example]) -> tuple[str, ...]:
    """For each row its group, or itself where it has none; () when no row has one."""
    if not any(example.group for example in examples):
        return ()
    return tuple(f"group {example.group}" if example.group else f"row {example.id}" for example in examples)


def _family_notes(clusters: Sequence[str], comparisons: Sequence[Comparison]) -> list[str]:
    notes, count = [], len(set(clusters))
    if count < len(clusters):
        notes.append(
            f"Rows of one group hang together: intervals and tests are over {count} groups, not {len(clusters)} rows."
        )
    if len({found.metric for found in comparisons}) > 1:
        notes.append("P-values and verdicts of metrics that do not decide are corrected for their number (Holm).")
    return notes


def _count(model: ModelIdentity, metrics: Sequence[Metric], wanted: Wanted, graded: Sequence[Row]) -> Scored:
    """Counts of every metric that fits, and the reason for every one that does not."""
    import numpy as np

    from tunesmith.evaluate.verdict import Scored
    from tunesmith.text.graders import corpus_signatures

    missing = {m.name: reason for m in metrics if (reason := m.unfit(wanted))}
    if not all(row.logprobs for row in graded):
        missing |= dict.fromkeys(("perplexity", "bits_per_byte"), "the model gives no log-probabilities")
    counts = {m.name: np.array([m.counts(row) for row in graded], float) for m in metrics if m.name not in missing}
    for metric in metrics:
        if metric.name in counts and np.isnan(metric.value(counts[metric.name].sum(axis=0))):
            missing[metric.name] = "nothing was wanted and nothing was given"
            del counts[metric.name]
    signed = corpus_signatures() if counts.keys() & {"bleu", "ter"} else {}
    notes = {name: text for name, text in signed.items() if name in counts}
    return Scored(model.name, model.digest, counts, missing, notes)


def _verdict(
    primary: str, summaries: Sequence[Summary], comparisons: Sequence[Comparison], models: Sequence[ModelIdentity]
) -> tuple[Verdict | None, str]:
    """The verdict of the first candidate on the primary metric, and the sentences of all of them."""
    decisive = [c for c in comparisons if c.metric == primary]
    if decisive:
        return decisive[0].verdict, " ".join(c.sentence for c in decisive)
    title = wording.term(primary).title
    missing = [s for s in summaries if s.metric == primary and s.value is None]
    if len(models) > 1:
        reason = f"{missing[0].model}: {missing[0].note}" if missing else "it was not compared"
        return "cannot tell", f"Cannot tell: {title} decides and was not measured ({reason})."
    found = next(s for s in summaries if s.metric == primary)
    score = f"{wording.value_text(primary, found.value)} ({wording.range_text(primary, found.low, found.high)})"
    return None, f"No verdict without a model to compare with. {found.model} on {title}: {score}, {found.n} rows."


def _items(
    examples: Sequence[Example],
    models: Sequence[ModelIdentity],
    answers: Sequence[Sequence[Completion | None]],
    scored: Sequence[Scored],
    metrics: Sequence[Metric],
) -> tuple[ItemResult, ...]:
    values = [
        {m.name: _finite(m.value(model.counts[m.name])) for m in metrics if m.name in model.counts} for model in scored
    ]
    return tuple(
        ItemResult(
            example_id=example.id,
            source=str(example.source),
            prompt=_question(example),
            reference=example.target.text,
            answers={m.name: answer.text for k, m in enumerate(models) if (answer := answers[k][i])},
            finish_reasons={m.name: answer.finish_reason for k, m in enumerate(models) if (answer := answers[k][i])},
            scores={
                model.name: {name: column[i] for name, column in values[k].items()} for k, model in enumerate(models)
            },
        )
        for i, example in enumerate(examples)
    )


def _finite(column: Array) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in column.tolist()]


def _question(example: Example) -> str:
    """The conversation as text; a lone user message as it is."""
    if len(example.messages) == 1:
        return example.messages[0].text
    return "\n\n".join(f"{message.role}: {message.text}" for message in example.messages)
