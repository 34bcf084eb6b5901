"""Labels that are probably wrong: confident learning on out-of-sample probabilities.

When the answers of a data set are a few labels, a plain classifier (TF-IDF of words and logistic regression) learns
them in five folds, and so judges every row without having seen it. A row is suspect when another label is at least as
probable as it is, on average, for the rows that carry that label. Rows with the same words stay in one fold, so a wrong
label is never confirmed by its own copy. The same rows give the same result in any order.

Source: Northcutt, Jiang and Chuang, "Confident Learning", Journal of Artificial Intelligence Research 70 (2021).
"""

from __future__ import annotations

import re
import warnings
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Finding, Record
from tunesmith.core.stats import wilson_interval
from tunesmith.curate.checks.labelset import LabelCounts
from tunesmith.curate.checks.observe import EVIDENCE, Outcome, Setting, finding
from tunesmith.curate.checks.values import quoted
from tunesmith.curate.corpus import Corpus, Row
from tunesmith.curate.keys import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LABELS = "label errors"
FOLDS = 5
FEWEST = 10
"""Rows that a label needs to be learned and judged."""
SMALLEST_GAIN = 0.3
"""How far above guessing the most frequent label the classifier must be, as a share of what is left."""

_NO_LABEL = 0xFFFF
_CHARACTERS = 2000
_ITERATIONS = 30


class LabelOptions(Record):
    """Labels that are probably wrong."""

    fitted: int = Field(
        default=10_000, ge=200, description="Rows that the classifier is fitted on; every row is judged in any case."
    )


@dataclass(frozen=True)
class Suspects:
    """Judgement of rows: their positions, most doubtful first, with the label that fits better."""

    positions: NDArray[np.intp]
    better: NDArray[np.intp]
    given_probability: NDArray[np.float32]
    better_probability: NDArray[np.float32]


class LabelErrors:
    """Answers that are labels: the rows whose label does not fit their question."""

    def __init__(self, setting: Setting) -> None:
        self._options = setting.options.labels
        self._counts = LabelCounts()
        self._ids: dict[str, int] = {}
        self._given = array("H")

    def see(self, row: Row) -> Iterable[Finding]:
        """Nothing about one row alone."""
        label = None if row.example.is_document else self._counts.add(row.answer)
        known = label is not None and (label in self._ids or len(self._ids) < _NO_LABEL)
        self._given.append(self._ids.setdefault(label, len(self._ids)) if label is not None and known else _NO_LABEL)
        return ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """The suspects, most doubtful first."""
        import numpy as np

        counts = self._counts.labels
        labels = sorted(label for label, n in (counts or {}).items() if n >= FEWEST)
        if len(labels) < 2:
            return Outcome(not_checked="the answers are no labels (a few short texts that come again and again)")
        new_id = np.full(_NO_LABEL + 1, -1)
        for i, label in enumerate(labels):
            new_id[self._ids[label]] = i
        given = new_id[np.frombuffer(self._given, np.uint16)]
        numbers = np.flatnonzero(given >= 0)
        texts = [normalise(corpus[int(number)].question[:_CHARACTERS]) for number in numbers]
        probabilities = out_of_sample(texts, given[numbers], len(labels), self._options.fitted, progress)
        gain = _gain(probabilities, given[numbers])
        if gain < SMALLEST_GAIN:
            return Outcome(
                not_checked=f"the labels do not follow from the words of the questions (kappa {gain:.2f})",
                figures={"labels": len(labels), "kappa": gain},
            )
        found = suspects(probabilities, given[numbers])
        interval = wilson_interval(len(found.positions), len(numbers))
        figures = {
            "labels": len(labels),
            "rows": len(numbers),
            "fitted": min(len(numbers), self._options.fitted),
            "suspect": len(found.positions),
            "suspect_rate": len(found.positions) / len(numbers),
            "suspect_rate_interval": [interval.low, interval.high],
            "kappa": gain,
        }
        return Outcome(_findings(found, numbers, given, labels, corpus), figures=figures)


