"""What a model has forgotten: the general suite before and after tuning, item by item, with a margin.

The deciding measure of a question is the probability that the model, having to give one of the answers, gives the
right one: exp(log p) of that answer over the sum of all. It moves before an answer flips, so a few hundred questions
show what the share of right answers would need thousands for, and a small model gives a signal at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tunesmith.core import stats
from tunesmith.core.gates import Figure, Gate, GateVerdict
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import SamplingParams
from tunesmith.core.stats import Interval
from tunesmith.evaluate.forgetting import early, suite
from tunesmith.evaluate.forgetting.items import SUITES, WRITTEN, Item, Task
from tunesmith.evaluate.forgetting.written import follows
from tunesmith.evaluate.risks import Pair, RiskConfig, RiskItem, RiskReport, answered, mean_interval, report, scored

WRITTEN_TOKENS = 60
NAME = "forgetting"

NOTES = (
    "The suite is broad and shallow: it shows that general ability is kept, not which other task suffers.",
    "Answers are chosen by likelihood, so it does not show whether a long free answer has become worse.",
)


@dataclass(frozen=True)
class Outcome:
    """One part of the suite, before and after: probabilities of the right answer, and whether it came first."""

    name: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    right_before: tuple[bool, ...]
    right_after: tuple[bool, ...]
    chance: float

    @property
    def differences(self) -> list[float]:
        """After − before, item by item."""
        return [b - a for a, b in zip(self.before, self.after, strict=True)]


def measure(config: RiskConfig, pair: Pair, created_at: str | None = None, extra: Sequence[Gate] = ()) -> RiskReport:
    """Measure forgetting on the general suite, on neutral texts and on neutral questions.

    Args:
        extra: gates that were measured elsewhere and belong to the same report (tasks of another harness).

    Raises:
        ModelError: a log-probability is not a number. InputError: the tuned model is its own base.
    """
    questions = suite.items()
    found = {name: _chosen(questions, sampler, pair) for name, sampler in pair.both()}
    identical = found["base"] == found["tuned"]
    probabilities = {
        name: [_probability(item, row) for item, row in zip(questions, rows, strict=True)]
        for name, rows in found.items()
    }
    outcomes = [_outcome(name, questions, found, probabilities) for name in SUITES]
    items = [_item(item, i, probabilities, found) for i, item in enumerate(questions)]
    gates = [judge(config, outcomes, identical)]
    if config.forgetting_generate:
        tasks = suite.tasks()
        kept, written_items = _written(tasks, pair)
        gates[0] = _with_written(gates[0], kept, config)
        items += written_items
    drift = early.perplexity(config, pair)
    gates.append(drift.gate)
    items += drift.items
    if config.forgetting_generate:
        divergence = early.divergence(config, pair)
        gates[1] = gates[1].model_copy(update={"figures": (*gates[1].figures, divergence.figure)})
        items += divergence.items
    notes = (f"General suite {suite.digest()}: {len(questions)} questions to choose an answer for.", *NOTES)
    return report("forgetting", pair, [*gates, *extra], items, notes=notes, created_at=created_at)


def judge(config: RiskConfig, outcomes: Sequence[Outcome], identical: bool = False) -> Gate:
    """The verdict on general ability from the parts of the suite.

    Args:
        identical: both models gave every answer the very same probability.
    """
    whole = _pooled(outcomes)
    figures = [_figure(whole, config, config.risk_confidence)]
    # Any part may fail the gate, so each part's interval allows for the number of parts.
    strict = 1 - (1 - config.risk_confidence) / len(outcomes)
    figures += [_figure(part, config, strict) for part in outcomes]
    figures += [_accuracy(part, config.risk_confidence) for part in (whole, *outcomes)]
    if identical:
        sentence = (
            f"nothing was forgotten: both models give all {len(whole.before)} questions the very same probabilities, "
            "so the difference is exactly 0"
        )
        return Gate(name=NAME, verdict="pass", sentence=sentence, figures=tuple(figures), notes=NOTES)
    verdicts = {part.name: _verdict(figure, config) for part, figure in zip((whole, *outcomes), figures, strict=False)}
    verdict, sentence = _decided(config, whole, outcomes, figures, verdicts)
    return Gate(name=NAME, verdict=verdict, sentence=sentence, figures=tuple(figures), notes=NOTES)


def _decided(
    config: RiskConfig,
    whole: Outcome,
    outcomes: Sequence[Outcome],
    figures: Sequence[Figure],
    verdicts: Mapping[str, GateVerdict],
) -> tuple[GateVerdict, str]:
    failed = [part.name for part in outcomes if verdicts[part.name] == "fail"]
    drawn = f"{_points(figures[0])} over all {len(whole.before)} questions"
    margin = f"{100 * config.forgetting_margin:g} points"
    if failed or verdicts[whole.name] == "fail":
        named = {part.name: figure for part, figure in zip(outcomes, figures[1:], strict=False)}
        where = "; ".join(f"{name} {_points(named[name])}" for name in failed) or "no part alone shows it"
        return "fail", f"general ability was lost: probability of the right answer {drawn} ({where})"
    blind = _at_chance(whole, config.risk_confidence)
    if blind:
        return "cannot tell", (
            f"the base answers the general suite no better than by guessing ({100 * fmean(whole.before):.1f} %), so it "
            "could not show a loss; look at the perplexity of neutral texts"
        )
    unsure = [part.name for part in outcomes if verdicts[part.name] != "pass"]
    if verdicts[whole.name] == "pass":
        rest = f"; too few items to tell for {', '.join(unsure)} alone" if unsure else ""
        return "pass", f"general ability is kept: probability of the right answer {drawn}, within {margin}{rest}"
    return "cannot tell", (
        f"too few items to tell: probability of the right answer {drawn}; a loss of {margin} can be neither shown nor "
        "ruled out"
    )


def _verdict(figure: Figure, config: RiskConfig) -> GateVerdict:
    """Non-inferiority: pass inside the margin, fail where a loss is shown that may be larger than it."""
    assert figure.low is not None
    assert figure.high is not None
    return non_inferior(Interval(figure.low, figure.high), config.forgetting_margin)


def non_inferior(interval: Interval, margin: float) -> GateVerdict:
    """*Pass*: the loss is below the margin; *fail*: there is a loss, and it may be above; else *cannot tell*."""
    if interval.low >= -margin:
        return "pass"
    return "fail" if interval.high < 0 else "cannot tell"


def _chosen(questions: Sequence[Item], sampler: Sampler, pair: Pair) -> list[tuple[float, ...]]:
    """Log-probability of every answer of every question."""
    rows = [row for item in questions for row in item.rows()]
    totals = iter([sum(values) for values in scored(sampler, rows, "general suite", pair.emit)])
    return [tuple(next(totals) for _ in item.choices) for item in questions]


def _probability(item: Item, logprobs: Sequence[float]) -> float:
    """Probability of a right answer, given that the answer is one of the choices."""
    highest = max(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    return sum(weights[i] for i in item.right) / sum(weights)


def _outcome(
    name: str,
    questions: Sequence[Item],
    found: Mapping[str, Sequence[tuple[float, ...]]],
    probabilities: Mapping[str, Sequence[float]],
) -> Outcome:
    places = [i for i, item in enumerate(questions) if item.suite == name]
    return Outcome(
        name,
        tuple(probabilities["base"][i] for i in places),
        tuple(probabilities["tuned"][i] for i in places),
        tuple(_first(questions[i], found["base"][i]) for i in places),
        tuple(_first(questions[i], found["tuned"][i]) for i in places),
        fmean(questions[i].chance for i in places),
    )


def _first(item: Item, logprobs: Sequence[float]) -> bool:
    return max(range(len(logprobs)), key=logprobs.__getitem__) in item.right


def _pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """All parts as one; equally many questions of each make it their mean."""
    return Outcome(
        "all",
        tuple(v for part in outcomes for v in part.before),
        tuple(v for part in outcomes for v in part.after),
        tuple(v for part in outcomes for v in part.right_before),
        tuple(v for part in outcomes for v in part.right_after),
        sum(part.chance * len(part.before) for part in outcomes) / sum(len(part.before) for part in outcomes),
    )


def _figure(part: Outcome, config: RiskConfig, confidence: float) -> Figure:
    """Change of the probability of the right answer."""
    interval = mean_interval(part.differences, confidence, lowest=-1.0, highest=1.0, seed=config.risk_seed)
    return Figure(
        name=f"{part.name}: probability of the right answer, change",
        value=fmean(part.differences),
        low=interval.low,
        high=interval.high,
        n=len(part.before),
        unit="points",
        note=f"{100 * fmean(part.before):.1f} % → {100 * fmean(part.after):.1f} %; guessing: {100 * part.chance:.0f} %",
    )


def _accuracy(part: Outcome, confidence: float) -> Figure:
    """Change of the share of questions whose likeliest answer is right."""
    n = len(part.before)
    pairs = list(zip(part.right_before, part.right_after, strict=True))
    gains, losses = sum(after and not before for before, after in pairs), sum(b and not a for b, a in pairs)
    interval = stats.paired_share_interval(gains, losses, n, confidence)
    return Figure(
        name=f"{part.name}: right answers, change",
        value=(gains - losses) / n,
        low=interval.low,
        high=interval.high,
        n=n,
        unit="points",
        note=f"{sum(part.right_before)} → {sum(part.right_after)} of {n} right; {losses} lost, {gains} gained",
    )


def _at_chance(part: Outcome, confidence: float) -> bool:
    """Whether the base itself may only be guessing, so that it has nothing to lose."""
    surplus = [value - part.chance for value in part.before]
    return mean_interval(surplus, confidence, lowest=-1.0, highest=1.0, seed=0).low <= 0


def _points(figure: Figure) -> str:
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    return f"{100 * figure.value:+.1f} points ({100 * figure.low:+.1f} to {100 * figure.high:+.1f})"


def _item(
    item: Item,
    place: int,
    probabilities: Mapping[str, Sequence[float]],
    found: Mapping[str, Sequence[tuple[float, ...]]],
) -> RiskItem:
    values = {
        name: {"probability": probabilities[name][place], "right": float(_first(item, found[name][place]))}
        for name in ("base", "tuned")
    }
    texts = {"question": item.question, "right answer": item.choices[item.right[0]]}
    for name in ("base", "tuned"):
        row = found[name][place]
        texts[name] = item.choices[max(range(len(row)), key=row.__getitem__)]
    return RiskItem(id=item.id, part=item.suite, values=values, texts=texts)


def _written(tasks: Sequence[Task], pair: Pair) -> tuple[list[tuple[bool, bool]], list[RiskItem]]:
    """Which instructions were followed in writing, before and after."""
    params = SamplingParams(max_tokens=WRITTEN_TOKENS, temperature=0.0)
    prompts = [task.prompt for task in tasks]
    texts = {
        name: [answer.text for answer in answered(sampler, prompts, params, WRITTEN, pair.emit)]
        for name, sampler in pair.both()
    }
    kept, items = [], []
    for i, task in enumerate(tasks):
        done = {name: follows(task, texts[name][i]) for name in texts}
        kept.append((done["base"], done["tuned"]))
        shown = {"question": task.question, **{name: texts[name][i] for name in texts}}
        values = {name: {"followed": float(good)} for name, good in done.items()}
        items.append(RiskItem(id=task.id, part=WRITTEN, values=values, texts=shown))
    return kept, items


def _with_written(gate: Gate, kept: Sequence[tuple[bool, bool]], config: RiskConfig) -> Gate:
    """The gate with the figure of generated answers; a loss that is shown there fails it too."""
    gains, losses = sum(b and not a for a, b in kept), sum(a and not b for a, b in kept)
    interval = stats.paired_share_interval(gains, losses, len(kept), config.risk_confidence)
    before, after = sum(a for a, _ in kept), sum(b for _, b in kept)
    figure = Figure(
        name=f"{WRITTEN}: followed, change",
        value=(gains - losses) / len(kept),
        low=interval.low,
        high=interval.high,
        n=len(kept),
        unit="points",
        note=f"{before} → {after} of {len(kept)} followed; {losses} lost, {gains} gained",
    )
    update: dict[str, object] = {"figures": (*gate.figures, figure)}
    if non_inferior(interval, config.forgetting_margin) == "fail" and gate.verdict != "fail":
        update |= {
            "verdict": "fail",
            "sentence": f"instructions are followed less often in writing: {_points(figure)}, {figure.note}",
        }
    return gate.model_copy(update=update)
