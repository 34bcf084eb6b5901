"""Several processes train one model: joining, adding up, waiting, and ending together.

Everything here does nothing, at no cost, where there is one process. Small numbers travel over gloo on the CPU, weights
and gradients over the device's own way (gloo or NCCL). What only the first process does (measuring, writing) may take
long, so the others ask for its end every now and then, instead of waiting in a collective that would time out.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tunesmith.core.errors import ConfigError, TrainingError, TunesmithError
from tunesmith.core.ranks import place

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith.train.config import Config

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 2.0
"""How long a process that failed waits to see whether the first one failed likewise, and speaks for both."""

LINGER_SECONDS = 3.0
"""How long a process that has nothing to say stays; the launcher ends it sooner, once the first one has spoken."""

_TURN, _FAILED = "turn", "failed"


class _FirstFailed(Exception):
    """The first process has ended with an error while this one waited for it."""


class _Meeting:
    """The store that all processes see, and how many turns of the first one this process has seen."""

    store: Any = None
    turns = 0


def first() -> bool:
    """Whether this is the process that prints and writes."""
    return place().is_first


def world() -> int:
    """Number of processes that train together; 1 as long as none have joined."""
    return place().world if _Meeting.store is not None else 1


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes for the length of the block; alone, nothing happens.

    An error ends all: the launcher stops the others, and a connection that breaks ends whoever waits on it. One process
    speaks for an error that all of them have.

    Raises:
        ConfigError: no GPU for this process. TrainingError: another process has ended.
    """
    if place().world == 1:
        yield
        return
    import torch.distributed as dist

    _join()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        _end(error)
    else:
        dist.destroy_process_group()
    finally:
        _Meeting.store, _Meeting.turns = None, 0


def _join() -> None:
    import torch
    import torch.distributed as dist

    here, gpus = place(), torch.cuda.device_count()
    if gpus:
        if here.local_rank >= gpus:
            raise ConfigError(
                f"process {here.local_rank} of this machine has no GPU: there are {gpus}",
                where="environment variable LOCAL_RANK",
                rule="each process trains on a GPU of its own",
                fix=f"start at most {gpus} processes a machine: torchrun --nproc-per-node {gpus}",
            )
        torch.cuda.set_device(here.local_rank)
    try:
        store, rank, size = next(dist.rendezvous("env://"))
        _Meeting.store = dist.PrefixStore("tunesmith", store)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size)
    except RuntimeError as error:
        raise TrainingError(
            f"the processes do not find each other: {_first_line(error)}",
            where=f"rank {here.rank} of {here.world}",
            rule="all of them meet at MASTER_ADDR:MASTER_PORT, and connect to each other directly",
            fix="check that address, and name the network card in GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME)",
        ) from error


def _end(error: BaseException) -> NoReturn:
    """Leave because of an error: loudly where it is news, silently where the first process says the same."""
    lost = _is_lost(error)
    if first():
        with suppress(RuntimeError):
            _Meeting.store.set(_FAILED, type(error).__name__)
        if lost:
            raise _lost(error) from error
        raise error
    code = error.exit_code if isinstance(error, TunesmithError) else TunesmithError.exit_code
    if lost or _said_by_first(error):
        time.sleep(LINGER_SECONDS)  # a launcher ends all as soon as one has failed, and the first is about to speak
        raise SystemExit(code) from None
    raise error


def _said_by_first(error: BaseException) -> bool:
    """Whether the first process has, or is about to have, an error of the same kind."""
    end = time.monotonic() + PATIENCE_SECONDS
    with suppress(RuntimeError):
        while time.monotonic() < end:
            if _Meeting.store.check([_FAILED]):
                return bool(_Meeting.store.get(_FAILED).decode() == type(error).__name__)
            time.sleep(POLL_SECONDS)
    return False


def _is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    import torch.distributed as dist

    if isinstance(error, (dist.DistError, _FirstFailed)):
        return True
    words = ("closed by peer", "reset by peer", "broken pipe", "gloo", "nccl", "waitforhandshake", "store-based")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _lost(error: BaseException) -> TrainingError:
    here = place()
    return TrainingError(
        f"another process has ended or cannot be reached: {_reason(error)}",
        where=f"rank {here.rank} of {here.world}",
        rule="processes that train together end together",
        fix="see what it said above; where it said nothing, it was killed (lack of memory?). "
        "The same command goes on from the last checkpoint, with any number of processes",
    )


def _reason(error: BaseException) -> str:
    """What broke, without the file names and jokes of gloo and NCCL."""
    found = re.search(r"connection \w+ by peer|broken pipe|connection refused|timed? ?out", str(error), re.IGNORECASE)
    return found.group().lower() if found else _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def in_turn() -> Iterator[None]:
    """A block that the first process goes through alone and the others after it, finding what it left."""
    if not first():
        after_first()
    yield
    if first():
        after_first()


def after_first() -> None:
    """A point that no process passes before the first one has reached it. It waits for nobody."""
    if world() == 1:
        return
    _Meeting.turns += 1
    if first():
        _Meeting.store.add(_TURN, 1)
        return
    while _Meeting.store.add(_TURN, 0) < _Meeting.turns:
        if _Meeting.store.check([_FAILED]):
            raise _FirstFailed
        time.sleep(POLL_SECONDS)


def summed(values: Sequence[float]) -> list[float]:
    """Sum of each number over all processes, in float64."""
    return _reduced(values, "SUM")


def most(value: float) -> float:
    """The largest of all processes' values."""
    return _reduced([value], "MAX")[0]


def least(value: float) -> float:
    """The smallest of all processes' values."""
    return _reduced([value], "MIN")[0]


def _reduced(values: Sequence[float], operation: str) -> list[float]:
    if world() == 1:
        return list(values)
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(list(values), dtype=torch.float64)
    dist.all_reduce(tensor, op=getattr(dist.ReduceOp, operation))
    return [float(value) for value in tensor.tolist()]


def add_up(tensor: Tensor) -> None:
    """Put the sum over all processes in place of a tensor, with the same bits everywhere."""
    if world() > 1:
        import torch.distributed as dist

        dist.all_reduce(tensor)


def same(text: str) -> bool:
    """Whether all processes hold the same text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
    return most(number) == least(number)


def require_same(facts: Mapping[str, str]) -> None:
    """Refuse to train together what differs.

    Raises:
        ConfigError: names the fact.
    """
    for name, value in facts.items():
        if not same(value):
            here = place()
            raise ConfigError(
                f"the processes differ in: {name}",
                where=f"rank {here.rank} of {here.world}",
                rule="all processes of a run have the same configuration, data, base and checkpoints",
                fix="give all machines the same files, with output_dir and TUNESMITH_HOME on a disk that they share",
            )


def refuse_alone(config: Config, offload: object) -> None:
    """Refuse in several processes what only one alone can do, before anything is loaded.

    Raises:
        ConfigError: names the key and the way out.
    """
    alone = {
        "activation_offload: true": (offload is True, "set gradient_checkpointing: true instead"),
        "master_dtype: bfloat16": (config.master_dtype == "bfloat16", "keep the fp32 copy: it is divided as well"),
        "optim: adamw_8bit": (config.optim == "adamw_8bit", "keep optim: adamw: its state is divided as well"),
    }
    for what, (wanted, way_out) in alone.items():
        if place().world > 1 and config.method == "full" and wanted:
            raise ConfigError(
                f"{what} with method: full on several processes",
                where=what.partition(":")[0],
                rule="weights that are divided over processes are kept in fp32, and come and go with each layer",
                fix=f"take {what.partition(':')[0]} out; {way_out}",
            )
