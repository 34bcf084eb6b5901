"""Gates: the questions besides quality that a model has to answer before it may go, each with its figures.

A gate says *pass* only on a measurement that could have said *fail*. What did not run is *not measured*, what ran on
too few rows, or could not have found anything, is *cannot tell*; neither lets a model through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tunesmith.core.records import Record

GateVerdict = Literal["pass", "fail", "cannot tell", "not measured"]

ORDER: tuple[GateVerdict, ...] = ("fail", "not measured", "cannot tell", "pass")
"""From the verdict that weighs most to the one that weighs least."""


class Figure(Record):
    """One number behind a gate, with its interval and how many observations it rests on. None: not measured."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    """How to read the value: "share" (0 to 1), "points" (difference of shares, 0.01 is one point), "bits", ""."""
    note: str = ""


class Gate(Record):
    """The answer to one question about one model: a verdict, a sentence that carries the numbers, and the figures.

    ``subject_digest`` says what was measured: weights, adapter, template and number format (`Sampler.digest`). On
    anything else the gate says nothing; see `for_artefact`.
    """

    name: str
    verdict: GateVerdict
    sentence: str
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    """What the measurement does not establish, and what to know when reading it."""
    subject_digest: str = ""


def not_measured(name: str, why: str, subject_digest: str = "") -> Gate:
    """A gate that did not run. ``why`` completes the sentence "not measured: …"."""
    return Gate(name=name, verdict="not measured", sentence=f"not measured: {why}", subject_digest=subject_digest)


def overall(gates: Sequence[Gate]) -> GateVerdict:
    """The verdict that weighs most; without any gate nothing was measured."""
    found = {gate.verdict for gate in gates}
    return next((verdict for verdict in ORDER if verdict in found), "not measured")


def for_artefact(gates: Sequence[Gate], digest: str) -> tuple[Gate, ...]:
    """The gates as they hold for the artefact with this digest: what was measured on another one says nothing.

    A merged, quantised or retrained model is another artefact, and its gates have to be measured again.
    """
    return tuple(
        gate
        if gate.subject_digest == digest
        else not_measured(
            gate.name,
            f"the measurement was made on {_short(gate.subject_digest)}, and this is {_short(digest)}; "
            "merging, quantising or training again makes another artefact",
            digest,
        )
        for gate in gates
    )


def _short(digest: str) -> str:
    return f"artefact {digest[:12]}" if digest else "an unnamed artefact"