def _findings(
    found: Suspects, numbers: Sequence[int], given: Sequence[int], labels: Sequence[str], corpus: Corpus
) -> list[Finding]:
    findings = []
    for i, position in enumerate(found.positions):
        number = int(numbers[position])
        given_label, better = quoted(labels[given[number]], 40), quoted(labels[found.better[i]], 40)
        findings.append(
            finding(
                LABELS,
                "warning",
                f"the label is {given_label}; other rows with such words have {better}",
                corpus[number].example,
                "look at the row, and correct its label if it is wrong",
                evidence=(
                    f"probability without this row: {better} {found.better_probability[i]:.2f}, "
                    f"{given_label} {found.given_probability[i]:.2f}"
                )[:EVIDENCE],
            )
        )
    return findings


def out_of_sample(
    texts: Sequence[str], given: NDArray[Any], labels: int, fitted: int, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Probability of each label for each text from a classifier that has not seen it: rows × labels.

    Args:
        texts: normalised questions.
        given: label of each text, 0 to ``labels`` - 1.
        labels: how many labels there are.
        fitted: rows that are used for fitting at most; those with the smallest hash.
        progress: called after each fold.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    hashes = np.array([zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in texts], np.uint32)
    order = np.lexsort((given, hashes))
    chosen = np.sort(order[:fitted]) if len(texts) > fitted else order
    words = TfidfVectorizer(min_df=2, sublinear_tf=True, max_features=20_000, dtype=np.float32, token_pattern=_TOKEN)
    try:
        words.fit([texts[i] for i in chosen])
    except ValueError:  # no word stands in two rows: nothing can be learned
        return np.full((len(texts), labels), 1 / labels, np.float32)
    matrix = words.transform(texts)
    folds = hashes % FOLDS
    probabilities = np.zeros((len(texts), labels), np.float32)
    for fold in range(FOLDS):
        train = chosen[folds[chosen] != fold]
        train = train[np.lexsort((given[train], hashes[train]))]
        held = np.flatnonzero(folds == fold)
        if not len(held) or len(np.unique(given[train])) < 2:
            continue
        model = LogisticRegression(C=5.0, max_iter=_ITERATIONS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the ranking is stable long before the optimum
            model.fit(matrix[train], given[train])
        probabilities[np.ix_(held, model.classes_)] = model.predict_proba(matrix[held])
        if progress:
            progress(fold + 1, FOLDS)
    return probabilities


_TOKEN = re.compile(r"\w+").pattern


def suspects(probabilities: NDArray[np.float32], given: NDArray[Any]) -> Suspects:
    """Rows whose confident label is another one than the given, by the margin between the two."""
    import numpy as np

    rows, labels = probabilities.shape
    own = probabilities[np.arange(rows), given]
    counts = np.maximum(np.bincount(given, minlength=labels), 1)
    thresholds = np.bincount(given, weights=own, minlength=labels) / counts
    confident = np.where(probabilities >= np.maximum(thresholds, 1 / labels), probabilities, 0)
    better = confident.argmax(axis=1)
    chosen = np.flatnonzero((confident.max(axis=1) > 0) & (better != given))
    chosen = chosen[np.argsort((own - probabilities[np.arange(rows), better])[chosen], kind="stable")]
    return Suspects(chosen, better[chosen], own[chosen], probabilities[chosen, better[chosen]])


def _gain(probabilities: NDArray[np.float32], given: NDArray[Any]) -> float:
    """Accuracy of the classifier above the share of the most frequent label, as a share of what is left to gain."""
    import numpy as np

    accuracy = float((probabilities.argmax(axis=1) == given).mean())
    guess = float(np.bincount(given).max() / len(given))
    return (accuracy - guess) / max(1 - guess, 1e-9)
