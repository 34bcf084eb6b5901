"""A sampler that is asked only once for the same thing, also across runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tunesmith.core import store
from tunesmith.core.protocols import Progress, Sampler
from tunesmith.core.records import Completion, Example, Prompt, Record, SamplingParams, Score, digest_of

R = TypeVar("R", bound=Record)

PIECE = 64
"""Prompts or rows asked for at a time when answers are kept on disk: what an interruption may cost."""


class Remembered:
    """Wraps a sampler and keeps its answers and scores, so that nothing is asked twice.

    In memory this serves a baseline that was measured before a run (full fine-tuning changes its weights, so it could
    not answer again). With a ``folder`` they are also kept on disk, under the model's digest, so that an evaluation
    that was stopped goes on where it was. What has no identity is not kept on disk: a model without a digest, and
    sampled answers without a seed.

    Args:
        sampler: what really answers. Its name and digest are taken now and stay.
        folder: where answers are kept, one file for each model: a line of JSON for each answer.
    """

    def __init__(self, sampler: Sampler, folder: Path | None = None) -> None:
        self._sampler = sampler
        self.name, self.digest = sampler.name, sampler.digest
        self._file = folder / f"{self.digest[:32]}.jsonl" if folder is not None and self.digest else None
        self._answers: dict[str, Completion] = {}
        self._scores: dict[str, Score] = {}
        if self._file is not None and self._file.is_file():
            self._read(self._file)

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order; only prompts that are new are answered."""
        repeatable = params.temperature == 0 or params.seed is not None
        common = params.model_dump(mode="json")
        keys = [digest_of([prompt.model_dump(mode="json"), common]) for prompt in prompts]
        fresh = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._answers}
        ask = lambda part, tick: self._sampler.sample(part, params, tick)  # noqa: E731
        self._learn(fresh, ask, self._answers, "answer" if repeatable else "", progress)
        return [self._answers[key] for key in keys]

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Scores in order; only examples that are new are scored."""
        fresh = {example.id: example for example in examples if example.id not in self._scores}
        self._learn(fresh, self._sampler.score, self._scores, "score", progress)
        return [self._scores[example.id] for example in examples]

    def _learn(
        self,
        fresh: Mapping[str, object],
        ask: Callable[..., list[R]],
        known: dict[str, R],
        kind: str,
        progress: Progress | None,
    ) -> None:
        keys = list(fresh)
        kept = self._file is not None and bool(kind)
        for start in range(0, len(keys), PIECE if kept else max(1, len(keys))):
            piece = keys[start : start + PIECE] if kept else keys
            tick = None if progress is None else _shifted(progress, start, len(keys))
            found = dict(zip(piece, ask([fresh[key] for key in piece], tick), strict=True))
            known.update(found)
            if kept:
                assert self._file is not None
                store.append_lines(self._file, [_line(kind, key, record) for key, record in found.items()])

    def _read(self, path: Path) -> None:
        """Take up what is on disk. A line that was torn by a crash is as if it had never been asked for."""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                if entry["kind"] == "answer":
                    self._answers[entry["key"]] = Completion.model_validate(entry["record"])
                else:
                    self._scores[entry["key"]] = Score.model_validate(entry["record"])
            except (ValueError, KeyError, TypeError):
                continue


def _line(kind: str, key: str, record: Record) -> str:
    return json.dumps({"kind": kind, "key": key, "record": record.model_dump(mode="json")}, ensure_ascii=False)


def _shifted(progress: Progress, start: int, total: int) -> Progress:
    return lambda done, _: progress(start + done, total)
