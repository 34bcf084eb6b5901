"""Deficit round robin: each tenant the same share of the work, whatever it sends."""

from __future__ import annotations

from collections import Counter

import pytest

from tunesmith.serve.fair import FairQueue


def test_a_flood_does_not_keep_others_waiting() -> None:
    queue: FairQueue[str] = FairQueue(quantum=100)
    for _ in range(50):
        queue.push("loud", 100, "loud")
    for _ in range(3):
        queue.push("quiet", 100, "quiet")
    first = [queue.pop() for _ in range(6)]
    assert Counter(first) == {"loud": 3, "quiet": 3}
    assert len(queue) == 47


def test_shares_are_of_tokens_not_of_requests() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(quantum=100)
    for _ in range(200):
        queue.push("long", 1000, ("long", 1000))
        queue.push("short", 50, ("short", 50))
    done: Counter[str] = Counter()
    for _ in range(200):
        tenant, cost = queue.pop()
        done[tenant] += cost
    assert abs(done["long"] - done["short"]) <= 1100


def test_order_within_a_tenant_and_removal() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(6):
        queue.push("a", 1, number)
    assert queue.remove(lambda number: number % 2 == 0) == [0, 2, 4]
    assert [queue.pop() for _ in range(3)] == [1, 3, 5]
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()
