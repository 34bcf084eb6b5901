"""Cheap early signals of forgetting: perplexity of neutral texts, and how far answers to neutral questions moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from tunesmith.core.gates import Figure, Gate
from tunesmith.core.records import Completion, Example, Message, Reply, SamplingParams
from tunesmith.evaluate.forgetting import texts
from tunesmith.evaluate.risks import Pair, RiskConfig, RiskItem, answered, mean_interval, scored

NAME = "forgetting: neutral texts"
SAMPLE_TOKENS = 40


@dataclass(frozen=True)
class Drift:
    """The gate on neutral texts and its items."""

    gate: Gate
    items: list[RiskItem]


@dataclass(frozen=True)
class Divergence:
    """The estimated divergence on neutral questions and its items."""

    figure: Figure
    items: list[RiskItem]


def perplexity(config: RiskConfig, pair: Pair) -> Drift:
    """How much more the tuned model is surprised by neutral texts than its base.

    The figure is the mean rise of the loss per text, as a share of perplexity: exp(difference) − 1.
    """
    rows = texts.neutral_texts()
    found = {
        name: [-fmean(values) for values in scored(model, [row for _, row in rows], "neutral texts", pair.emit)]
        for name, model in pair.both()
    }
    rises = [after - before for before, after in zip(found["base"], found["tuned"], strict=True)]
    ends = mean_interval(rises, config.risk_confidence, lowest=-10.0, highest=10.0, seed=config.risk_seed)
    figure = Figure(
        name="perplexity of neutral texts, rise",
        value=math.expm1(fmean(rises)),
        low=math.expm1(ends.low),
        high=math.expm1(ends.high),
        n=len(rises),
        unit="share",
        note=f"{math.exp(fmean(found['base'])):.1f} → {math.exp(fmean(found['tuned'])):.1f}",
    )
    items = [
        RiskItem(
            id=f"text-{language}-{i:02d}",
            part="neutral texts",
            values={name: {"loss": losses[i]} for name, losses in found.items()},
        )
        for i, (language, _) in enumerate(rows)
    ]
    return Drift(_gate(config, figure, identical=not any(rises)), items)


def _gate(config: RiskConfig, figure: Figure, identical: bool) -> Gate:
    limit = config.max_perplexity_rise
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    drawn = (
        f"perplexity of {figure.n} neutral texts {figure.note} ({100 * figure.value:+.1f} %, "
        f"{100 * figure.low:+.1f} to {100 * figure.high:+.1f} %)"
    )
    if identical:
        verdict, sentence = "pass", f"{figure.n} neutral texts are exactly as likely as before: a difference of 0"
    elif figure.high <= limit:
        verdict, sentence = "pass", f"{drawn}: below the limit of {100 * limit:g} %"
    elif figure.low > limit:
        verdict, sentence = "fail", f"{drawn}: above the limit of {100 * limit:g} %"
    else:
        verdict, sentence = "cannot tell", f"{drawn}: on either side of the limit of {100 * limit:g} %"
    return Gate.model_validate({"name": NAME, "verdict": verdict, "sentence": sentence, "figures": (figure,)})


def divergence(config: RiskConfig, pair: Pair) -> Divergence:
    """Kullback–Leibler divergence of the tuned model from its base on answers to neutral questions, nats a token.

    KL(base ‖ tuned) is the mean of log p_base − log p_tuned over answers that the base gives, so it is estimated from
    answers sampled of it (temperature 1), scored by both. It is an estimate: the exact value needs the whole
    distribution at every token, which a sampler does not give.
    """
    prompts = texts.neutral_prompts()
    params = SamplingParams(max_tokens=SAMPLE_TOKENS, temperature=1.0, seed=config.risk_seed)
    answers = answered(pair.base, prompts, params, "neutral questions", pair.emit)
    rows = [
        (
            Example(messages=prompt.messages, target=Reply(message=Message(role="assistant", content=answer.text))),
            answer,
        )
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.text.strip()
    ]
    name = "divergence from the base on neutral questions"
    if len(rows) < 2:
        return Divergence(Figure(name=name, value=None, note="the base gave no answers to measure on"), [])
    examples = [row for row, _ in rows]
    before, after = (scored(model, examples, "neutral answers", pair.emit) for _, model in pair.both())
    moved = []
    for (_, answer), base, tuned in zip(rows, before, after, strict=True):
        keep = slice(0, -1) if _cut(answer) and len(base) > 1 else slice(None)
        moved.append(fmean(base[keep]) - fmean(tuned[keep]))
    ends = mean_interval(moved, config.risk_confidence, lowest=-10.0, highest=10.0, seed=config.risk_seed)
    figure = Figure(
        name=name,
        value=fmean(moved),
        low=ends.low,
        high=ends.high,
        n=len(moved),
        unit="nats a token",
        note="estimated from answers sampled of the base, scored by both",
    )
    items = [
        RiskItem(id=f"neutral-{i:02d}", part="neutral questions", values={"tuned": {"divergence": value}})
        for i, value in enumerate(moved)
    ]
    return Divergence(figure, items)


def _cut(answer: Completion) -> bool:
    """Whether an answer was cut, so that the stop token which is scored behind it was never sampled."""
    return answer.finish_reason == "length"
