"""How varied the rows are, and whether they look like what is asked in production.

Clusters are k-means over hashed TF-IDF of the questions, brought to 50 dimensions; the classifier of the two-sample
test (Lopez-Paz & Oquab 2017, arXiv:1610.06545) is a logistic regression over the same words, judged on rows that it
did not see. Both look at a sample of rows that is drawn by the hash of each row, so that their order changes nothing.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record, Source
from tunesmith.curate.checks.observe import Outcome, Setting
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import normalise
from tunesmith.curate.reading.place import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIVERSITY = "diversity"
REPRESENTATIVE = "like production"

LEAST_ROWS = 40
"""Below so many rows neither clusters nor a classifier say anything."""

_TERMS = 6
_SEED = 0


class DiversityOptions(Record):
    """When a data set is called one-sided."""

    largest_cluster: float = Field(
        default=0.5, gt=0.0, le=1.0, description="Share of the rows in one cluster from which it is said aloud."
    )
    sample: int = Field(default=5_000, ge=100, description="Rows that clusters are made of.")


class ProductionOptions(Record):
    """What is asked in production, to compare the rows with."""

    production: str = Field(
        default="", description="Data file with real requests (their answers may be anything); empty: not compared."
    )
    auc: float = Field(
        default=0.7,
        gt=0.5,
        lt=1.0,
        description="A classifier that tells training from production rows better than this makes a warning.",
    )
    sample: int = Field(default=4_000, ge=100, description="Rows of each side that are compared.")


class Sample:
    """The texts of the rows with the smallest hashes: the same rows in whatever order they come."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, int, str]] = []
        self.seen = 0

    def add(self, text: str) -> None:
        """Offer a text."""
        self.seen += 1
        item = (-_point(text), -self.seen, text)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    @property
    def texts(self) -> list[str]:
        """The sampled texts, in the order of their hashes."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]


def _point(text: str) -> int:
    """A number from the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


class Diversity:
    """Distinct n-grams of the answers, lengths, and clusters of the questions."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.diversity
        self._sample = Sample(self._options.sample)
        self._grams: list[set[int]] = [set(), set(), set()]
        self._words = [0, 0, 0]
        self._files: Counter[str] = Counter()
        self._turns: Counter[int] = Counter()

    def see(self, row: Row) -> Iterable[Finding]:
        """Count; nothing is said about one row."""
        self._sample.add(row.asked or row.answered)
        self._files[row.example.source.path] += 1
        self._turns[len(row.example.messages)] += 1
        if row.number % self._every(row.number) == 0:
            words = row.answered.split()
            for n in (1, 2, 3):
                grams = [hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1)]
                self._grams[n - 1].update(grams)
                self._words[n - 1] += len(grams)
        return ()

    @staticmethod
    def _every(number: int) -> int:
        """Every row at first, then ever fewer, so that the sets stay small."""
        return 1 << max(0, (number // 5_000).bit_length() - 1)

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The clusters, and the numbers."""
        if len(corpus) < LEAST_ROWS:
            return Outcome(not_checked=f"diversity (fewer than {LEAST_ROWS} rows)")
        distinct = {
            f"distinct-{n}": len(grams) / total
            for n, grams, total in zip((1, 2, 3), self._grams, self._words, strict=True)
            if total
        }
        clusters = clusters_of(self._sample.texts)
        largest = clusters[0]
        figures: dict[str, Any] = {
            **{name: round(value, 4) for name, value in distinct.items()},
            "clusters": len(clusters),
            "effective clusters": round(_effective([share for share, _ in clusters]), 1),
            "largest cluster": f"{largest[0]:.0%}: {', '.join(largest[1])}",
            "rows by file": dict(self._files),
            "rows by turns before the answer": {str(n): rows for n, rows in sorted(self._turns.items())},
            "rows sampled for clusters": min(self._options.sample, len(corpus)),
        }
        return Outcome(list(self._one_sided(largest)), figures=figures)

    def _one_sided(self, largest: tuple[float, Sequence[str]]) -> Iterable[Finding]:
        share, terms = largest
        if share > self._options.largest_cluster:
            yield Finding(
                check=DIVERSITY,
                severity="info",
                message=f"{share:.0%} of the questions are alike: {', '.join(terms)}",
                source=Source(path=next(iter(self._files))),
                fix="if production asks for more than this, add rows of the other kinds; if not, all is well",
            )


def clusters_of(texts: Sequence[str]) -> list[tuple[float, list[str]]]:
    """Share and typical words of each cluster, the largest first.

    The number of clusters is the square root of half the rows, at most 40.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    tfidf, names = _words(texts)
    if tfidf.shape[1] == 0:
        return [(1.0, [])]
    dimensions = min(50, tfidf.shape[1] - 1, tfidf.shape[0] - 1)
    dense = normalize(TruncatedSVD(dimensions, random_state=_SEED).fit_transform(tfidf)) if dimensions > 1 else None
    points = tfidf.toarray() if dense is None else dense
    wanted = min(40, max(2, round(math.sqrt(len(texts) / 2))), len(np.unique(points.round(6), axis=0)))
    labels = KMeans(wanted, n_init=1, random_state=_SEED, max_iter=50).fit_predict(points)
    overall = np.asarray(tfidf.mean(axis=0)).ravel()
    found = []
    for label in np.unique(labels):
        members = labels == label
        typical = np.asarray(tfidf[members].mean(axis=0)).ravel() - overall
        best = [names[i] for i in np.argsort(-typical, kind="stable")[:_TERMS] if typical[i] > 0]
        found.append((float(members.mean()), best))
    return sorted(found, key=lambda each: (-each[0], each[1]))


def _words(texts: Sequence[str]) -> tuple[Any, list[str]]:
    """TF-IDF of the words (rows × words, sparse) and the words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rare = 2 if len(texts) >= LEAST_ROWS else 1
    vectoriser = TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", sublinear_tf=True, min_df=rare, max_features=20_000, lowercase=False
    )
    try:
        return vectoriser.fit_transform(texts), vectoriser.get_feature_names_out().tolist()
    except ValueError:  # no word stands in two texts
        from scipy.sparse import csr_matrix

        return csr_matrix((len(texts), 0)), []


