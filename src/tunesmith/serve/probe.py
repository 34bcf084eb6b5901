"""Does an endpoint answer with the weights that were trained? Log-probabilities stored with an adapter, asked again.

The canaries of the card are scored by the endpoint (``echo`` with ``logprobs``), one by one, and then many at a time
with the base's in between. An adapter that is not applied, another version of it, and a base that its neighbours
change in a mixed batch all show as differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.artifacts import AdapterCard, Canary
from tunesmith.core.errors import InputError
from tunesmith.core.records import Record
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import CARD, resolve_subject
from tunesmith.serve.remote import EndpointError, open_client

if TYPE_CHECKING:
    from openai import OpenAI

ROUNDS = 4
"""How often each canary is asked for in the mixed part."""


class ProbeCheck(Record):
    """One question about an endpoint; ``largest``: difference of a log-probability, in nats."""

    name: str
    passed: bool
    largest: float
    detail: str


def probe(
    url: str, source: str, model: str, base: str, workspace: Workspace, tolerance: float = 0.05
) -> tuple[ProbeCheck, ...]:
    """Ask an endpoint for the log-probabilities that are stored with an adapter.

    Args:
        url: of an OpenAI-compatible endpoint, up to ``/v1``.
        source: run, adapter folder or released name whose card has the canaries.
        model, base: names of the adapter and its base at the endpoint.
        tolerance: largest difference that is allowed, in nats.

    Raises:
        InputError: the adapter has no canaries. EndpointError: the endpoint does not score given texts.
    """
    canaries = _canaries(source, workspace)
    client = open_client(url)

    def ask(name: str, canary: Canary) -> list[float]:
        return _scores(client, url, name, canary)

    return run_checks(ask, canaries, model, base, tolerance)


def run_checks(
    ask: Callable[[str, Canary], list[float]], canaries: Sequence[Canary], model: str, base: str, tolerance: float
) -> tuple[ProbeCheck, ...]:
    """The checks, with the endpoint as a function from a model's name and a canary to log-probabilities."""
    stored = [list(canary.logprobs) for canary in canaries]
    alone = [ask(model, canary) for canary in canaries]
    plain = [ask(base, canary) for canary in canaries]
    orders = [(name, index) for _ in range(ROUNDS) for index in range(len(canaries)) for name in (model, base)]
    with ThreadPoolExecutor(16) as pool:
        mixed = list(pool.map(lambda order: ask(order[0], canaries[order[1]]), orders))
    pairs = list(zip(orders, mixed, strict=True))
    ours = max(_largest(got, stored[index]) for (name, index), got in pairs if name == model)
    theirs = max(_largest(got, plain[index]) for (name, index), got in pairs if name == base)
    apart = max(_largest(one, other) for one, other in zip(alone, plain, strict=True))
    single = max(_largest(got, want) for got, want in zip(alone, stored, strict=True))
    limit = f"at most {tolerance:g} nats"
    return (
        ProbeCheck(name="adapter alone", passed=single <= tolerance, largest=single, detail=limit),
        ProbeCheck(name="adapter in company", passed=ours <= tolerance, largest=ours, detail=limit),
        ProbeCheck(name="base in company", passed=theirs <= tolerance, largest=theirs, detail=f"{limit} from alone"),
        ProbeCheck(name="adapter is applied", passed=apart > 0, largest=apart, detail="differs from the base"),
    )


def _largest(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _canaries(source: str, workspace: Workspace) -> tuple[Canary, ...]:
    subject = resolve_subject(source, workspace)
    folder = subject.adapter or Path(source)
    card = folder / CARD
    canaries = AdapterCard.model_validate_json(card.read_bytes()).canaries if card.is_file() else ()
    if not canaries:
        raise InputError(
            f"{source} has no stored log-probabilities",
            where=source,
            rule="a probe compares with what was measured when the adapter was trained",
            fix="give a run or an adapter that tunesmith trained",
        )
    return canaries


def _scores(client: OpenAI, url: str, model: str, canary: Canary) -> list[float]:
    import openai

    options: dict[str, Any] = {"echo": True, "max_tokens": 1, "logprobs": 1, "temperature": 0}
    try:
        answer = client.completions.create(model=model, prompt=list(canary.tokens), **options)
    except openai.OpenAIError as error:
        raise _silent(url, model, str(error).splitlines()[0]) from error
    logprobs = answer.choices[0].logprobs
    found = list(logprobs.token_logprobs or ()) if logprobs else []
    values = found[1 : len(canary.tokens)]
    if len(values) != len(canary.logprobs) or None in values:
        raise _silent(url, model, f"{len(values)} log-probabilities came for {len(canary.tokens)} tokens")
    return [float(value or 0.0) for value in values]


def _silent(url: str, model: str, why: str) -> EndpointError:
    return EndpointError(
        f"{model} gave no log-probabilities of a given text: {why}",
        where=url,
        rule="an endpoint is probed by POST …/completions with echo and logprobs",
        fix="check address, model names and key; an endpoint without echo cannot be probed",
    )
