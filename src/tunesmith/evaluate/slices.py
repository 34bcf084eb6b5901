"""Parts of the held-out rows that are compared on their own: where a model that is better on the whole is worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from tunesmith.core.artifacts import Slice
from tunesmith.core.records import Example
from tunesmith.evaluate.config import Config

if TYPE_CHECKING:
    from tunesmith.evaluate.metrics import Metric
    from tunesmith.evaluate.verdict import Scored

THIRDS = ("short", "middle", "long")


def by_slice(
    scored: Sequence[Scored], metric: Metric, examples: Sequence[Example], config: Config
) -> tuple[Slice, ...]:
    """Every model against the first on each part of the rows that the config declares, by one metric.

    P-values are corrected over all parts (Holm): among twenty parts one looks bad by chance.
    """
    import numpy as np

    from tunesmith.evaluate.verdict import corrected, judge

    found = []
    for key in config.slices:
        labels = _LABELS[key](examples)
        for label in sorted(set(labels)):
            rows = np.array([i for i, name in enumerate(labels) if name == label])
            part = [
                replace(
                    model, counts={name: counts[rows] for name, counts in model.counts.items() if name == metric.name}
                )
                for model in scored
            ]
            found.append((f"{key}={label}", judge(part, [metric], config, metric.name)[1]))
    family = iter(corrected(list(chain.from_iterable(comparisons for _, comparisons in found)), [metric], config))
    return tuple(Slice(name=name, comparisons=tuple(next(family) for _ in comparisons)) for name, comparisons in found)


def _thirds(lengths: Sequence[int]) -> list[str]:
    """Which third of the lengths each one lies in; equal lengths stay together."""
    ordered = sorted(lengths)
    edges = [ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]]
    return [THIRDS[sum(length >= edge for edge in edges)] for length in lengths]


_LABELS: Mapping[str, Callable[[Sequence[Example]], list[str]]] = {
    "group": lambda examples: [example.group or "(none)" for example in examples],
    "source": lambda examples: [example.source.path or "(none)" for example in examples],
    "length": lambda examples: _thirds([sum(len(m.text) for m in example.messages) for example in examples]),
    "answer_length": lambda examples: _thirds([len(example.target.text) for example in examples]),
}
