"""Which of several processes this is: the variables that torchrun and every launcher of its kind sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith.core.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Process ``rank`` of ``world``, and ``local_rank`` of the ``local_world`` on this machine; all count from 0."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0


def place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process; 0 of 1 where no launcher says otherwise.

    Raises:
        ConfigError: the variables contradict each other, or some are missing.
    """
    values = os.environ if environment is None else environment
    if values.get("WORLD_SIZE", "1") == "1":
        return Place()
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not values.get(name)]
    if missing:
        raise _broken(f"WORLD_SIZE is {values['WORLD_SIZE']}, and {', '.join(missing)} is not set", missing[0])
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    wrong = [name for name in names if not values[name].isdigit()]
    if wrong:
        raise _broken(f"{wrong[0]} is {values[wrong[0]]!r}, not a number", wrong[0])
    rank, world, local_rank = (int(values[name]) for name in names)
    if rank >= world:
        raise _broken(f"RANK is {rank} of a WORLD_SIZE of {world}", "RANK")
    given = values.get("LOCAL_WORLD_SIZE", "")
    return Place(rank, world, local_rank, int(given) if given.isdigit() else local_rank + 1)


def _broken(what: str, where: str) -> ConfigError:
    return ConfigError(
        what,
        where=f"environment variable {where}",
        rule="processes that train together know RANK (below WORLD_SIZE), LOCAL_RANK, MASTER_ADDR and MASTER_PORT",
        fix="start with `torchrun --nproc-per-node 2 -m tunesmith train CONFIG.yaml`, or unset WORLD_SIZE",
    )
