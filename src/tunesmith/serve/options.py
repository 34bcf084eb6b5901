"""What a request asks of its answer, and who asks, in the gateway's terms."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tunesmith.core.errors import InputError
from tunesmith.core.records import Grammar, SamplingParams
from tunesmith.text.grammar import as_rule, check_grammar
from tunesmith.text.toolcalls import Tool, ToolFormat

SEEDS = 2**63


@dataclass(frozen=True)
class Caller:
    """Who asks. ``tenant`` "" is the owner of the server; ``user``: whom the request is for, as the client says."""

    tenant: str = ""
    key: str = ""
    user: str = ""


NOBODY = Caller()


@dataclass(frozen=True)
class ToolUse:
    """The functions that an answer may call.

    Args:
        tools: the functions, with the schemas of their arguments.
        shown: the tools as the template shows them to the model.
        choice: whether the answer may, must or must not call one.
        allowed: names that may be called; None: all of them.
        parallel: more than one call in an answer is fine.
    """

    tools: tuple[Tool, ...]
    shown: tuple[Mapping[str, Any], ...]
    choice: Literal["none", "auto", "required"] = "auto"
    allowed: frozenset[str] | None = None
    parallel: bool = True

    @property
    def callable(self) -> tuple[Tool, ...]:
        """The tools that may be called."""
        return tuple(tool for tool in self.tools if self.allowed is None or tool.name in self.allowed)


@dataclass(frozen=True)
class Options:
    """How one request wants to be answered.

    ``max_tokens`` None: as long as the context and the server allow; 0: nothing, only the prompt is wanted.
    ``logprobs`` None: not asked for; else how many of the likeliest tokens come with each token.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    grammar: Grammar | None = None
    tools: ToolUse | None = None

    def params(self, max_tokens: int, nth: int, grammar: Grammar | None) -> SamplingParams:
        """Parameters of answer number ``nth``. Each has a seed of its own: answers differ, and can be repeated."""
        seed = secrets.randbelow(SEEDS) if self.seed is None else (self.seed + nth) % SEEDS
        return SamplingParams(
            max_tokens=max(1, max_tokens),
            temperature=self.temperature,
            # OpenAI allows 0: only the likeliest token is left.
            top_p=self.top_p or 1e-9,
            seed=seed,
            stop=self.stop,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=self.logit_bias,
            top_logprobs=self.logprobs or 0,
            grammar=grammar,
        )


def joined_grammar(form: ToolFormat | None, options: Options) -> Grammar | None:
    """The grammar of an answer: calls where they are forced or strict, beside what the answer itself has to fit.

    Raises:
        InputError: the grammar cannot be compiled.
    """
    use = options.tools
    if options.grammar is not None:
        check_grammar(options.grammar)
    if use is None or form is None or use.choice == "none":
        return options.grammar
    tools = use.callable
    if use.choice == "required":
        return _checked(form.grammar(tools, many=use.parallel))
    if options.grammar is not None:
        return _checked(form.grammar(tools, many=use.parallel, otherwise=as_rule(options.grammar)))
    if use.allowed is not None or any(tool.strict for tool in tools):
        return _checked(form.grammar(tools, many=use.parallel, otherwise="TEXT"))
    return None


def _checked(source: str) -> Grammar:
    grammar = Grammar(kind="lark", source=source)
    check_grammar(grammar)
    return grammar


def refuse_bias(options: Options, vocab_size: int) -> None:
    """Raise InputError when ``logit_bias`` names a token that does not exist."""
    for token in options.logit_bias:
        if not 0 <= token < vocab_size:
            raise InputError(
                f"the token id {token} does not exist",
                rule=f"Token ids of this model go from 0 to {vocab_size - 1}",
                fix="take ids from this model's own tokenizer",
            )
