"""Whose turn it is: deficit round robin over tenants, so that one of them cannot keep the others waiting.

M. Shreedhar, G. Varghese: Efficient Fair Queuing using Deficit Round Robin, SIGCOMM 1995.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, final

T = TypeVar("T")

QUANTUM = 1024
"""Tokens that a tenant may have computed before the next one's turn comes."""


@final
class FairQueue(Generic[T]):
    """Items of tenants with a cost each; every tenant gets the same share of the cost, whatever it sends.

    Not for several threads: the engine's thread owns it.
    """

    def __init__(self, quantum: int = QUANTUM) -> None:
        self._quantum = quantum
        self._items: dict[str, deque[tuple[int, T]]] = {}
        self._deficits: dict[str, int] = {}
        self._turns: deque[str] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def push(self, tenant: str, cost: int, item: T) -> None:
        """Queue an item of ``cost`` (1 or more)."""
        if tenant not in self._items:
            self._items[tenant] = deque()
            self._deficits[tenant] = 0
            self._turns.append(tenant)
        self._items[tenant].append((cost, item))

    def pop(self) -> T:
        """The next item; IndexError when there is none."""
        while True:
            tenant = self._turns[0]
            cost, item = self._items[tenant][0]
            if cost <= self._deficits[tenant]:
                self._deficits[tenant] -= cost
                self._items[tenant].popleft()
                self._forget_empty(tenant)
                return item
            self._deficits[tenant] += self._quantum
            self._turns.rotate(-1)

    def remove(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take out every item that is ``wanted``."""
        taken: list[T] = []
        for tenant, items in list(self._items.items()):
            taken += [item for _, item in items if wanted(item)]
            self._items[tenant] = deque(pair for pair in items if not wanted(pair[1]))
            self._forget_empty(tenant)
        return taken

    def _forget_empty(self, tenant: str) -> None:
        # What an idle tenant did not use is not saved up.
        if not self._items[tenant]:
            del self._items[tenant], self._deficits[tenant]
            self._turns.remove(tenant)
