"""A model as judge of two answers, and the audit that says how far it may be believed.

Each pair is shown in both orders; an answer wins only if it wins in both, else the pair is a tie. What is neither A, B
nor tie is counted as nonsense and never guessed at. Until its agreement with people was measured (Cohen's kappa of 0.6
or more on 100 labels or more) a judge is advisory: it decides nothing.

Source: Zheng et al. 2023 and Shi et al. 2024 (position bias); Cohen 1960 (kappa).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tunesmith.core import stats
from tunesmith.core.artifacts import JudgeAudit, ModelIdentity
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Emit, ticking
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Grammar, Message, Prompt, SamplingParams, digest_of
from tunesmith.evaluate.measures import Column, Found, Setting, item_of, uncounted
from tunesmith.evaluate.metrics import Metric
from tunesmith.evaluate.options import JudgeOptions

GATE = 0.6
FEWEST_LABELS = 100
MOST_NONSENSE = 0.1
UNEVEN = 0.1
"""How far the first position may be from a half, by its interval, before the audit fails."""
ALIKE = 0.2
"""Lengths that differ by no more than this share are alike, for the wins that length cannot explain."""

PROMPT = """Question:
{question}

Answer A:
{first}

Answer B:
{second}

{criteria}
Answer with A, B or tie and nothing else."""

Choice = Literal["first", "second", "tie", "nonsense"]
Outcome = Literal["a", "b", "tie", "nonsense"]

_WORDS: dict[str, Choice] = {"a": "first", "b": "second", "tie": "tie"}


@dataclass(frozen=True)
class Pair:
    """Two answers to one question."""

    question: str
    a: str
    b: str


def judge_pairs(
    judge: Sampler, options: JudgeOptions, pairs: Sequence[Pair], emit: Emit
) -> tuple[list[Outcome], list[Choice]]:
    """The outcome of each pair, and every single judgement: all pairs in one order, then all in the other."""
    turns = [(p.question, p.a, p.b) for p in pairs] + [(p.question, p.b, p.a) for p in pairs]
    prompts = [
        Prompt(messages=(Message.model_validate({"role": "user", "content": _text(options, *turn)}),)) for turn in turns
    ]
    params = SamplingParams(max_tokens=options.max_tokens, grammar=Grammar(kind="choice", choices=("A", "B", "tie")))
    answers = judge.sample(prompts, params, ticking(emit, f"judging with {judge.name}"))
    choices = [read_choice(answer.text) for answer in answers]
    return [_outcome(*both) for both in zip(choices[: len(pairs)], choices[len(pairs) :], strict=True)], choices


def read_choice(text: str) -> Choice:
    """What a judge said; anything but A, B and tie is nonsense."""
    return _WORDS.get(text.strip().strip(".*\"'`()[]").removeprefix("Answer ").casefold(), "nonsense")


def _text(options: JudgeOptions, question: str, first: str, second: str) -> str:
    return PROMPT.format(question=question, first=first, second=second, criteria=options.criteria)


def _outcome(straight: Choice, swapped: Choice) -> Outcome:
    if "nonsense" in (straight, swapped):
        return "nonsense"
    if (straight, swapped) == ("first", "second"):
        return "a"
    return "b" if (straight, swapped) == ("second", "first") else "tie"


def judged(setting: Setting, judge: Sampler) -> tuple[Found, list[JudgeAudit]]:
    """The judge's preference for each candidate over the first model, with an audit for each.

    Raises:
        ConfigError: the file of human labels cannot be used.
    """
    options = setting.config.judge
    assert options is not None
    found = Found(Metric("judge", uncounted), why="the judge answered neither A, B nor tie")
    kappa = _calibrated(judge, options, setting.emit)
    questions = [str(item_of(example)["question"]) for example in setting.examples]
    base = [answer.text for answer in setting.answers[0]]
    found.columns.append([(0.5, 1.0)] * len(base))
    audits = []
    for number in range(1, len(setting.samplers)):
        texts = [answer.text for answer in setting.answers[number]]
        pairs = [Pair(*row) for row in zip(questions, base, texts, strict=True)]
        different = [i for i, pair in enumerate(pairs) if pair.a.strip() != pair.b.strip()]
        shown = [pairs[i] for i in different]
        outcomes, choices = judge_pairs(judge, options, shown, setting.emit) if shown else ([], [])
        column: Column = [(0.5, 1.0)] * len(pairs)  # equal answers are even without asking
        points = {"a": 0.0, "b": 1.0, "tie": 0.5}
        for place, outcome in zip(different, outcomes, strict=True):
            column[place] = None if outcome == "nonsense" else (points[outcome], 1.0)
        found.columns.append(column)
        identity = ModelIdentity(name=setting.samplers[number].name, digest=setting.samplers[number].digest)
        audits.append(_audit(setting, judge, identity, shown, outcomes, choices, kappa, len(pairs)))
    return found, audits


@dataclass(frozen=True)
class _Kappa:
    value: float
    low: float
    high: float
    n: int
    nonsense: int


def _audit(
    setting: Setting,
    judge: Sampler,
    candidate: ModelIdentity,
    shown: Sequence[Pair],
    outcomes: Sequence[Outcome],
    choices: Sequence[Choice],
    kappa: _Kappa | None,
    rows: int,
) -> JudgeAudit:
    options = setting.config.judge
    assert options is not None
    decided = [choice for choice in choices if choice in ("first", "second")]
    first = decided.count("first")
    both = [o for o in outcomes if o != "nonsense"]
    nonsense = outcomes.count("nonsense")
    pairs = list(zip(choices[: len(shown)], choices[len(shown) :], strict=True))
    consistent = sum(_outcome(*c) in ("a", "b") or c == ("tie", "tie") for c in pairs if "nonsense" not in c)
    alike = [o for o, p in zip(outcomes, shown, strict=True) if _alike(p)]
    longer = [(o == "b") == (len(p.b) > len(p.a)) for o, p in zip(outcomes, shown, strict=True) if o in ("a", "b")]
    faults = _faults(first, len(decided), nonsense, len(outcomes), kappa)
    own = [s.name for s in setting.samplers if s.digest == judge.digest or s.name == judge.name]
    flags = [f"the judge is {own[0]} itself, which prefers its own answers"] if own else []
    if longer and sum(longer) > 0.75 * len(longer) and len(longer) >= 20:
        flags.append(f"{sum(longer)} of {len(longer)} wins went to the longer answer")
    return JudgeAudit(
        judge=ModelIdentity(name=judge.name, digest=judge.digest),
        prompt_digest=digest_of([PROMPT, options.criteria])[:16],
        candidate=candidate.name,
        rows=rows,
        wins=outcomes.count("b"),
        losses=outcomes.count("a"),
        ties=outcomes.count("tie") + rows - len(shown),
        nonsense=nonsense,
        consistency=consistent / len(both) if both else None,
        first_position=first / len(decided) if decided else None,
        alike_wins=alike.count("b"),
        alike_losses=alike.count("a"),
        kappa=kappa.value if kappa else None,
        kappa_low=kappa.low if kappa else None,
        kappa_high=kappa.high if kappa else None,
        labels=kappa.n if kappa else 0,
        faults=tuple(faults),
        flags=tuple(flags),
    )


def _alike(pair: Pair) -> bool:
    shorter, longer = sorted((len(pair.a), len(pair.b)))
    return longer == 0 or shorter >= (1.0 - ALIKE) * longer


def _faults(first: int, decided: int, nonsense: int, asked: int, kappa: _Kappa | None) -> list[str]:
    """Why the judge decides nothing; [] when it may."""
    faults = []
    if decided:
        interval = stats.proportion_interval(first, decided, 0.95)
        if interval.low > 0.5 + UNEVEN or interval.high < 0.5 - UNEVEN:
            faults.append(f"it chose the answer that came first in {100 * first / decided:.0f} % of its decisions")
    if asked and nonsense > MOST_NONSENSE * asked:
        faults.append(f"{nonsense} of {asked} pairs got an answer that is neither A, B nor tie")
    if kappa is None:
        faults.append("its agreement with people was not measured (judge.calibration)")
    elif kappa.n < FEWEST_LABELS:
        faults.append(f"{kappa.n} human labels are fewer than {FEWEST_LABELS}")
    elif kappa.value < GATE:
        faults.append(f"its agreement with people is kappa {kappa.value:.2f}, below {GATE}")
    return faults


def sentence(audit: JudgeAudit) -> str:
    """An audit in words."""
    parts = [
        f"Judge {audit.judge.name} on {audit.candidate}: {audit.wins} wins, {audit.losses} losses, {audit.ties} ties, "
        f"{audit.nonsense} without a judgement, of {audit.rows}"
    ]
    if audit.consistency is not None:
        parts.append(f"same judgement in both orders {100 * audit.consistency:.0f} %")
    if audit.first_position is not None:
        parts.append(f"first position chosen {100 * audit.first_position:.0f} %")
    if audit.kappa is not None:
        interval = f"{audit.kappa_low:.2f} – {audit.kappa_high:.2f}"
        parts.append(f"kappa {audit.kappa:.2f} ({interval}) on {audit.labels} labels")
    text = "; ".join(parts) + "."
    if audit.faults:
        text += f" Advisory only: {'; '.join(audit.faults)}."
    return text + "".join(f" Note: {flag}." for flag in audit.flags)


def _calibrated(judge: Sampler, options: JudgeOptions, emit: Emit) -> _Kappa | None:
    if options.calibration is None:
        return None
    pairs, human = read_labels(options.calibration)
    outcomes, _ = judge_pairs(judge, options, pairs, emit)
    kept = [(o, h) for o, h in zip(outcomes, human, strict=True) if o != "nonsense"]
    nonsense = len(outcomes) - len(kept)
    if not kept:
        return _Kappa(0.0, 0.0, 0.0, 0, nonsense)
    codes = np.array([[("a", "b", "tie").index(x) for x in row] for row in kept])
    value = cohen_kappa(codes[:, 0], codes[:, 1])
    random = np.random.default_rng(0)
    draws = random.integers(0, len(codes), (2000, len(codes)))
    resampled = [cohen_kappa(codes[draw, 0], codes[draw, 1]) for draw in draws]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return _Kappa(value, float(low), float(high), len(kept), nonsense)


def cohen_kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement beyond chance of two raters over three categories; 0 where chance alone would agree always."""
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1.0)
    table /= table.sum()
    agreed, chance = float(np.trace(table)), float(table.sum(axis=0) @ table.sum(axis=1))
    return (agreed - chance) / (1.0 - chance) if chance < 1.0 else 0.0


def read_labels(path: str) -> tuple[list[Pair], list[Outcome]]:
    """Comparisons that people decided.

    Raises:
        ConfigError: no such file, or a line that is none.
    """
    rule = "a line is {question, a, b, human}, where human is a, b or tie"
    pairs: list[Pair] = []
    human: list[Outcome] = []
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise ConfigError(
            f"cannot read the human labels: {error.strerror}",
            where="judge.calibration",
            rule=rule,
            fix="correct the path",
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            pair, label = Pair(str(row["question"]), str(row["a"]), str(row["b"])), row["human"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"not a comparison with a human label: {error}",
                where=f"{path}:{number}",
                rule=rule,
                fix="correct the line",
            ) from error
        if label not in ("a", "b", "tie"):
            raise ConfigError(
                f"{label!r} is no human label", where=f"{path}:{number}", rule=rule, fix="write a, b or tie"
            )
        pairs.append(pair)
        human.append(label)
    return pairs, human
