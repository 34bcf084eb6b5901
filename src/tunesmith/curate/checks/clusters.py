"""What kinds of questions a data set asks: clusters with their typical words and a row of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, ignore, ticking
from tunesmith.core.records import Record, Source
from tunesmith.curate.checks.diversity import LEAST_ROWS, Sample, clusters_of
from tunesmith.curate.config import Config
from tunesmith.curate.corpus import Row
from tunesmith.curate.keys import normalise
from tunesmith.curate.reading.read import read


class Cluster(Record):
    """Rows that ask alike. ``source`` and ``question`` are those of the row with the most of its words."""

    share: float
    words: tuple[str, ...]
    source: Source
    question: str


def question_clusters(config: Config, emit: Emit = ignore) -> list[Cluster]:
    """The clusters of the questions (of plain texts, of the texts), the largest first, from a sample of the rows.

    Raises:
        DataError: a row cannot be read, or there are too few.
    """
    sample = Sample(config.checks.diversity.sample)
    for _, asked in _asked(config, emit):
        sample.add(normalise(asked))
    if sample.seen < LEAST_ROWS:
        raise DataError(
            f"{sample.seen} rows are too few for clusters",
            where=", ".join(spec.path for spec in config.datasets),
            rule=f"clusters need {LEAST_ROWS} rows",
            fix="read the rows themselves: tunesmith data show without --clusters",
        )
    texts = sample.texts
    found = [(share, tuple(words), _most_of(words, texts)) for share, words in clusters_of(texts)]
    wanted = {text for _, _, text in found}
    places: dict[str, tuple[Source, str]] = {}
    for source, asked in _asked(config, ignore):
        if (text := normalise(asked)) in wanted:
            places.setdefault(text, (source, asked))
    return [
        Cluster(share=share, words=words, source=places[text][0], question=places[text][1])
        for share, words, text in found
    ]


def _asked(config: Config, emit: Emit) -> Iterator[tuple[Source, str]]:
    for spec in config.datasets:
        for example in read(spec, ticking(emit, f"reading {Path(spec.path).name}")):
            row = Row(0, example)
            yield example.source, row.question or row.answer


def _most_of(words: Sequence[str], texts: Sequence[str]) -> str:
    """The shortest of the texts that have the most of these words."""
    return max(texts, key=lambda text: (len(set(words) & set(text.split())), -len(text), text))
