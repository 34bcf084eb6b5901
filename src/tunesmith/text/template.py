"""The one renderer: messages to token ids, weights and spans, for training, evaluation and serving alike.

How ids come about. A conversation is rendered up to every answer (prompt) and through it (answer), and the text is cut
there: after each prompt, and after the token that ends each answer. Every part is encoded on its own, with regard to
what stands before it. So the ids of a prompt begin the ids of its training row, token for token, whatever the answer
begins with; and what a token is trained for follows from where it stands, never from what it looks like.

    …<|im_start|>assistant\\n | Hi!<|im_end|> | \\n<|im_start|>user\\n…<|im_start|>assistant\\n | Bye!<|im_end|> | \\n
    prompt of answer 1        | trained       | rest, then prompt of answer 2                  | trained        | rest
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Literal, final

from tunesmith.core.errors import ConfigError, DataError, InputError, ModelError
from tunesmith.core.records import Document, Example, Message, Span, TextPart, TokenizedExample, ToolCall, digest_of
from tunesmith.text.conversation import (
    View,
    control_pattern,
    plain_tools,
    refuse_control_tokens,
    refuse_spelled_tokens,
    view,
)
from tunesmith.text.sandbox import RESERVED, ChatTemplate
from tunesmith.text.sources import end_of_text, eos_ids, find_templates
from tunesmith.text.stream import Piece, Stream, pieces
from tunesmith.text.tokenizer import Tokenizer
from tunesmith.text.toolcalls import PROBE_TOOLS, ToolFormat, read_format

RULES = 1
"""Version of the rules that turn rendered text into ids. A change that alters ids or weights raises it."""

TrainOn = Literal["assistant", "last", "all"]
TRAIN_ON: tuple[TrainOn, ...] = ("assistant", "last", "all")

_OWN_TEMPLATE = "set chat_template to chatml, plain or the path of a .jinja file"


@dataclass(frozen=True)
class _Talk:
    """A conversation, checked and ready to be rendered as often as needed: always at the same time of day."""

    messages: Sequence[Message]
    views: Sequence[View]
    tools: Sequence[View] | None
    template: ChatTemplate
    now: datetime

    def render(self, count: int, *, answer_next: bool) -> str:
        """Text of the first ``count`` messages."""
        return self.template.render(self.views[:count], self.tools, answer_next=answer_next, now=self.now)


@dataclass(frozen=True)
class _Turn:
    """One answer in its rendered conversation."""

    index: int
    prompt: str
    """Text up to where the answer begins."""
    answer: str
    """The answer with what the template puts around it, through the stop token."""
    ids: tuple[int, ...]
    """Ids of ``answer``; the last is the stop token."""
    rest: str
    """What the template puts after the stop token."""

    @property
    def through(self) -> str:
        """The conversation through the stop token of this answer."""
        return self.prompt + self.answer


@final
class TemplateRenderer:
    """Implements ``core.protocols.Renderer``. Make one with ``load_renderer``; threads may share it.

    Attributes:
        text_end: id of the token that ends a plain text.

    Args:
        tokenizer: the tokenizer beneath.
        templates: "default" and, where the model has one, "tool_use" for conversations with tools.
        eos: ids that end a text, as the model's files state them.
        train_on: which tokens of a row are trained.

    Raises:
        ModelError: the template ends an answer without a token that could stop generation, or doubles the
            beginning-of-sequence token.
    """

    def __init__(
        self, tokenizer: Tokenizer, templates: Mapping[str, ChatTemplate], eos: Iterable[int], train_on: TrainOn
    ) -> None:
        self.tokenizer = tokenizer
        self.train_on = train_on
        self._templates = dict(templates)
        self._control = control_pattern(tokenizer.control)
        self._refuse_double_bos()
        turn_end = self._turn_end()
        self._stop_ids = frozenset(eos) | {turn_end}
        self.text_end = end_of_text(tokenizer, self._stop_ids, turn_end)

    @property
    def chat_template(self) -> str:
        """Jinja text of the template in use, to be stored beside what was trained with it."""
        return self._templates["default"].source

    @property
    def template_reads(self) -> frozenset[str]:
        """Names of the variables that the templates read, such as ``enable_thinking`` or ``date_string``."""
        return frozenset().union(*(template.reads for template in self._templates.values())) - RESERVED

    @cached_property
    def digest(self) -> str:
        """Identity of tokenizer, templates, stop tokens and rules. ``train_on`` is not in it: it changes no id."""
        return digest_of(
            {
                "rules": RULES,
                "tokenizer": self.tokenizer.identity,
                "templates": {name: [t.source, t.variables] for name, t in self._templates.items()},
                "stop_ids": sorted(self._stop_ids),
            }
        )

    @property
    def row_digest(self) -> str:
        """Identity of all that decides ids and weights of training rows: equal digests give equal rows."""
        return digest_of([self.digest, self.train_on, self.text_end])

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer: the template's end of turn, and each end-of-sequence id that the model states."""
        return self._stop_ids

    @property
    def vocab_size(self) -> int:
        """Number of ids that the tokenizer can give, added tokens included."""
        return self.tokenizer.vocab_size

    @cached_property
    def tool_format(self) -> ToolFormat:
        """How the template writes tool calls.

        Raises:
            InputError: it has no place for tools, or writes calls in a form that cannot be read back.
        """
        return read_format(self._written_calls, self.tokenizer.control)

    def _written_calls(self, calls: Sequence[ToolCall]) -> str:
        asked = Message(role="user", content=(TextPart(text="Hello"),))
        talk = self._talk([asked, Message(role="assistant", tool_calls=tuple(calls))], PROBE_TOOLS)
        turn = self._turn(talk, 1)
        return turn.answer.removesuffix(self.tokenizer.decode(turn.ids[-1:], skip_special=False))

    def prompt(self, messages: Sequence[Message], tools: Sequence[object] = ()) -> tuple[int, ...]:
        """Ids of a conversation that is to be answered, up to where the answer begins.

        Raises:
            InputError: the template does not take the conversation, would leave a part of it out, or a text holds
                the spelling of a control token.
        """
        talk = self._talk(messages, tools)
        text = talk.render(len(messages), answer_next=True)
        _refuse_lost_questions(messages, text)
        return tuple(self._encode(text, self._turns(talk, len(messages)))[0])

    def example(self, example: Example) -> list[TokenizedExample]:
        """Ids and weights of a training row.

        One row in general. Where the template renders an earlier answer otherwise than it was given (reasoning is
        dropped, say), one row for each trained answer, each as the model meets it when it is asked. Of a plain text
        every token is trained, and the end-of-text token after it; it comes as one row, however long.

        Raises:
            DataError: nothing in the row is trained, a trained answer is empty, a text holds the spelling of a control
                token, or the template does not take the conversation or would leave a part of it out.
        """
        try:
            if isinstance(example.target, Document):
                return [self._document(example.id, example.target.text)]
            return self._rows(example)
        except InputError as error:
            raise DataError(error.what, where=str(example.source), rule=error.rule, fix=error.fix) from error

    def text(self, text: str) -> tuple[int, ...]:
        """Ids of plain text, with the beginning-of-sequence token (once) if the tokenizer adds one."""
        return self.tokenizer.encode(text, add_special=True).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens left out."""
        return self.tokenizer.decode(ids)

    def stream(self, stop: Sequence[str] = ()) -> Stream:
        """A fresh stream for one answer; the stop strings themselves are never given out."""
        return Stream(self.tokenizer, stop)

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for in a text; of a control token, its spelling."""
        return self.tokenizer.token_bytes(token)

    def pieces(self, row: TokenizedExample) -> list[Piece]:
        """The row token by token: text (control tokens included) and whether it is trained."""
        return pieces(self.tokenizer, row.tokens, row.weights)

    def _document(self, example_id: str, text: str) -> TokenizedExample:
        """A plain text as one row, however long; nothing stands before its first token to predict that from."""
        if not text.strip():
            raise InputError("the text is empty", rule="a plain text has words to train on", fix="remove the row")
        refuse_spelled_tokens(self._control, "the text", text)
        tokens = (*self.text(text), self.text_end)
        return TokenizedExample(example_id=example_id, tokens=tokens, weights=(0.0, *([1.0] * (len(tokens) - 1))))

    def _talk(self, messages: Sequence[Message], tools: Sequence[object]) -> _Talk:
        if not messages:
            raise InputError(
                "there are no messages",
                rule="a conversation has at least one message",
                fix="add a user message",
            )
        plain = plain_tools(tools)
        template = self._templates.get("tool_use" if plain else "default", self._templates["default"])
        if plain and "tools" not in template.reads:
            raise InputError(
                "the conversation has tools, and the chat template has no place for them",
                rule="the model is shown everything that the conversation holds",
                fix=f"leave the tools out, or {_OWN_TEMPLATE}",
            )
        refuse_control_tokens(self._control, messages, plain)
        return _Talk(messages, view(messages), plain, template, datetime.now())

    def _turns(self, talk: _Talk, before: int, needed: Iterable[int] = ()) -> list[_Turn]:
        """The answers among the first ``before`` messages; those that are not needed may be missing."""
        turns = []
        for index, message in enumerate(talk.messages[:before]):
            if message.role != "assistant":
                continue
            try:
                turns.append(self._turn(talk, index))
            except InputError:  # an earlier answer that stands apart from its prompt is just no place to cut
                if index in needed:
                    raise
        return turns

    def _turn(self, talk: _Talk, index: int) -> _Turn:
        if index == 0:
            raise InputError(
                "the conversation begins with an answer",
                rule="an answer is trained as the reply to what stands before it",
                fix="put a system or user message before it, or give it weight 0",
            )
        prompt = talk.render(index, answer_next=True)
        closed = talk.render(index + 1, answer_next=False)
        if not closed.startswith(prompt):
            raise InputError(
                f"the chat template writes message {index + 1} otherwise than as a continuation of its prompt: the "
                f"prompt ends in {prompt[-40:]!r}, the answered conversation in {closed[-80:]!r}",
                rule="what is trained begins with exactly what the model is shown when it is asked",
                fix=f"give the answer the form that the template expects, or {_OWN_TEMPLATE}",
            )
        answer = closed[len(prompt) :]
        ids, offsets = self.tokenizer.encode(answer, after=prompt)
        stop = next((i for i, token in enumerate(ids) if token in self._stop_ids), None)
        if stop is None:
            raise InputError(
                f"the chat template ends message {index + 1} without a stop token: {answer[-40:]!r}",
                rule="every trained answer ends in a trained stop token, or the model never learns to stop",
                fix=_OWN_TEMPLATE,
            )
        end = offsets[stop][1]
        return _Turn(index, prompt, answer[:end], ids[: stop + 1], answer[end:])

    def _rows(self, example: Example) -> list[TokenizedExample]:
        messages = example.conversation
        weights = self._answer_weights(messages)
        talk = self._talk(messages, example.tools)
        turns = self._turns(talk, max(weights) + 1, needed=weights)
        trained = [turn for turn in turns if turn.index in weights]
        _refuse_lost_questions(messages[: trained[-1].index], trained[-1].prompt)
        for turn in trained:
            _refuse_lost_answer(messages[turn.index], turn)
        if all(trained[-1].prompt.startswith(turn.through) for turn in trained[:-1]):
            return [self._row(example.id, turns, trained, weights)]
        if self.train_on == "all":
            raise InputError(
                "the chat template rewrites earlier answers, so that the row has no single text to train as a whole",
                rule="train_on: all trains every token of one text",
                fix="set train_on to assistant",
            )
        return [self._row(example.id, turns, [turn], weights) for turn in trained]

    def _answer_weights(self, messages: Sequence[Message]) -> dict[int, float]:
        """Message number → weight of the answers that have to be found in the text."""
        stated = {i: 1.0 if m.weight is None else m.weight for i, m in enumerate(messages) if m.role == "assistant"}
        if self.train_on == "all":
            chosen = {i: weight for i, weight in stated.items() if i > 0 or weight != 1.0}
        else:
            last = {max(stated): stated[max(stated)]} if stated else {}
            chosen = {i: w for i, w in (last if self.train_on == "last" else stated).items() if w > 0}
        for index, weight in chosen.items():
            if weight > 0 and not messages[index].text.strip() and not messages[index].tool_calls:
                raise InputError(
                    f"message {index + 1} (assistant) is empty",
                    rule="a trained answer has text or a tool call",
                    fix="write the answer, remove the row, or give the message weight 0",
                )
        if not any(chosen.values()):
            raise InputError(
                "no token of the row is trained: no assistant message with a weight above 0"
                + (" at its end" if self.train_on == "last" else ""),
                rule="a training row has at least one trained token",
                fix="remove the row, or raise the weight of an assistant message",
            )
        return chosen

    def _row(
        self, example_id: str, turns: Sequence[_Turn], trained: Sequence[_Turn], weights: Mapping[int, float]
    ) -> TokenizedExample:
        last = trained[-1]
        tokens, position = self._encode(last.prompt, [turn for turn in turns if turn.index < last.index])
        position[len(last.through)] = len(tokens) + len(last.ids)
        tokens += [*last.ids, *self.tokenizer.ids(last.rest, after=last.answer)]
        token_weights = [1.0 if self.train_on == "all" else 0.0] * len(tokens)
        spans = []
        for turn in trained:
            start, end = position[len(turn.prompt)], position[len(turn.through)]
            token_weights[start:end] = [weights[turn.index]] * (end - start)
            if weights[turn.index] > 0:
                spans.append(Span(start=start, end=end))
        token_weights[0] = 0.0  # nothing stands before the first token to predict it from
        return TokenizedExample(
            example_id=example_id, tokens=tuple(tokens), weights=tuple(token_weights), spans=tuple(spans)
        )

    def _encode(self, text: str, turns: Sequence[_Turn]) -> tuple[list[int], dict[int, int]]:
        """Ids of a rendered prompt, cut at every earlier answer that it holds unchanged; cut → number of ids before."""
        known = {}
        cuts = {len(text)}
        for turn in turns:
            start = len(turn.prompt)
            if text.startswith(turn.prompt):
                cuts.add(start)
                if text.startswith(turn.answer, start):
                    cuts.add(start + len(turn.answer))
                    known[start, start + len(turn.answer)] = turn.ids
        ids: list[int] = []
        position = {}
        for start, end in pairwise(sorted({0, *cuts})):
            before = text[max(0, start - 64) : start]  # no added token is longer
            ids += known.get((start, end)) or self.tokenizer.ids(text[start:end], after=before)
            position[end] = len(ids)
        return ids, position

    def _probe(self, answer: str | None) -> str:
        """The template's text of a question and, if given, an answer."""
        messages = [{"role": "user", "content": "Hello"}]
        messages += [{"role": "assistant", "content": answer}] if answer else []
        try:
            return self._templates["default"].render(messages, None, answer_next=not answer, now=datetime.now())
        except InputError as error:
            raise ModelError(
                error.what, rule="a chat template renders a question and its answer", fix=_OWN_TEMPLATE
            ) from error

    def _turn_end(self) -> int:
        """Id of the token with which the template ends an answer."""
        one, other = self._probe("Alpha"), self._probe("7")
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one[::-1], other[::-1], strict=False)))
        closing = one[len(one) - shared :]
        ids = self.tokenizer.ids(closing, after="a") if one != other else ()
        control = set(self.tokenizer.control.values())
        whole = {id for token, id in self.tokenizer.added.items() if token.strip()}
        found = next((id for kind in (control, whole) for id in ids if id in kind), None)
        if found is None:
            raise ModelError(
                f"the chat template ends an answer without a stop token: {closing[-40:]!r}",
                rule="every answer ends in a token that the model can learn to give",
                fix=_OWN_TEMPLATE,
            )
        return found

    def _refuse_double_bos(self) -> None:
        bos = self.tokenizer.bos_id
        if bos is not None and self.tokenizer.ids(self._probe(None))[:2] == (bos, bos):
            raise ModelError(
                f"the chat template writes the token {self.tokenizer.special['bos_token']!r} twice at the beginning",
                rule="a text has one beginning-of-sequence token",
                fix=f"remove one from the template, or {_OWN_TEMPLATE}",
            )


