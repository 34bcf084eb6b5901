"""The local `Sampler`: a base with or without an adapter answers prompts and scores answers.

It knows ids, not strings: the renderer that turns messages into ids is handed in, the same one that training uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from tunesmith.core.errors import DataError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.protocols import Progress, Renderer, TextStream
from tunesmith.core.records import Completion, Example, FinishReason, Prompt, SamplingParams, Score, digest_of
from tunesmith.model.attention import plan_layout, positions
from tunesmith.model.engine import Engine
from tunesmith.model.head import head_loss
from tunesmith.model.load import Base
from tunesmith.model.router import BASE

SCORE_TOKENS = 2048
"""Tokens of one scoring forward."""


class LocalSampler:
    """Implements `tunesmith.core.protocols.Sampler` on an `Engine`.

    Args:
        engine: holds the base and the resident adapters.
        renderer: messages to ids; must be the one that the adapter was trained with.
        adapter: name of a resident adapter, or "" for the base.
        name: name for reports.
    """

    def __init__(self, engine: Engine, renderer: Renderer, adapter: str = BASE, name: str = "") -> None:
        self.engine, self.renderer, self.adapter = engine, renderer, adapter
        self.name = name or adapter or engine.base.folder.name

    @property
    def digest(self) -> str:
        """Identity of base, adapter, renderer and number format."""
        adapter = self.engine.adapters[self.adapter] if self.adapter else ""
        return digest_of([self.engine.base_fingerprint, adapter, self.renderer.digest, str(self.engine.base.dtype)])

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion per prompt, in order; all of them run through the engine together.

        An answer has at most ``params.max_tokens`` tokens, and no more than the context leaves room for.
        """
        answers = [_Answer(self.renderer.stream(params.stop), time.perf_counter()) for _ in prompts]
        ids = [self.renderer.prompt(p.messages, p.tools) for p in prompts]
        for index, tokens in enumerate(ids):
            self.engine.submit(self._request(str(index), tokens, params))
        done = 0
        while not self.engine.idle:
            for out in self._step():
                answer = answers[int(out.request_id)]
                answer.push(out)
                if answer.stream.stopped and out.finished is None:
                    self.engine.cancel(out.request_id)
                    answer.finish_reason = "stop"
                if answer.finish_reason:
                    answer.seconds = time.perf_counter() - answer.start
                    done += 1
                    if progress:
                        progress(done, len(prompts))
        self.engine.forget()  # whoever comes next may want to train in this memory
        return [answer.completion(len(tokens)) for answer, tokens in zip(answers, ids, strict=True)]

    def _step(self) -> list[TokenOut]:
        """One step of the engine. Raises what kept one of the requests from being answered; all are dropped then."""
        outputs, failures = self.engine.step(), self.engine.take_failures()
        if failures:
            self.engine.cancel_all()
            raise failures[0][1]
        return outputs

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str]:
        """The answer to one prompt, piece by piece as it is made."""
        tokens = self.renderer.prompt(prompt.messages, prompt.tools)
        self.engine.submit(self._request("stream", tokens, params))
        stream = self.renderer.stream(params.stop)
        try:
            while not self.engine.idle and not stream.stopped:
                for out in self._step():
                    yield stream.push(out.token) if out.finished != "stop" else ""
        finally:
            self.engine.cancel("stream")
        yield stream.finish()

    def _request(self, request_id: str, tokens: tuple[int, ...], params: SamplingParams) -> GenerationRequest:
        room = self.engine.context_length - len(tokens)
        if 0 < room < params.max_tokens:
            params = params.model_copy(update={"max_tokens": room})
        return GenerationRequest(request_id, tokens, params, self.renderer.stop_ids, self.adapter)

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of the final answer's tokens, stop token included; of a plain text, of all its tokens.

        Raises:
            DataError: a row is longer than the model's context.
        """
        rows = [(number, ids, first) for number, example in enumerate(examples) for ids, first in self._scored(example)]
        found: list[list[float]] = [[] for _ in examples]
        start = 0
        while start < len(rows):
            end, tokens = start, 0
            while end < len(rows) and (end == start or tokens + len(rows[end][1]) <= SCORE_TOKENS):
                tokens += len(rows[end][1])
                end += 1
            spans = [(ids, first) for _, ids, first in rows[start:end]]
            with self.engine.using(self.adapter) as key:
                values = answer_logprobs(self.engine.base, spans, key)
            for (number, _, _), part in zip(rows[start:end], values, strict=True):
                found[number] += part
            start = end
            if progress:
                progress(start, len(rows))
        return [
            Score(example_id=example.id, logprobs=tuple(values), characters=len(example.target.text))
            for example, values in zip(examples, found, strict=True)
        ]

    def _scored(self, example: Example) -> list[tuple[tuple[int, ...], int]]:
        """Ids to run and the first one to score: the final answer, or all of a plain text in pieces."""
        last = self.renderer.example(example)[-1]
        if example.is_document:
            return [(piece.tokens, 1) for piece in last.cut(min(self.engine.context_length, SCORE_TOKENS))]
        span = last.spans[-1]
        if span.end > self.engine.context_length:
            raise DataError(
                f"the row has {span.end} tokens, and the model takes {self.engine.context_length}",
                where=str(example.source),
                rule="question and answer fit into the model's context; nothing is cut",
                fix="shorten the row, or leave it out of the file",
            )
        return [(last.tokens[: span.end], span.start)]


def answer_logprobs(base: Base, rows: Sequence[tuple[Sequence[int], int]], adapter: str = BASE) -> list[list[float]]:
    """log p of tokens ``first``.. of each row given the tokens before; rows are (ids, first). One packed forward."""
    lengths = [len(ids) for ids, _ in rows]
    flat = torch.tensor([[t for ids, _ in rows for t in ids]], dtype=torch.int64, device=base.device)
    where, counts, offset = [], [], 0
    for ids, first in rows:
        where += range(offset + first - 1, offset + len(ids) - 1)
        counts.append(len(ids) - first)
        offset += len(ids)
    base.router.training = None
    base.router.segments = [(adapter, 0, offset)]
    with torch.inference_mode():
        layout = plan_layout(lengths, base.device)
        hidden = base.hidden(flat, positions(lengths, base.device), layout)
        at = torch.tensor(where, dtype=torch.int64, device=base.device)
        weights = torch.ones(len(where), device=base.device)
        _, losses = head_loss(hidden[at], base.head, flat[0, at + 1], weights)
    return [[-x for x in part.tolist()] for part in losses.split(counts)]


class _Answer:
    def __init__(self, stream: TextStream, start: float) -> None:
        self.stream, self.start = stream, start
        self.text = ""
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        self.seconds = 0.0

    def push(self, out: TokenOut) -> None:
        self.tokens.append(out.token)
        self.logprobs.append(out.logprob)
        if out.finished != "stop":
            self.text += self.stream.push(out.token)
        if out.finished:
            self.text += self.stream.finish()
            self.finish_reason = out.finished

    def completion(self, prompt_tokens: int) -> Completion:
        assert self.finish_reason is not None
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(self.tokens),
            token_ids=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            seconds=self.seconds,
        )
