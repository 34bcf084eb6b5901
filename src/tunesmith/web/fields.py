"""What becomes of each field of a request: honoured, bookkeeping that changes no answer, or refused by name.

Tables say so for the fields of OpenAI's requests that have no meaning here; a null always means “not given”.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic_core import PydanticCustomError

from tunesmith.core.records import Role

BOOKKEEPING = frozenset({"metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"})
"""Accepted and ignored: they change what is stored, cached or counted at OpenAI, never the answer."""

NEUTRAL_CHAT: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields of a chat request that are not served → the values that ask for nothing."""

NEUTRAL_COMPLETION: Mapping[str, tuple[object, ...]] = {"best_of": (1,), "suffix": ("",)}
"""The same for a completion request."""

NEUTRAL_MESSAGE: Mapping[str, tuple[object, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
}
"""The same for a message, with what a client sends back when it appends an answer to the conversation."""

SERVED_ROLES: Mapping[str, Role] = {
    "assistant": "assistant",
    "developer": "system",
    "system": "system",
    "tool": "tool",
    "user": "user",
}
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Who = Annotated[str, Field(max_length=512)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
"""Types as JSON has them (no "3" for 3), unknown fields refused."""


def unsupported(param: str, why: str) -> PydanticCustomError:
    """The error for a field that asks for something that is not served."""
    # Double braces: the message is a template of pydantic's.
    return PydanticCustomError("unsupported_parameter", why, {"param": param})


def settle(body: object, neutral: Mapping[str, tuple[object, ...]], known: Mapping[str, object]) -> object:
    """The body without nulls, bookkeeping and fields that ask for nothing.

    Raises:
        PydanticCustomError: a field that asks for something that is not served.
    """
    if not isinstance(body, dict):
        return body
    kept = {}
    for name, value in body.items():
        if name in neutral:
            if value is not None and not any(_same(value, allowed) for allowed in neutral[name]):
                raise unsupported(name, "is not supported by this server; leave it out")
        elif name not in BOOKKEEPING and not (value is None and name in known):
            kept[name] = value
    return kept


def _same(value: object, allowed: object) -> bool:
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed


def one_or_more(value: object) -> object:
    """A string as a list of one."""
    return [value] if isinstance(value, str) else value


def parts(value: object) -> object:
    """Content as a list of text parts; a part of another kind is refused by its name."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    for part in value if isinstance(value, list) else ():
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind != "text":
            raise PydanticCustomError(
                "unsupported_parameter", "has a part that is not text; this server reads text only"
            )
    return value


def prompt_list(value: object) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four shapes of a prompt, as a tuple of texts or token ids."""
    given = value if isinstance(value, list) and not are_ids(value) else [value]
    prompts: list[str | tuple[int, ...]] = []
    for prompt in given:
        if isinstance(prompt, str):
            prompts.append(prompt)
        elif isinstance(prompt, list) and prompt and are_ids(prompt):
            prompts.append(tuple(prompt))
        else:
            break
    if not prompts or len(prompts) < len(given):
        raise PydanticCustomError(
            "prompt_type", "it has to be a string, a list of strings, a list of token ids, or a list of such lists"
        )
    return tuple(prompts)


def half_character(value: object, path: str = "") -> str | None:
    """Where a string has half of a surrogate pair, which JSON can say and no tokenizer can read."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
        return None
    steps: Iterable[tuple[str, object]] = ()
    if isinstance(value, list):
        steps = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        both = ((name, part) for name, item in value.items() for part in (name, item))
        steps = ((f"{path}.{name}" if path else name, part) for name, part in both)
    return next((found for step, item in steps if (found := half_character(item, step)) is not None), None)


def are_ids(value: list[object]) -> bool:
    """Whether a list holds integers and nothing else."""
    return bool(value) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def biases(value: object) -> object:
    """``{"50256": -100}``: token ids as JSON has keys, and what is added to their logits."""
    if not isinstance(value, dict):
        return value
    if len(value) > MOST_BIASES:
        raise PydanticCustomError("too_many", f"it names {len(value)} tokens, and may name {MOST_BIASES}")
    found = {}
    for token, bias in value.items():
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not (isinstance(token, str) and token.isascii() and token.isdecimal() and len(token) < 10):
            raise PydanticCustomError("token_id", 'its keys have to be token ids, such as "50256"')
        if not number or not -100 <= bias <= 100:
            raise PydanticCustomError("bias", "its values have to be numbers from -100 to 100")
        found[int(token)] = float(bias)
    return found


MOST_BIASES = 1024
