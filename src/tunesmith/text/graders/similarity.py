"""How alike two texts are, 0 to 1: the measures of the ``text_similarity`` grader."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tunesmith.text.graders import strings

Embedder = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Texts to vectors of one length, for cosine."""


def fuzzy_match(answer: str, reference: str) -> float:
    """Insertions and deletions between the two, as rapidfuzz's ratio over 100."""
    from rapidfuzz import fuzz

    return float(fuzz.ratio(answer, reference)) / 100.0


def sentence_bleu(answer: str, reference: str) -> float:
    """sacrebleu's BLEU of one sentence (effective order) over 100."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(effective_order=True).sentence_score(answer, [reference]).score) / 100.0


def cosine(embed: Embedder, answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """Cosine of the angle between the vectors of each pair."""
    vectors = embed([*answers, *references])
    return [_cosine(a, b) for a, b in zip(vectors[: len(answers)], vectors[len(answers) :], strict=True)]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def _rouge(order: int) -> Callable[[str, str], float]:
    return lambda answer, reference: strings.rouge_n(answer, reference, order).f1 or 0.0


MEASURES: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": sentence_bleu,
    "gleu": strings.gleu,
    "meteor": strings.meteor,
    **{f"rouge_{order}": _rouge(order) for order in range(1, 6)},
    "rouge_l": lambda answer, reference: strings.rouge_l(answer, reference).f1 or 0.0,
}
"""All but cosine, which needs a model that turns texts into vectors."""