def _refuse_lost_questions(messages: Sequence[Message], text: str) -> None:
    for number, message in enumerate(messages, start=1):
        if message.role in ("system", "user") and message.text.strip() not in text:
            raise InputError(
                f"the chat template leaves out or alters the text of message {number} ({message.role})",
                rule="the model is shown everything that the conversation holds",
                fix=f"move its text into another message, or {_OWN_TEMPLATE}",
            )


def _refuse_lost_answer(message: Message, turn: _Turn) -> None:
    # Templates rewrite reasoning; what stands behind it is the answer proper.
    said = message.text.rpartition("</think>")[2].strip()
    if said not in turn.answer or any(call.name not in turn.answer for call in message.tool_calls):
        raise InputError(
            f"the chat template leaves out or alters a part of message {turn.index + 1} (assistant)",
            rule="the answer is trained as it stands in the row",
            fix=f"keep what the template shows (text or tool calls), or {_OWN_TEMPLATE}",
        )


def load_renderer(
    folder: Path,
    *,
    chat_template: str = "model",
    train_on: str = "assistant",
    chat_template_kwargs: Mapping[str, object] = {},
) -> TemplateRenderer:
    """The renderer of a model folder.

    Args:
        folder: holds ``tokenizer.json`` and what goes with it; no weights are needed.
        chat_template: "model" (the model's own), the name of a built-in one, or the path of a ``.jinja`` file.
        train_on: "assistant" (every answer), "last" (the last answer) or "all" (every token).
        chat_template_kwargs: further variables for the template, such as ``{"enable_thinking": False}``.

    Raises:
        ModelError: there is no usable tokenizer or chat template.
        ConfigError: an argument that does not exist, or that the template does not read.
    """
    chosen = next((known for known in TRAIN_ON if known == train_on), None)
    if chosen is None:
        raise ConfigError(
            f"train_on: {train_on!r} does not exist",
            where="train_on",
            rule=f"train_on is one of {', '.join(TRAIN_ON)}",
            fix="choose one of them",
        )
    for name, value in chat_template_kwargs.items():
        if value is not None and not isinstance(value, str | bool | int | float):
            raise ConfigError(
                f"chat_template_kwargs: {name} is a {type(value).__name__}",
                where="chat_template_kwargs",
                rule="variables of a chat template are text, numbers, true or false",
                fix="put the value in quotes",
            )
    tokenizer = Tokenizer.load(folder)
    variables = {**tokenizer.special, **chat_template_kwargs}
    found = find_templates(folder, chat_template, tokenizer)
    templates = {name: ChatTemplate(source, variables, where) for name, (source, where) in found.items()}
    renderer = TemplateRenderer(tokenizer, templates, eos_ids(folder, tokenizer), chosen)
    for name in chat_template_kwargs:
        if name not in renderer.template_reads:
            raise ConfigError(
                f"chat_template_kwargs: the chat template does not read {name!r}",
                where="chat_template_kwargs",
                rule="every variable given to the template is one that it reads",
                fix=f"it reads: {', '.join(sorted(renderer.template_reads)) or 'none'}",
            )
    return renderer
