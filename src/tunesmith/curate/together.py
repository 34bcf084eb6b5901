"""Which rows must stand on one side of a split: equal questions, near duplicates, and what the data call one group.

Rows hang together by links (equal question, same group, near-duplicate question), and so do rows that are linked to the
same third row. Near duplicates can chain data of one mould into a single cluster; where that would tie up more than a
fifth of the rows, these rows stay together by question and group alone, and it is said.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.core.records import Example
from tunesmith.core.spool import Spool
from tunesmith.curate.checks.near import Tell, near_duplicates
from tunesmith.curate.corpus import Row

LARGEST, FEW = 0.2, 5
"""A near-duplicate cluster with more than this share of the rows, and more than so many, is taken apart."""


@dataclass(frozen=True)
class Together:
    """``of[i]`` is the number of the party of row i; ``keys`` names each party by its content."""

    of: Sequence[int]
    keys: Sequence[str]
    questions: int
    loose: int = 0
    """Rows whose near duplicates may stand on another side, because too many hang together."""
    largest: int = 0
    """Rows of the largest cluster that was taken apart."""
    not_compared: int = 0
    """Pairs of questions of one mould that were not compared, at most."""


class _Union:
    """Disjoint sets of numbers; the root is the least number of a set."""

    def __init__(self, parent: Sequence[int] = ()) -> None:
        self.parent = array("q", parent)

    def grow(self) -> int:
        self.parent.append(len(self.parent))
        return len(self.parent) - 1

    def root(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, a: int, b: int) -> None:
        a, b = sorted((self.root(a), self.root(b)))
        self.parent[b] = a


def together(examples: Sequence[Example], tell: Tell | None = None) -> Together:
    """The parties of the rows; ``tell`` receives progress."""
    numbers: dict[str, int] = {}
    groups: dict[str, int] = {}
    texts, firm, question_of = Spool(str), _Union(), array("q")
    rows = array("q")
    for number, example in enumerate(examples):
        row = Row(number, example)
        key = row.prompt_key
        question = numbers.setdefault(key, len(numbers))
        if question == len(rows):
            texts.append(row.answered if example.is_document else row.asked)
            firm.grow()
            rows.append(0)
        rows[question] += 1
        question_of.append(question)
        if example.group:
            firm.join(groups.setdefault(example.group, question), question)
    wide = _Union(firm.parent)
    near = near_duplicates(texts, tell=tell)
    for cluster in near.clusters:
        for member in cluster.members[1:]:
            wide.join(cluster.members[0], member)
    huge = _too_large(wide, firm, rows)
    party = [firm.root(q) if wide.root(q) in huge else wide.root(q) for q in range(len(rows))]
    names = _names(party, numbers, groups)
    order = {root: i for i, root in enumerate(names)}
    of = array("q", (order[party[question]] for question in question_of))
    loose, largest = sum(huge.values()), max(huge.values(), default=0)
    return Together(of, list(names.values()), len(rows), loose, largest, near.not_compared)


def _too_large(wide: _Union, firm: _Union, rows: Sequence[int]) -> dict[int, int]:
    """Root → rows of the clusters that hold too many rows, unless one group or question makes all of it."""
    size: dict[int, int] = {}
    parts: dict[int, set[int]] = {}
    for question, count in enumerate(rows):
        root = wide.root(question)
        size[root] = size.get(root, 0) + count
        parts.setdefault(root, set()).add(firm.root(question))
    limit = max(FEW, LARGEST * sum(rows))
    return {root: count for root, count in size.items() if count > limit and len(parts[root]) > 1}


def _names(party: Sequence[int], numbers: dict[str, int], groups: dict[str, int]) -> dict[int, str]:
    """Root → name: of a party with groups the first of these, else the least key of its questions."""
    names: dict[int, str] = {}
    for key, question in numbers.items():
        names[party[question]] = min(key, names.get(party[question], key))
    for group in sorted(groups, reverse=True):
        names[party[groups[group]]] = f"group {group}"
    return names
