"""From a request to what the engine takes: token ids, grammar, limits. No state; runs beside the event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tunesmith.core.errors import InputError
from tunesmith.core.protocols import CallStream
from tunesmith.core.records import Grammar, Message
from tunesmith.serve.config import Config
from tunesmith.serve.errors import Reason, RequestError
from tunesmith.serve.models import ServedModel
from tunesmith.serve.options import Options, joined_grammar, refuse_bias
from tunesmith.serve.worker import Echo
from tunesmith.text.grammar import refuse_large
from tunesmith.text.toolcalls import ToolFormat


@dataclass(frozen=True)
class Prepared:
    """Prompts as ids, and how each is answered.

    Args:
        prompts: token ids of each prompt.
        param: the request field that they came from.
        grammar: what answers have to look like.
        calls: makes a parser of tool calls for an answer.
        echoes: for each prompt, how it is given back before its answer; () where it is not.
    """

    prompts: tuple[tuple[int, ...], ...]
    param: str
    grammar: Grammar | None = None
    calls: Callable[[], CallStream] | None = None
    echoes: tuple[Echo, ...] = ()


def prepare_chat(model: ServedModel, messages: Sequence[Message], options: Options, most_bytes: int) -> Prepared:
    """A conversation, rendered with its tools; ``most_bytes``: largest schema.

    Raises:
        RequestError: the renderer, the tool form or the grammar refuses it; names the field.
    """
    use, form = options.tools, None
    if options.grammar is not None and options.grammar.source:
        with refused("response_format"):
            refuse_large([json.loads(options.grammar.source)], most_bytes)
    with refused("tools"):
        refuse_large(use.shown if use else (), most_bytes)
    if use is not None and use.choice != "none":
        with refused("tools", "unsupported_parameter"):
            form = model.renderer.tool_format
    with refused("messages"):
        tokens = model.renderer.prompt(messages, use.shown if use else ())
    with refused("tools" if form else "response_format"):
        grammar = joined_grammar(form, options)
    _refuse_bias(model, options)
    return Prepared((tokens,), "messages", grammar, _parser(form, options))


def _parser(form: ToolFormat | None, options: Options) -> Callable[[], CallStream] | None:
    use = options.tools
    if form is None or use is None:
        return None
    names = [tool.name for tool in use.callable]
    return lambda: form.parser(names, use.parallel)


def prepare_texts(
    model: ServedModel, prompts: Sequence[str | tuple[int, ...]], options: Options, echo: bool
) -> Prepared:
    """Plain texts or token ids; with ``echo``, each is given back before its answer.

    Raises:
        RequestError: a token id does not exist, or a text cannot be encoded.
    """
    with refused("prompt"):
        tokens = tuple(_ids(model, prompt) for prompt in prompts)
    _refuse_bias(model, options)
    if not echo:
        return Prepared(tokens, "prompt")
    texts = [prompt if isinstance(prompt, str) else model.renderer.decode(prompt) for prompt in prompts]
    echoes = tuple(Echo(text, options.logprobs, only=options.max_tokens == 0) for text in texts)
    return Prepared(tokens, "prompt", echoes=echoes)


def token_limit(config: Config, context_length: int, tokens: tuple[int, ...], options: Options, param: str) -> int:
    """Most tokens that the answer to this prompt may have.

    Raises:
        RequestError: no token, too long for the context, or more than the server gives.
    """
    room = context_length - len(tokens)
    wanted = options.max_tokens
    least = 1 if wanted is None else wanted
    if not tokens:
        raise RequestError("invalid_value", "The prompt is empty: it has no token.", param=param)
    if room < least:
        asked = f"{len(tokens)} of the prompt + {least} of the answer"
        raise RequestError(
            "context_length_exceeded",
            f"This model's maximum context length is {context_length} tokens; "
            f"this request needs {len(tokens) + least} ({asked}).",
            fix="Shorten the prompt." if room < 1 else f"Shorten the prompt or set max_tokens to {room} or less.",
            param=param,
        )
    if least > config.max_response_tokens:
        raise RequestError(
            "invalid_value",
            f"{wanted} answer tokens are more than this server gives.",
            rule=f"At most {config.max_response_tokens} (max_response_tokens).",
            param="max_tokens",
        )
    return min(room, config.max_response_tokens) if wanted is None else wanted


@contextmanager
def refused(param: str, reason: Reason = "invalid_value") -> Iterator[None]:
    """What is refused inside is the fault of this field of the request."""
    try:
        yield
    except RequestError:
        raise
    except InputError as error:
        raise RequestError(reason, error.what, rule=error.rule, fix=error.fix, param=param) from error


def _refuse_bias(model: ServedModel, options: Options) -> None:
    with refused("logit_bias"):
        refuse_bias(options, model.renderer.vocab_size)


def _ids(model: ServedModel, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return model.renderer.text(prompt)
    size = model.renderer.vocab_size
    for token in prompt:
        if not 0 <= token < size:
            raise RequestError(
                "invalid_value",
                f"The token id {token} does not exist.",
                rule=f"Token ids of this model go from 0 to {size - 1}.",
                param="prompt",
            )
    return prompt
