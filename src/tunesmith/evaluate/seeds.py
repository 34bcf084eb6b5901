"""Several runs of one training, with different seeds, judged as one: another seed would have given another model."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.core import stats
from tunesmith.core.artifacts import Comparison, Summary
from tunesmith.core.errors import InputError
from tunesmith.evaluate import statistics, verdict, wording
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Metric
from tunesmith.evaluate.verdict import Scored, gathered, margin_of


def require_seeds(config: Config, digests: Sequence[str]) -> None:
    """Refuse ``seeds_together`` where the candidates cannot be seeds of one training.

    Raises:
        InputError: fewer than two candidates, or the same one twice.
    """
    if not config.seeds_together:
        return
    candidates = [digest for digest in digests[1:] if digest]
    twice = len(set(candidates)) < len(candidates)
    if len(digests) < 3 or twice:
        raise InputError(
            "two of the seeds are the same model" if twice else "there is one model to judge, or none",
            where="seeds_together",
            rule="seeds that are judged together are two or more trainings of different seeds, after a baseline",
            fix="tunesmith compare BASE RUN1 RUN2 RUN3 --set seeds_together=true, each run with a seed of its own",
        )


def judge(
    models: Sequence[Scored], metrics: Sequence[Metric], config: Config, primary: str, clusters: Sequence[str]
) -> tuple[tuple[Summary, ...], tuple[Comparison, ...]]:
    """What `verdict.judge` says; with ``seeds_together`` the comparison of all candidates stands first, and decides."""
    summaries, comparisons = verdict.judge(models, metrics, config, primary, clusters)
    metric = next(metric for metric in metrics if metric.name == primary)
    found = together(models, metric, config, clusters) if config.seeds_together else None
    return summaries, comparisons if found is None else (found, *comparisons)


def together(
    models: Sequence[Scored], metric: Metric, config: Config, clusters: Sequence[str] = ()
) -> Comparison | None:
    """The mean of all candidates against the first model; the sentence tells the spread between them too.

    Rows and seeds both are a sample of what might have been, and the interval is over both (`stats.crossed`). What a
    row adds to a difference is its influence: for a mean the row's own difference. None where a model was not measured
    by the metric, or perplexities are over different tokens.
    """
    name, n = metric.name, len(next(iter(models[0].counts.values()), ()))
    if any(name not in model.counts for model in models):
        return None
    tables = [model.counts[name] for model in models]
    if name == "perplexity" and any((table[:, 1] != tables[0][:, 1]).any() for table in tables[1:]):
        return None
    if len(set(clusters)) < len(clusters):
        tables = [gathered({name: table}, clusters)[name] for table in tables]
    values = [float(metric.value(table.sum(axis=0))) for table in tables]
    left_out = [statistics.leave_one_out(table, metric.value) for table in tables]
    by_seed = []
    for value, jackknife in zip(values[1:], left_out[1:], strict=True):
        change = jackknife - left_out[0]
        by_seed.append((value - values[0] + (len(change) - 1) * (change.mean() - change)).tolist())
    if len(by_seed[0]) < 2:
        return None
    found = stats.crossed(by_seed)
    interval, margin = found.interval(config.confidence), margin_of(metric, values[0], config)
    mean = sum(values[1:]) / len(by_seed)
    result = Comparison(
        metric=name,
        baseline=models[0].name,
        candidate=f"mean of {len(by_seed)} seeds",
        baseline_value=values[0],
        candidate_value=mean,
        difference=mean - values[0],
        low=interval.low,
        high=interval.high,
        p_value=None,
        test="rows and seeds crossed, Student's t",
        smallest_visible=found.smallest_visible(config.confidence),
        higher_is_better=bool(metric.higher_is_better),
        n=n,
        # The interval is the test here: a p-value of 0 leaves the decision to it.
        verdict=stats.decide(
            interval,
            0.0,
            n=len(by_seed[0]),
            margin=margin,
            higher_is_better=bool(metric.higher_is_better),
            alpha=1.0 - config.confidence,
        ),
        sentence="",
    )
    listed = ", ".join(wording.value_text(name, value) for value in values[1:])
    spread = wording.difference_text(name, found.spread, sign=False)
    between = f" Between seeds the standard deviation is {spread} ({listed})."
    return result.model_copy(update={"sentence": wording.sentence(result, margin, config.confidence) + between})
