"""A deterministic engine and a byte renderer: everything about serving but the model, in microseconds.

The engine answers "NAME heard PROMPT" (and the seed, when it samples), one byte a step, then a stop token. Prompts
that end in "forever" never stop by themselves.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

from tunesmith.core.errors import InputError, TunesmithError
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import Example, Message, TokenizedExample
from tunesmith.serve import Config, Gateway, served_models
from tunesmith.serve.models import ServedModel
from tunesmith.text.toolcalls import ToolFormat

STOP = 256
CONTEXT = 400


class FakeStream:
    """Implements `tunesmith.core.protocols.TextStream` over bytes."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop, self._held, self._stopped = tuple(stop), "", False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def stopped(self) -> bool:
        return self._stopped

    def push(self, token: int) -> str:
        return self._release(self._decoder.decode(bytes([token])), last=False)

    def finish(self) -> str:
        return self._release(self._decoder.decode(b"", final=True), last=True)

    def _release(self, text: str, last: bool) -> str:
        self._held += text
        found = [(self._held.index(s), s) for s in self._stop if s in self._held]
        if found:
            self._stopped = True
            return self._held[: min(found)[0]]
        keep = (
            0 if last else max((n for s in self._stop for n in range(len(s)) if self._held.endswith(s[:n])), default=0)
        )
        out, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return out


HERMES = ToolFormat(
    '<tool_call>\n{"name": "',
    '", "arguments": ',
    "}\n</tool_call>",
    '}\n</tool_call>\n<tool_call>\n{"name": "',
    {},
)
SAY = "user:say "
"""What stands behind this in a prompt is the whole answer."""


class FakeRenderer:
    """Implements `tunesmith.core.protocols.Renderer`: a token is a byte; 256 ends an answer."""

    def __init__(self, digest: str = "bytes", calls: ToolFormat | None = HERMES) -> None:
        self.digest, self.calls = digest, calls
        self.stop_ids = frozenset({STOP})
        self.vocab_size = 257

    @property
    def tool_format(self) -> ToolFormat:
        if self.calls is None:
            raise InputError("the fake template has no place for tools", fix="leave them out")
        return self.calls

    def token_bytes(self, token: int) -> bytes:
        return b"<stop>" if token == STOP else bytes([token])

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> tuple[int, ...]:
        for message in messages:
            if "<|stop|>" in message.text:
                raise InputError(
                    "the control token '<|stop|>' stands in the text",
                    where="/secret/path",
                    rule="it belongs to the template",
                    fix="n may be one",
                )
        shown = [f"tools:{len(tools)}"] if tools else []
        return tuple("|".join([*shown, *(f"{m.role}:{m.text}" for m in messages)]).encode())

    def example(self, example: Example) -> list[TokenizedExample]:
        tokens = self.prompt(example.conversation)
        return [TokenizedExample(example_id=example.id, tokens=tokens, weights=(0.0,) * len(tokens))]

    def text(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < STOP).decode(errors="replace")

    def stream(self, stop: Sequence[str] = ()) -> FakeStream:
        return FakeStream(stop)


class FakeEngine:
    """Implements `tunesmith.core.generation.TokenEngine`.

    Args:
        adapters: name → digest.
        delay: seconds that a step takes.
        slots: answers that run at the same time; the others wait.
        fail_at: number of the step that raises.
    """

    def __init__(
        self, adapters: Mapping[str, str] | None = None, *, delay: float = 0.0, slots: int = 4, fail_at: int = 0
    ) -> None:
        self.adapters = dict(adapters or {})
        self.base_fingerprint = "base-weights"
        self.context_length = CONTEXT
        self.delay, self.slots, self.fail_at = delay, slots, fail_at
        self.steps = 0
        self.most_running = 0
        self.cancelled: list[str] = []
        self.requests: list[GenerationRequest] = []
        self.scored: list[tuple[tuple[int, ...], str]] = []
        self.cached = 0
        """Prompt tokens of every request that count as cached."""
        self._made: dict[str, tuple[GenerationRequest, bytes, int]] = {}

    @property
    def idle(self) -> bool:
        return not self._made

    def add_adapter(self, name: str, folder: Path, pinned: bool = False) -> str:
        self.adapters[name] = folder.name
        return folder.name

    def remove_adapter(self, name: str) -> None:
        del self.adapters[name]

    def prepare(self, request: GenerationRequest) -> None:
        if request.params.grammar is not None and request.params.grammar.source == "cannot be compiled":
            raise InputError("the grammar cannot be compiled", where="response_format")

    def take_failures(self) -> list[tuple[str, TunesmithError]]:
        return []

    def submit(self, request: GenerationRequest) -> None:
        if request.tokens[-9:] == tuple(b"refuse me"):
            raise InputError("the engine refuses this request")
        self.requests.append(request)
        self._made[request.request_id] = (request, self._answer(request), 0)

    def cancel(self, request_id: str) -> None:
        if self._made.pop(request_id, None):
            self.cancelled.append(request_id)

    def step(self) -> list[TokenOut]:
        self.steps += 1
        time.sleep(self.delay)
        if self.steps == self.fail_at:
            raise RuntimeError("out of memory while reading /secret/path")
        outs = []
        running = list(islice(self._made.items(), self.slots))
        self.most_running = max(self.most_running, len(running))
        for name, (request, answer, done) in running:
            self._made[name] = (request, answer, done + 1)
            finished = None
            if done == len(answer):
                finished = "stop"
            elif done + 1 == request.params.max_tokens:
                finished = "length"
            if finished:
                del self._made[name]
            token = STOP if finished == "stop" else answer[done]
            top = tuple((t, -0.5 - i) for i, t in enumerate((token, *b"xyz")[: request.params.top_logprobs]))
            cached = min(self.cached, len(request.tokens)) if not done else 0
            outs.append(TokenOut(name, token, -0.5, finished, top, cached))
        return outs

    def score(self, tokens: tuple[int, ...], adapter: str = "", top: int = 0) -> list[TokenOut]:
        self.scored.append((tokens, adapter))
        return [TokenOut("", t, -0.25, None, ((t, -0.25), (ord("q"), -2.0))[:top]) for t in tokens[1:]]

    def _answer(self, request: GenerationRequest) -> bytes:
        prompt = bytes(token for token in request.tokens if token < STOP)
        if SAY.encode() in prompt:
            return prompt.partition(SAY.encode())[2]
        text = (request.adapter or "base").encode() + b" heard " + prompt
        if request.params.temperature > 0:
            text += b" seed %d" % request.params.seed
        return bytes(islice(cycle(text), CONTEXT)) if prompt.endswith(b"forever") else text


ADAPTERS = {"team/recipes": "a" * 64, "legal": "b" * 64}


def fake_models(engine: FakeEngine) -> tuple[ServedModel, ...]:
    return served_models(engine, "tiny", FakeRenderer())


def fake_gateway(engine: FakeEngine, on_trace=None, **limits: object) -> Gateway:
    return Gateway(engine, fake_models(engine), config=Config(port=0, **limits), on_trace=on_trace)
