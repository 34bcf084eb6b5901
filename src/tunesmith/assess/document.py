"""``why-not-prompting.md``: what was tried before training, what it took, and why it fell short."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.core.advice import Advice, Arm, Share


def to_markdown(advice: Advice) -> str:
    """The decision record, for the file of whoever signs."""
    return "\n".join(_lines(advice)) + "\n"


def _lines(advice: Advice) -> Iterator[str]:
    yield f"# {advice.recommendation.capitalize()}"
    yield ""
    yield advice.sentence
    yield ""
    yield f"Rule: {advice.rule}. Target: {advice.target:.0%} of the rows right."
    yield ""
    yield "| arm | right | score | errors | found with | cost of 1,000 answers |"
    yield "|---|---|---|---|---|---|"
    for arm in advice.arms:
        cells = (arm.name, *(cells_of(arm) if arm.measured else (f"not measured: {arm.reason}", "", "", "", "")))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    yield "## Why they fell short"
    yield ""
    for arm in advice.arms:
        if arm.measured:
            yield f"- **{arm.name}** ({arm.plan}): {arm.fell_short or 'it did not: it surely reaches the target'}."
    yield ""
    yield from _probe(advice)
    yield "## What would change this"
    yield ""
    yield from (f"- {change}" for change in advice.would_change)
    yield ""
    yield "## How it was measured"
    yield ""
    yield from (f"- {note}" for note in advice.notes)
    rows = ", ".join(f"{count} {name}" for name, count in advice.rows.items())
    yield f"- Rows: {rows}; all arms answered the same held-out rows with the same decoding. Metric: {advice.metric}."
    yield f"- Prompts were chosen on validation rows alone. A row is right from {advice.pass_score:g} of the scale on."
    yield ""
    yield f"{advice.created_at[:10]}, {advice.who or '[[MISSING: who answers for this, key assess.who]]'}. "
    yield f"Advice {advice.advice_id}; data {advice.dataset_digest[:16] or 'without a digest'}."


def cells_of(arm: Arm) -> tuple[str, str, str, str, str]:
    """Right, score, errors, search and cost of a measured arm, in words."""
    errors = ", ".join(f"{kind} {found.count}" for kind, found in arm.errors.items() if found.count)
    spent = (
        f"{arm.spent.asked} of {arm.spent.allowed} answers, {arm.spent.candidates} prompts" if arm.spent.allowed else ""
    )
    cost = "not priced"
    if arm.cost_per_1000 is not None:
        low, high = arm.cost_per_1000.low, arm.cost_per_1000.high
        cost = f"{arm.cost_per_1000.mid:.3g} {arm.currency}" + ("" if low == high else f" ({low:.3g} to {high:.3g})")
    score = "" if arm.score is None else f"{arm.score:.3g}"
    if arm.low is not None and arm.high is not None:
        score += f" ({arm.low:.3g} to {arm.high:.3g})"
    return share_text(arm.right), score, errors or "none", spent, cost


def share_text(share: Share | None) -> str:
    """``31 % (25 to 38 %) of 200``."""
    if share is None:
        return "not measured"
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f} %) of {share.n}"


def _probe(advice: Advice) -> Iterator[str]:
    yield "## What the base knows"
    yield ""
    probe = advice.probe
    if probe is None:
        yield "Not probed (assess.probe_rows: 0)."
    elif not probe.rows:
        yield f"Not probed: {probe.note}."
    else:
        note = f" {probe.note.capitalize()}." if probe.note else ""
        yield (
            f"Of {probe.rows} rows whose question does not give its facts away, {share_text(probe.sampled)} had them "
            f"in one of {probe.samples} sampled answers; in {share_text(probe.ranked)} the wanted answer was likelier "
            f"than those of {probe.others} other rows.{note}"
        )
    yield ""
