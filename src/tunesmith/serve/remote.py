"""A model behind an OpenAI-compatible endpoint, as a `Sampler`: ``MODEL@http://host:port/v1``.

Questions leave this process only for an address that the user wrote down, and with downloads switched off
(``TUNESMITH_OFFLINE=1``) only for one of this machine or its private network.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit

from tunesmith.core.errors import InputError, OfflineError, TunesmithError
from tunesmith.core.fetch import offline
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Example, FinishReason, Message, Prompt, SamplingParams, Score, digest_of

if TYPE_CHECKING:
    from openai import OpenAI

KEYS = ("TUNESMITH_REMOTE_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key of the endpoint; the first that is set counts."""

AT_ONCE = 8
"""Requests that are under way together."""

_REMOTE = re.compile(r"(?P<model>.+)@(?P<url>https?://\S+)")
_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "stop"}


class EndpointError(TunesmithError):
    """An endpoint that cannot be reached, or answers with an error; what was answered before is not lost."""


def is_remote(name: str) -> bool:
    """Whether a name means a model behind an endpoint: ``MODEL@http://…``."""
    return _REMOTE.fullmatch(name) is not None


@final
class Remote:
    """A model behind an endpoint. Answers only: log-probabilities of given answers are not part of that API."""

    def __init__(self, model: str, url: str, client: OpenAI) -> None:
        self.name = f"{model}@{url}"
        self.digest = digest_of(["remote", model, url])
        self._model, self._client = model, client

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        """One completion for each prompt, in order, ``AT_ONCE`` requests at a time.

        Raises:
            EndpointError: no answer after the client's own retries.
        """
        answers: list[Completion] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for answer in pool.map(lambda prompt: self._ask(prompt, params), prompts):
                answers.append(answer)
                if progress:
                    progress(len(answers), len(prompts))
        return answers

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        """No log-probabilities for any row: an endpoint does not say how likely a given answer is."""
        return [Score(example_id=example.id, logprobs=()) for example in examples]

    def _ask(self, prompt: Prompt, params: SamplingParams) -> Completion:
        import openai

        options: dict[str, Any] = {"stop": list(params.stop)} if params.stop else {}
        options |= {"tools": list(prompt.tools)} if prompt.tools else {}
        options |= {"seed": params.seed} if params.seed is not None else {}
        options |= _wishes(params)
        began = time.monotonic()
        try:
            answer = self._client.chat.completions.create(
                model=self._model,
                messages=[turn(message) for message in prompt.messages],  # type: ignore[misc]
                max_tokens=params.max_tokens,
                temperature=params.temperature,
                top_p=params.top_p,
                **options,
            )
        except openai.OpenAIError as error:
            raise self._failed(error) from error
        choice, usage = answer.choices[0], answer.usage
        return Completion(
            text=choice.message.content or "",
            finish_reason=_REASONS.get(choice.finish_reason, "cancelled"),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            seconds=time.monotonic() - began,
        )

    def _failed(self, error: Exception) -> EndpointError:
        return EndpointError(
            f"no answer: {str(error).splitlines()[0]}",
            where=self.name,
            rule="the endpoint answers POST …/chat/completions as OpenAI does",
            fix=f"check address, model and key ({' or '.join(KEYS)}); run the command again to go on",
        )


def open_remote(name: str) -> Remote:
    """The model that ``MODEL@URL`` names; nothing is sent yet.

    Raises:
        InputError: the name has another form.
        OfflineError: downloads are switched off and the address is outside this network.
    """
    found = _REMOTE.fullmatch(name)
    if found is None:
        raise InputError(
            f"{name} names no model behind an endpoint",
            where=name,
            rule="the form is MODEL@http://host:port/v1",
            fix="for example support-bot@http://127.0.0.1:8000/v1",
        )
    return Remote(found["model"], found["url"], open_client(found["url"], name))


def open_client(url: str, name: str = "") -> OpenAI:
    """A client of an endpoint; nothing is sent yet. ``name``: what the user wrote, for errors.

    Raises:
        OfflineError: downloads are switched off and the address is outside this network.
    """
    if offline() and not is_private(url):
        raise OfflineError(
            f"{url} is outside this network",
            where=name or url,
            rule="with TUNESMITH_OFFLINE set nothing leaves the building",
            fix="use an endpoint of your own network, or unset TUNESMITH_OFFLINE",
        )
    from openai import OpenAI

    key = next((os.environ[key] for key in KEYS if os.environ.get(key)), "none")
    return OpenAI(base_url=url, api_key=key, max_retries=3, timeout=600)


def is_private(url: str) -> bool:
    """Whether an address is of this machine or a private network, judged without asking any name server."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".local", ".internal", ".lan")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _wishes(params: SamplingParams) -> dict[str, Any]:
    """What the answer is to be like, in OpenAI's words.

    Raises:
        InputError: a grammar that this API cannot express.
    """
    wishes: dict[str, Any] = {}
    if params.presence_penalty or params.frequency_penalty:
        wishes |= {"presence_penalty": params.presence_penalty, "frequency_penalty": params.frequency_penalty}
    if params.logit_bias:
        wishes["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    if params.grammar is None:
        return wishes
    kind = params.grammar.kind
    if kind == "json_object":
        return {**wishes, "response_format": {"type": "json_object"}}
    if kind == "json_schema":
        wanted = {"name": "answer", "strict": True, "schema": json.loads(params.grammar.source)}
        return {**wishes, "response_format": {"type": "json_schema", "json_schema": wanted}}
    raise InputError(
        f"an endpoint cannot be asked for answers of the form {kind!r}",
        where="grammar",
        rule="OpenAI's API knows json_object and json_schema",
        fix="use a model on this machine, or a JSON schema",
    )


def turn(message: Message) -> dict[str, Any]:
    """A message as OpenAI's API has it."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {
        "role": message.role,
        "content": message.text,
        **({"tool_calls": calls} if calls else {}),
        **({"tool_call_id": message.tool_call_id} if message.tool_call_id else {}),
    }
