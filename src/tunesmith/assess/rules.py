"""From measured arms to a recommendation: the rules, in order, the first that applies decides.

Only what an interval shows counts; where none does the answer is "cannot tell", with what would change it. A
recommendation names roles, never names, so calling an arm something else changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from tunesmith.assess.taxonomy import group_of
from tunesmith.core.advice import Arm, Recommendation, Role, Verdict
from tunesmith.core.stats import SMALLEST_SAMPLE, decide, exact_mcnemar, paired_share_interval

PLAIN: tuple[Role, ...] = ("zero-shot", "prompt", "bigger")


@dataclass(frozen=True)
class Facts:
    """What the rules look at. ``right``: arm → whether each held-out row was answered right, in one order."""

    arms: Sequence[Arm]
    right: Mapping[str, Sequence[bool]]
    total_rows: int
    fewest_rows: int
    target: float
    margin: float
    confidence: float
    searched: bool
    """Whether a prompt was searched for."""
    has_corpus: bool


@dataclass(frozen=True)
class Decision:
    """What to do, by which rule, in a sentence, and what would change it."""

    recommendation: Recommendation
    rule: str
    sentence: str
    would_change: tuple[str, ...]


def compare(facts: Facts, baseline: Arm, candidate: Arm) -> Verdict:
    """Two arms on the same rows by the share that is right."""
    pairs = list(zip(facts.right[baseline.name], facts.right[candidate.name], strict=True))
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    interval = paired_share_interval(gained, lost, len(pairs), facts.confidence)
    p_value = exact_mcnemar(gained, lost)
    word = decide(
        interval,
        p_value,
        n=len(pairs),
        margin=facts.margin,
        higher_is_better=True,
        alpha=1 - facts.confidence,
    )
    return Verdict(
        baseline=baseline.role,
        candidate=candidate.role,
        gained=gained,
        lost=lost,
        n=len(pairs),
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        word=word,
    )


def best(arms: Sequence[Arm], roles: Sequence[Role]) -> Arm | None:
    """The arm with most right rows among roles; the earlier role where there are equally many."""
    found = [arm for arm in arms if arm.measured and arm.role in roles and arm.right]
    return max(found, key=lambda arm: (arm.right.count if arm.right else 0, -roles.index(arm.role)), default=None)


def main_errors(arm: Arm, alpha: float) -> str:
    """form, knowledge or reasoning when more than half of the wrong answers surely are so; "" when none surely is."""
    groups = Counter[str]()
    for kind, found in arm.errors.items():
        groups[group_of(kind)] += found.count
    if not groups.total():
        return ""
    name, count = max(groups.items(), key=lambda item: (item[1], item[0]))
    others = groups.total() - count
    return name if count > others and exact_mcnemar(count, others) < alpha else ""


def decide_lever(facts: Facts) -> Decision:
    """The recommendation."""
    measured = [arm for arm in facts.arms if arm.measured and arm.right]
    n = max((arm.right.n for arm in measured if arm.right), default=0)
    if facts.total_rows < facts.fewest_rows:
        return _few_rows(facts)
    if n < SMALLEST_SAMPLE:
        return _cannot(
            "too few held-out rows",
            f"{n} held-out rows tell nothing apart; a verdict takes {SMALLEST_SAMPLE} at the very least.",
            "more held-out rows (test_size)",
        )
    enough = _enough(facts)
    if enough:
        return enough
    other = best(measured, ("zero-shot", "prompt", "retrieval", "bigger"))
    if other is None or other.right is None:
        return _cannot("no arm without tuning", "No arm without tuning was measured.", "measuring the base")
    if other.right.high >= facts.target:
        rows = _rows_needed(other, facts)
        return _cannot(
            "the target may be reached already",
            f"{_named(other)} has {_range(other)} of the rows right, and the target of {facts.target:.0%} lies inside.",
            f"about {rows:,} held-out rows" if rows else "more held-out rows, or another target",
        )
    if not facts.searched:
        return _cannot(
            "no prompt was searched for",
            "That prompting falls short is only credible after a search for the best prompt, and there was none.",
            "prompt_budget above 0, and validation rows",
        )
    return _gap(facts, measured, other)


def _few_rows(facts: Facts) -> Decision:
    return Decision(
        "collect more data",
        f"fewer than {facts.fewest_rows} rows in all",
        f"{facts.total_rows} rows are too few to tell the levers apart, and too few to tune on.",
        (f"{facts.fewest_rows} rows or more; some hundreds, to see differences of ten points",),
    )


def _enough(facts: Facts) -> Decision | None:
    """Something without tuning surely reaches the target: the simplest that does."""
    for roles, recommendation in ((PLAIN, "prompt"), (("retrieval",), "retrieval")):
        for role in roles:
            arm = best(facts.arms, (role,))  # type: ignore[arg-type]
            if arm and arm.right and arm.right.low >= facts.target:
                return Decision(
                    recommendation,  # type: ignore[arg-type]
                    "an arm without tuning surely reaches the target",
                    f"{_named(arm)} has {_range(arm)} of the rows right; the target is {facts.target:.0%}.",
                    ("a higher target", "a cost per answer that a shorter prompt would lower (`tunesmith cost`)"),
                )
    return None


def _gap(facts: Facts, measured: Sequence[Arm], other: Arm) -> Decision:
    """No arm without tuning reaches the target: what its errors are, and what the others do about them."""
    prompt = best(measured, PLAIN) or other
    retrieval = best(measured, ("retrieval",))
    tuned, both = best(measured, ("tuned",)), best(measured, ("tuned + retrieval",))
    gap = f"{_named(other)}, the best without tuning, has {_range(other)} of the rows right, below {facts.target:.0%}."
    group = main_errors(prompt, 1 - facts.confidence)
    if group == "knowledge":
        return _knowledge(facts, gap, prompt, retrieval, both)
    if both and tuned and _better(facts, tuned, both) and _better(facts, other, both):
        return Decision(
            "fine-tune + retrieval",
            "the tuned model with retrieval is better than without, and better than every arm without tuning",
            f"{gap} {_named(both)} has {_range(both)}.",
            ("a retrieval arm that reaches the target",),
        )
    if tuned:
        return _tuned(facts, gap, other, tuned)
    if group == "form":
        return Decision(
            "fine-tune",
            "errors of form (format, style, terminology, refusal) surely are most of the errors",
            f"{gap} {_mix(prompt)} A tuned run was not measured yet: train one and add it with --add.",
            ("a tuned run that is not better than the best prompt", "an instruction that reaches the target"),
        )
    what = "errors of reasoning are most of the errors" if group else "no kind of error surely is most of the errors"
    return _cannot(
        what, f"{gap} {_mix(prompt)}", "a tuned run (--add RUN)", "a bigger base (assess.bigger)", "more held-out rows"
    )


def _knowledge(facts: Facts, gap: str, prompt: Arm, retrieval: Arm | None, both: Arm | None) -> Decision:
    rule = "errors of knowledge surely are most of the errors of the best prompt"
    if retrieval is None or retrieval.right is None:
        measured = "and the corpus could not be asked" if facts.has_corpus else "and no corpus was given"
        return Decision(
            "retrieval",
            f"{rule}; retrieval was not measured",
            f"{gap} {_mix(prompt)} Facts come from documents, not from examples; {measured}, so this was not measured.",
            ("a corpus that does not hold the facts", "a retrieval arm that is not better than the best prompt"),
        )
    if _better(facts, prompt, retrieval):
        if both and _better(facts, retrieval, both):
            return Decision(
                "fine-tune + retrieval",
                f"{rule}; retrieval is better, and better still with a tuned model",
                f"{gap} Retrieval has {_range(retrieval)} right, with the tuned model {_range(both)}.",
                ("a retrieval arm that reaches the target",),
            )
        return Decision(
            "retrieval",
            f"{rule}; retrieval is better than the best prompt",
            f"{gap} {_mix(prompt)} With retrieval {_range(retrieval)} are right.",
            ("a tuned model with retrieval that is better still (--add RUN)", "a better prompt for retrieval"),
        )
    found = retrieval.facts_found
    if found and found.high < 0.5:
        return Decision(
            "collect more data",
            f"{rule}; the passages do not hold the facts",
            f"{gap} Only {found.count} of {found.n} rows find their facts in the passages that were given.",
            ("documents that hold the facts", "another way to search (assess.retrieval)"),
        )
    if found and found.low > 0.5 and retrieval.right.high < facts.target:
        return Decision(
            "fine-tune + retrieval",
            f"{rule}; the passages hold the facts, and the model does not use them",
            f"{gap} {found.count} of {found.n} rows find their facts in the passages; {_range(retrieval)} are right.",
            ("a bigger base that uses the passages (assess.bigger)", "a tuned run that does not help (--add RUN)"),
        )
    return _cannot(rule, f"{gap} Whether retrieval helps is not visible on these rows.", "more held-out rows")


def _tuned(facts: Facts, gap: str, other: Arm, tuned: Arm) -> Decision:
    found = compare(facts, other, tuned)
    change = f"{_named(tuned)} has {_range(tuned)} right: {found.gained} rows gained, {found.lost} lost."
    if found.word == "better":
        return Decision(
            "fine-tune",
            "the tuned model is better than every arm without tuning",
            f"{gap} {change}",
            ("a prompt or a bigger base that reaches the target", "costs that it does not earn back"),
        )
    if found.word in ("equivalent", "worse"):
        recommendation: Recommendation = "retrieval" if other.role == "retrieval" else "prompt"
        return Decision(
            recommendation,
            f"the tuned model is {found.word if found.word == 'worse' else 'no better'}",
            f"{gap} {change} Nothing reaches the target; tuning as it was done does not help.",
            ("other training rows or settings", "a bigger base (assess.bigger)"),
        )
    return _cannot(
        "tuned and the best other arm cannot be told apart", f"{gap} {change}", "more held-out rows", "another run"
    )


def _better(facts: Facts, before: Arm, after: Arm) -> bool:
    return compare(facts, before, after).word == "better"


def _cannot(rule: str, sentence: str, *would_change: str) -> Decision:
    return Decision("cannot tell", rule, sentence, would_change)


def _named(arm: Arm) -> str:
    titles = {
        "zero-shot": "The plain base",
        "prompt": "The best prompt",
        "retrieval": "Retrieval",
        "bigger": "The bigger base",
        "tuned": "The tuned model",
        "tuned + retrieval": "The tuned model with retrieval",
    }
    return titles[arm.role]


def _range(arm: Arm) -> str:
    """``31 % (25 to 38 %)``."""
    assert arm.right is not None
    return f"{arm.right.value:.0%} ({100 * arm.right.low:.0f} to {100 * arm.right.high:.0f} %)".replace("%", " %", 1)


def _mix(arm: Arm) -> str:
    listed = [f"{kind} {found.count}" for kind, found in arm.errors.items() if found.count]
    return f"Its errors: {', '.join(listed)}." if listed else ""


def _rows_needed(arm: Arm, facts: Facts) -> int:
    """Rows from which an interval around the observed share no longer holds the target (normal approximation)."""
    assert arm.right is not None
    gap = abs(arm.right.value - facts.target)
    if not gap:
        return 0
    rows = ceil(1.96**2 * max(arm.right.value * (1 - arm.right.value), 0.01) / gap**2)
    return rows if arm.right.n < rows < 1_000_000 else 0
