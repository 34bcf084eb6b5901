"""Chat templates: Jinja programs that come with a model and are not trusted.

A template sees what transformers' ``apply_chat_template`` shows it and renders the same text, inside Jinja's immutable
sandbox and under limits of time and size.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn, final

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tunesmith.core.errors import InputError, ModelError

RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"})
"""Names that mean the same in every chat template."""

MAX_SECONDS = 10.0
MAX_CHARACTERS = 32 * 2**20


class _Generation(Extension):
    """Accepts ``{% generation %}`` blocks. What is trained is found by position, so they render as their content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _SafeNamespace(Namespace):
    """Jinja's ``namespace`` without names that begin with an underscore, which could reach into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if str(name).startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not hold the underscore name {name!r}")


def _raise_exception(message: object) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _make_dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    # `dict` as the class itself would hand out its methods.
    environment.globals.update(raise_exception=_raise_exception, dict=_make_dict, namespace=_SafeNamespace)
    return environment


@lru_cache(maxsize=32)
def _compile(source: str) -> tuple[jinja2.Template, frozenset[str]]:
    environment = _environment()
    free = meta.find_undeclared_variables(environment.parse(source))
    return environment.from_string(source), frozenset(free - environment.globals.keys())


@final
class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja text.
        variables: what the template sees beside the conversation (special tokens, options).
        where: file that it came from, for error messages.

    Attributes:
        source: Jinja text.
        variables: as above.
        reads: names of the variables that the template reads.

    Raises:
        ModelError: the text is not valid Jinja.
    """

    def __init__(self, source: str, variables: Mapping[str, Any], where: str = "") -> None:
        try:
            self._template, self.reads = _compile(source)
        except (jinja2.TemplateError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            raise ModelError(
                f"the chat template is not valid Jinja: {error}{line}",
                where=where,
                rule="a chat template is a Jinja template as transformers reads it",
                fix="set chat_template to chatml, plain or the path of a .jinja file",
            ) from error
        self.source = source
        self.variables = dict(variables)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        *,
        answer_next: bool,
        now: datetime,
    ) -> str:
        """Text of a conversation; with ``answer_next``, up to where the next answer begins.

        Raises:
            InputError: the template refuses the conversation, or renders without end.
        """
        pieces, size, deadline = [], 0, time.monotonic() + MAX_SECONDS
        variables = {
            "strftime_now": lambda format: now.strftime(format),
            **self.variables,
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": answer_next,
        }
        try:
            for piece in self._template.generate(variables):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_CHARACTERS or (len(pieces) % 1024 == 0 and time.monotonic() > deadline):
                    _raise_exception(f"stopped after {size:,} characters: it renders without end")
        except Exception as error:  # a template can raise whatever Python raises
            raise InputError(
                f"the chat template does not render this conversation: {error}",
                rule="the model's chat template decides which roles, orders and fields it takes",
                fix="change the conversation as the message says, or set chat_template to a template of your own",
            ) from error
        return "".join(pieces)
