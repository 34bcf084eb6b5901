"""A sampler that is asked only once for the same thing."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Completion, Example, Prompt, SamplingParams, Score, digest_of


class Remembered:
    """Wraps a sampler and keeps its answers and scores in memory, so that a baseline measured before a run need not
    answer again after it (and cannot: full fine-tuning changes its weights).

    Args:
        sampler: what really answers. Its name and digest are taken now and stay.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.name, self.digest = sampler.name, sampler.digest
        self._answers: dict[str, Completion] = {}
        self._scores: dict[str, Score] = {}

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order; only prompts that are new are answered."""
        keys = [digest_of([prompt.model_dump(mode="json"), params.model_dump(mode="json")]) for prompt in prompts]
        fresh = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._answers}
        if fresh:
            answers = self._sampler.sample(list(fresh.values()), params, progress)
            self._answers.update(zip(fresh, answers, strict=True))
        return [self._answers[key] for key in keys]

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Scores in order; only examples that are new are scored."""
        fresh = {example.id: example for example in examples if example.id not in self._scores}
        if fresh:
            scores = self._sampler.score(list(fresh.values()), progress)
            self._scores.update(zip(fresh, scores, strict=True))
        return [self._scores[example.id] for example in examples]
