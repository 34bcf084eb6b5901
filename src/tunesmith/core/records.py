"""What flows: the records that every part of the system hands to the next.

    raw row ─curate→ Example ─text→ TokenizedExample ─model→ Batch ─train→ …
    Prompt ─Sampler→ Completion, Score

All are frozen, compare by value, and survive a round trip through JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SCHEMA_VERSION = 1

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test", "vault"]


class Record(BaseModel):
    """Frozen base of every record: unknown fields are refused, values compare by content."""

    # A loss can be infinite or NaN; JSON has no such number, so they are written as text that reads back as numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class TextPart(Record):
    """A piece of text inside a message."""

    type: Literal["text"] = "text"
    text: str


def _as_parts(value: object) -> object:
    if value is None:
        return ()
    return ({"type": "text", "text": value},) if isinstance(value, str) else value


Content = Annotated[tuple[TextPart, ...], BeforeValidator(_as_parts)]


class ToolCall(Record):
    """A function call that an assistant message makes; ``arguments`` is a JSON string, as OpenAI has it."""

    id: str = ""
    name: str
    arguments: str = "{}"


class Message(Record):
    """One turn. ``content`` accepts a plain string. ``weight`` 0 keeps an assistant turn out of the loss."""

    role: Role
    content: Content = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    weight: float | None = Field(default=None, ge=0.0)

    @property
    def text(self) -> str:
        """All text of the message in one string."""
        return "".join(part.text for part in self.content)


class Reply(Record):
    """The target of supervised tuning: the assistant message that answers ``Example.messages``."""

    kind: Literal["reply"] = "reply"
    message: Message

    @property
    def text(self) -> str:
        """The wanted answer."""
        return self.message.text


class Document(Record):
    """The target of continued pre-training: a whole text, every token of which is trained. It answers no question."""

    kind: Literal["document"] = "document"
    text: str


class Source(Record):
    """Where a record came from: file and line (1-based; row number for CSV and Parquet)."""

    path: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.path else "(no file)"


class Prompt(Record):
    """What a model is asked: the messages so far and the tools it may call (OpenAI's JSON form)."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()


class Synthetic(Record):
    """The mark of a row that was not written by people or the application: how it was made, by what, from what.

    ``parents`` are the ids of the rows that it comes from; ``prompt_digest`` says what the generator was asked.
    """

    method: str
    generator: str = ""
    generator_digest: str = ""
    prompt_digest: str = ""
    parents: tuple[str, ...] = ()


class Example(Record):
    """One row of a data set: a context and the target that the model should give for it.

    Earlier assistant turns stand in ``messages`` and are trained too unless their weight is 0. A plain text is a row
    without messages whose target is a `Document`.
    ``id`` is a hash of the content (messages, tools, target), so equal rows have equal ids wherever they stand.
    ``group`` and ``time`` are what the columns named by ``group_by`` and ``split_by_time`` say. A row whose split is
    the vault is trained on and judged by nobody who does not ask for it by name.
    """

    schema_version: int = SCHEMA_VERSION
    messages: tuple[Message, ...]
    target: Annotated[Reply | Document, Field(discriminator="kind")]
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source = Source()
    licence: str = ""
    subject: str = ""
    group: str = ""
    time: str = ""
    split: Split | None = None
    synthetic: Synthetic | None = None

    @cached_property
    def id(self) -> str:
        """Content hash, 16 hex digits."""
        content = {
            "messages": [m.model_dump() for m in self.messages],
            "tools": list(self.tools),
            "target": self.target.model_dump(),
        }
        return digest_of(content)[:16]

    @property
    def prompt(self) -> Prompt:
        """The question without the answer."""
        return Prompt(messages=self.messages, tools=self.tools)

    @property
    def is_document(self) -> bool:
        """Whether the row is plain text, without question and answer."""
        return isinstance(self.target, Document)

    @property
    def conversation(self) -> tuple[Message, ...]:
        """Context and answer, in order; a plain text has none."""
        return () if isinstance(self.target, Document) else (*self.messages, self.target.message)


class Span(Record):
    """Tokens ``start``..``end`` (half open) of one assistant turn; the last of them is its stop token."""

    start: int
    end: int


class TokenizedExample(Record):
    """Token ids with a weight each. One type for supervised tuning, preferences and RL.

    ``weights[i]`` is the weight of *predicting* token ``i`` from the tokens before it; ``weights[0]`` is 0.
    ``extras`` holds per-token values that a loss may need (reference log-probs, advantages).
    """

    example_id: str
    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    spans: tuple[Span, ...] = ()
    extras: Mapping[str, tuple[float, ...]] = {}

    @property
    def trained_tokens(self) -> int:
        """How many tokens take part in the loss."""
        return sum(w > 0 for w in self.weights)

    def cut(self, longest: int) -> list[TokenizedExample]:
        """A plain text in consecutive pieces of at most ``longest`` (2 or more) tokens; answers are never cut.

        A piece after the first begins with the last token of the piece before it, as context: so every trained token
        of the text is trained in exactly one piece.
        """
        if len(self.tokens) <= longest:
            return [self]
        assert not self.spans, "only plain text is cut"
        assert not self.extras, "extras belong to whole rows"
        return [
            TokenizedExample(
                example_id=self.example_id,
                tokens=self.tokens[start : start + longest],
                weights=(0.0, *self.weights[start + 1 : start + longest]),
            )
            for start in range(0, len(self.tokens) - 1, longest - 1)
        ]


class Grammar(Record):
    """What an answer has to look like, whatever the model would rather say.

    ``source``: a JSON schema as text (json_schema), a regular expression or a Lark grammar; ``choices``: the answers
    to choose from (choice). json_object needs neither.
    """

    kind: Literal["json_object", "json_schema", "regex", "lark", "choice"]
    source: str = ""
    choices: tuple[str, ...] = ()


class SamplingParams(Record):
    """How to answer. ``temperature`` 0 is greedy. ``seed`` makes a sampled answer repeatable.

    The penalties are OpenAI's: they lower the logit of tokens that the answer has already, once (presence) and for
    every time (frequency). ``logit_bias`` is added to the logits of token ids. ``top_logprobs``: how many of the
    likeliest tokens come with each token of the answer.
    """

    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    logit_bias: Mapping[int, float] = {}
    top_logprobs: int = Field(default=0, ge=0, le=20)
    grammar: Grammar | None = None


FinishReason = Literal["stop", "length", "cancelled"]


class Completion(Record):
    """An answer. ``finish_reason`` is "length" when it was cut at ``max_tokens`` (it never stopped by itself)."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Log-probability of each token (nats, before temperature, penalties and grammar); () where nobody tells."""
    seconds: float = 0.0


class Score(Record):
    """Log-probabilities (natural log) of the trained tokens of one example, in order."""

    example_id: str
    logprobs: tuple[float, ...]
    characters: int = 0

    @property
    def total(self) -> float:
        """Log-probability of the whole answer, in nats."""
        return sum(self.logprobs)


Severity = Literal["error", "warning", "info"]


class Edit(Record):
    """Characters ``start``..``end`` (half open) of the text of one turn become ``text``; a plain text is turn 0.

    ``call``: the place of a tool call in the turn; its arguments are changed then, not what the turn says.
    """

    turn: int = Field(ge=0)
    call: int | None = Field(default=None, ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: str


class Action(Record):
    """What a repair would do about a finding: put ``rows`` aside, or change the finding's own row by ``edits``."""

    kind: Literal["quarantine", "edit"]
    rows: tuple[Source, ...] = ()
    edits: tuple[Edit, ...] = ()


class Finding(Record):
    """One thing that a check noticed about a row, about rows that belong together, or about a file.

    ``evidence`` holds the words that show it, never a personal value or a secret; ``others`` the rows beside
    ``source`` that it is about. Without an ``action`` a person has to decide.
    """

    check: str
    severity: Severity
    message: str
    source: Source = Source()
    example_id: str = ""
    fix: str = ""
    evidence: str = ""
    others: tuple[Source, ...] = ()
    action: Action | None = None


class Trace(Record):
    """One served request, without its content: who answered, how long it took, what it used.

    ``arm``: the arm of the split that ``alias`` chose, "shadow:NAME" for a copy that nobody sees. ``device_seconds``:
    its share of the time that the engine computed; ``cost``: that share at the configured price, None without one.
    ``retrieved``: ids of the documents that were put before the question.
    """

    schema_version: int = SCHEMA_VERSION
    request_id: str
    model: str
    adapter_digest: str = ""
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    seconds_to_first_token: float = 0.0
    created_at: float = 0.0
    tenant: str = ""
    key: str = ""
    alias: str = ""
    arm: str = ""
    cached_tokens: int = 0
    seconds_queued: float = 0.0
    device_seconds: float = 0.0
    cost: float | None = None
    retrieved: tuple[str, ...] = ()


def digest_of(value: object) -> str:
    """SHA-256 (hex) of a JSON-able value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
