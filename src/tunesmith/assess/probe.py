"""What share of the wanted facts the base can produce at all: by sampling, and by likelihood.

Only rows whose question does not give its facts away. Sampling: the facts stand in one of several answers at
temperature 0.8. Likelihood: the wanted answer has a higher mean log-probability than the wanted answers of other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tunesmith.assess.taxonomy import Wanted, fold, holds, share
from tunesmith.core.advice import Probe
from tunesmith.core.errors import InputError
from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Example, SamplingParams

TEMPERATURE = 0.8
OTHERS = 3


def probe(
    base: Sampler,
    rows: Sequence[Wanted],
    params: SamplingParams,
    samples: int,
    confidence: float,
    tell: Progress | None = None,
) -> Probe:
    """Ask the base for facts that it is not given.

    Args:
        rows: the held-out rows; those without an unknown fact take no part.
    """
    asked = [row for row in rows if row.unknown]
    if not asked:
        return Probe(
            rows=0, samples=samples, sampled=None, ranked=None, others=OTHERS, note="the questions give all facts"
        )
    known = [False] * len(asked)
    for number in range(samples):
        how = params.model_copy(update={"temperature": TEMPERATURE, "seed": number})
        for i, answer in enumerate(base.sample([row.example.prompt for row in asked], how, tell)):
            known[i] |= all(holds(fold(answer.text), fact) for fact in asked[i].unknown)
    sampled = share(sum(known), len(asked), confidence)
    if len(asked) <= OTHERS:
        note = f"likelihood: {len(asked)} rows are too few to compare with each other"
        return Probe(rows=len(asked), samples=samples, sampled=sampled, ranked=None, others=OTHERS, note=note)
    try:
        first = [_is_likeliest(scores) for scores in _scores(base, [row.example for row in asked], tell)]
    except InputError as error:
        note = f"likelihood: {error.what}"
        return Probe(rows=len(asked), samples=samples, sampled=sampled, ranked=None, others=OTHERS, note=note)
    if None in first:
        note = "likelihood: the model gives no log-probabilities"
        return Probe(rows=len(asked), samples=samples, sampled=sampled, ranked=None, others=OTHERS, note=note)
    ranked = share(sum(map(bool, first)), len(first), confidence)
    return Probe(rows=len(asked), samples=samples, sampled=sampled, ranked=ranked, others=OTHERS)


def _scores(base: Sampler, rows: Sequence[Example], tell: Progress | None) -> list[list[float | None]]:
    """For each row the mean log-probability of its own answer, then of those of the rows after it."""
    tried = [
        row.model_copy(update={"target": rows[(i + step) % len(rows)].target})
        for i, row in enumerate(rows)
        for step in range(OTHERS + 1)
    ]
    # Copies keep the cached id of the row that they come from; a fresh record has its own.
    tried = [Example.model_validate(row.model_dump()) for row in tried]
    means = [fmean(score.logprobs) if score.logprobs else None for score in base.score(tried, tell)]
    return [means[start : start + OTHERS + 1] for start in range(0, len(means), OTHERS + 1)]


def _is_likeliest(scores: Sequence[float | None]) -> bool | None:
    known = [score for score in scores if score is not None]
    return None if len(known) < len(scores) else all(known[0] > other for other in known[1:])