def _effective(shares: Sequence[float]) -> float:
    """How many clusters of equal size would be as varied: exp of the entropy."""
    return math.exp(-sum(share * math.log(share) for share in shares if share))


class LikeProduction:
    """Whether a classifier can tell the training rows from real requests, and by which words."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.like_production
        self._sample = Sample(self._options.sample)

    def see(self, row: Row) -> Iterable[Finding]:
        """Keep a sample of the training questions."""
        if self._options.production and row.split in (None, "train"):
            self._sample.add(normalise(_asked(row)))
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The area under the curve with its interval, and the words that give a side away."""
        options = self._options
        if not options.production:
            return Outcome(not_checked="likeness to production (no file of real requests: checks.like_production)")
        from tunesmith.curate.reading.read import read_file

        production = Sample(options.sample)
        for row in Corpus(read_file(options.production)):
            production.add(normalise(_asked(row)))
        ours, theirs = self._sample.texts, production.texts
        if min(len(ours), len(theirs)) < LEAST_ROWS:
            least = min(len(ours), len(theirs))
            return Outcome(
                not_checked=f"likeness to production ({count(least, 'row')} on one side, {LEAST_ROWS} needed)"
            )
        found = two_samples(ours, theirs)
        figures = {
            "AUC": round(found.auc, 3),
            "95 % interval": f"{found.low:.3f} to {found.high:.3f}",
            "rows compared": f"{len(ours):,} of training, {len(theirs):,} of production",
            "words of production": ", ".join(found.theirs),
            "words of training": ", ".join(found.ours),
        }
        return Outcome(list(self._unlike(found)), figures=figures)

    def _unlike(self, found: TwoSamples) -> Iterable[Finding]:
        if found.low <= 0.5:
            return
        far = found.auc > self._options.auc
        told = f"training and production rows are told apart with AUC {found.auc:.2f}"
        yield Finding(
            check=REPRESENTATIVE,
            severity="warning" if far else "info",
            message=f"{'not representative' if far else 'somewhat different'}: {told} "
            f"(95 % interval {found.low:.2f} to {found.high:.2f}; 0.5 is alike)",
            source=Source(path=self._options.production),
            fix="add training rows like those of production that are missing",
            evidence=f"production has more of: {', '.join(found.theirs)}; training of: {', '.join(found.ours)}",
        )


def _asked(row: Row) -> str:
    """The last question of a row; of a plain text, the text."""
    users = [message.text for message in row.example.messages if message.role == "user"]
    return users[-1] if users else row.question or row.answer


class TwoSamples(Record):
    """Area under the ROC curve of a classifier of two samples, and the words that speak for each side."""

    auc: float
    low: float
    high: float
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def two_samples(ours: Sequence[str], theirs: Sequence[str], folds: int = 5) -> TwoSamples:
    """Out-of-sample AUC with a 95 % interval (DeLong, DeLong & Clarke-Pearson 1988), and the telling words.

    Equal texts stay in one fold, so that a copy on both sides gives nothing away.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    texts = [*ours, *theirs]
    sides = np.r_[np.zeros(len(ours)), np.ones(len(theirs))]
    tfidf, names = _words(texts)
    fold = np.array([_point(text) % folds for text in texts])
    scores = np.zeros(len(texts))
    if tfidf.shape[1]:
        for number in range(folds):
            train, test = fold != number, fold == number
            if test.any() and len(np.unique(sides[train])) == 2:
                model = LogisticRegression(max_iter=300, class_weight="balanced").fit(tfidf[train], sides[train])
                scores[test] = model.decision_function(tfidf[test])
    auc, low, high = delong(scores[sides == 0], scores[sides == 1])
    ours_words, theirs_words = _telling(tfidf, sides, names)
    return TwoSamples(auc=auc, low=low, high=high, ours=ours_words, theirs=theirs_words)


def delong(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUC and its 95 % interval from the scores of both sides; ties count half."""
    import numpy as np
    from scipy.stats import rankdata

    m, n = len(positive), len(negative)
    ranks = rankdata(np.r_[positive, negative])
    auc = (ranks[:m].sum() - m * (m + 1) / 2) / (m * n)
    of_positive = (ranks[:m] - rankdata(positive)) / n
    of_negative = 1 - (ranks[m:] - rankdata(negative)) / m
    spread = 1.96 * math.sqrt(of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n)
    return float(auc), float(max(auc - spread, 0)), float(min(auc + spread, 1))


def _telling(tfidf: Any, sides: Any, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words whose share of rows differs most, for each side."""
    import numpy as np

    if not names:
        return (), ()
    has = tfidf > 0
    difference = np.asarray(has[sides == 1].mean(axis=0)).ravel() - np.asarray(has[sides == 0].mean(axis=0)).ravel()
    order = np.argsort(difference, kind="stable")
    ours = tuple(names[i] for i in order[:_TERMS] if difference[i] < 0)
    theirs = tuple(names[i] for i in order[::-1][:_TERMS] if difference[i] > 0)
    return ours, theirs
