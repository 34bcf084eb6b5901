"""Gates: what weighs most, and what a measurement is worth on another artefact."""

from __future__ import annotations

import pytest

from tunesmith.core.gates import ORDER, Figure, Gate, GateVerdict, for_artefact, not_measured, overall


def gate(verdict: GateVerdict, digest: str = "") -> Gate:
    return Gate(name="leak", verdict=verdict, sentence=verdict, subject_digest=digest)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "not measured"),
        (("pass", "pass"), "pass"),
        (("pass", "cannot tell"), "cannot tell"),
        (("cannot tell", "not measured", "pass"), "not measured"),
        (ORDER, "fail"),
    ],
)
def test_the_heaviest_verdict_counts_and_nothing_at_all_is_not_measured(
    verdicts: tuple[GateVerdict, ...], expected: GateVerdict
) -> None:
    assert overall([gate(verdict) for verdict in verdicts]) == expected


def test_a_gate_of_another_artefact_is_worth_nothing() -> None:
    kept, dropped = for_artefact([gate("pass", "a" * 64), gate("pass", "b" * 64)], "a" * 64)
    assert kept.verdict == "pass"
    assert dropped.verdict == "not measured"
    assert dropped.sentence.startswith(
        "not measured: the measurement was made on artefact bbbbbbbbbbbb, and this is artefact aaaaaaaaaaaa"
    )


def test_a_gate_without_digest_does_not_pass_for_any_artefact() -> None:
    [found] = for_artefact([gate("pass")], "a" * 64)
    assert found.verdict == "not measured"
    assert "an unnamed artefact" in found.sentence


def test_gates_survive_json() -> None:
    one = Gate(name="x", verdict="fail", sentence="s", figures=(Figure(name="f", value=0.5, low=0.1, n=3),))
    assert Gate.model_validate_json(one.model_dump_json()) == one
    assert not_measured("x", "no model").sentence == "not measured: no model"
