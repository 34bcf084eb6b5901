"""Two texts beside each other: words, n-grams and edits that an answer has in common with the wanted text.

What gives counts (`Overlap`, tuples of n-gram counts) is made to be added up over rows, so that scores of a whole set,
and of every resample of it, follow from sums. No stemming anywhere: stemmers are made for one language.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CHRF_ORDER = 6
CHRF_BETA = 2.0
BLEU_ORDER = 4

# A word is a run of letters and digits; scripts that are written without spaces count by character.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


@dataclass(frozen=True)
class Overlap:
    """How many things were wanted, how many were given, and how many of those match. Adds up over rows."""

    matched: float
    given: float
    wanted: float

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 0 to 1; None when nothing was wanted and nothing was given."""
        return 2 * self.matched / (self.given + self.wanted) if self.given + self.wanted else None


def exact_match(answer: str, reference: str) -> bool:
    """Equal texts, white space at both ends apart."""
    return answer.strip() == reference.strip()


def words(text: str) -> list[str]:
    """Lower-cased words, without stemming; Chinese and Japanese characters count as a word each."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def token_overlap(answer: str, reference: str) -> Overlap:
    """Words in common, whatever their order; its ``f1`` is the token F1 of question answering."""
    given, wanted = Counter(words(answer)), Counter(words(reference))
    return Overlap((given & wanted).total(), given.total(), wanted.total())


def rouge_l(answer: str, reference: str) -> Overlap:
    """Longest common subsequence of words; its ``f1`` is ROUGE-L (Lin 2004), without stemming."""
    given, wanted = words(answer), words(reference)
    return Overlap(_common_subsequence(given, wanted), len(given), len(wanted))


def rouge_n(answer: str, reference: str, order: int) -> Overlap:
    """Word n-grams in common; its ``f1`` is ROUGE-N (Lin 2004), without stemming."""
    given, wanted = (_grams(words(text), order) for text in (answer, reference))
    return Overlap((given & wanted).total(), given.total(), wanted.total())


def chrf_counts(answer: str, reference: str) -> tuple[int, ...]:
    """Character n-gram counts for chrF: (given, wanted, matched) for each order 1 to 6; white space is ignored.

    Source: Popović, WMT 2015; the counts are those of sacrebleu's default chrF2.
    """
    texts = ["".join(text.split()) for text in (answer, reference)]
    counts: list[int] = []
    for order in range(1, CHRF_ORDER + 1):
        given, wanted = (Counter(t[i : i + order] for i in range(len(t) - order + 1)) for t in texts)
        counts += [given.total() if wanted else 0, wanted.total(), (given & wanted).total()]
    return tuple(counts)


def bleu_counts(answer: str, reference: str) -> tuple[int, ...]:
    """Counts for BLEU: lengths of answer and reference, then n-grams matched and given for each order 1 to 4.

    Tokenised by sacrebleu's default (13a), case kept.
    """
    score = _bleu().corpus_score([answer], [[reference]])
    return (score.sys_len, score.ref_len, *score.counts, *score.totals)


def ter_counts(answer: str, reference: str) -> tuple[float, float]:
    """Counts for TER: edits (shifts of phrases included) and words of the reference, as sacrebleu's default counts.

    Source: Snover et al. 2006.
    """
    score = _ter().corpus_score([answer], [[reference]])
    return float(score.num_edits), float(score.ref_length)


def gleu(answer: str, reference: str) -> float:
    """Google-BLEU of one text, 0 to 1: the smaller of precision and recall of all word 1- to 4-grams.

    Source: Wu et al. 2016, section 4.3. Words are what white space parts, as in NLTK's ``sentence_gleu``.
    """
    given, wanted = (sum((_grams(text.split(), n) for n in range(1, 5)), Counter()) for text in (answer, reference))
    most = max(given.total(), wanted.total())
    return (given & wanted).total() / most if most else 0.0


def meteor(answer: str, reference: str) -> float:
    """METEOR of one text, 0 to 1, by exact words alone: no stemmer and no synonyms, which would be English ones.

    Source: Lavie and Agarwal 2007, with alpha 0.9, beta 3, gamma 0.5. Words are what white space parts, lower-cased,
    aligned as NLTK does: from the end, each with the last free one.
    """
    given, wanted = answer.lower().split(), reference.lower().split()
    places: dict[str, list[int]] = {}
    for place, word in enumerate(wanted):
        places.setdefault(word, []).append(place)
    matches = [(i, places[word].pop()) for i, word in reversed(list(enumerate(given))) if places.get(word)]
    if not matches:
        return 0.0
    matches.sort()
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in itertools.pairwise(matches))
    precision, recall = len(matches) / len(given), len(matches) / len(wanted)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return float((1 - 0.5 * (chunks / len(matches)) ** 3) * mean)


def corpus_signatures() -> dict[str, str]:
    """sacrebleu's signatures of the BLEU, chrF and TER that the counts above belong to."""
    from sacrebleu.metrics.chrf import CHRF

    metrics: dict[str, Any] = {"bleu": _bleu(), "chrf": CHRF(), "ter": _ter()}
    for metric in metrics.values():
        metric.corpus_score(["a"], [["a"]])
    return {name: str(metric.get_signature()) for name, metric in metrics.items()}


@functools.cache
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU()


@functools.cache
def _ter() -> Any:
    from sacrebleu.metrics.ter import TER

    return TER()


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table at a time in the bits of one integer.

    Source: Hyyrö, Bit-parallel LCS-length computation revisited (2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        kept = row & places.get(word, 0)
        row = ((row + kept) | (row - kept)) & full
    return len(first) - row.bit_count()
