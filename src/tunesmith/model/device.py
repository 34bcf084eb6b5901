"""The only place that asks about hardware, beside the number of cores (`core.cores`): memory, number formats, speed."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping

import torch

from tunesmith.core.artifacts import Machine
from tunesmith.core.cores import choose_threads, counted, usable_cores
from tunesmith.core.ranks import place

FORMATS: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""Number formats of a base, by the name that configs and cards use."""

FOUR_BIT = "-nf4"
"""What the name of a format ends in when the linear layers are packed into 4 bits."""


def parse_format(name: str) -> tuple[torch.dtype | None, bool]:
    """ "bfloat16", "float32" or "auto" (None: the hardware's best), and whether the linear layers are in 4 bits."""
    return FORMATS.get(name.removesuffix(FOUR_BIT)), name.endswith(FOUR_BIT)


PREPARED_VARIABLE, PREPARED = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"


def use_all_cores() -> str:
    """Set torch's threads as `choose_threads` says; returns the reason in words.

    oneDNN is told to keep fewer prepared products: rows differ in length, and each of its 1,024 places holds memory of
    its own. 64 of them took 0.4 GiB less for a run of 2.4 GiB, at the same speed.
    """
    os.environ.setdefault(PREPARED_VARIABLE, PREPARED)
    threads, reason = choose_threads()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return f"{counted(threads, 'thread')}: {reason}"


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device | None = None) -> bool:
    """Whether the device multiplies bf16 matrices in hardware (AVX512-BF16 or AMX on a CPU)."""
    device = device or default_device()
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _cpu_has("avx512_bf16", "amx_bf16")


def _cpu_has(*flags: str) -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:
            text = file.read()
    except OSError:
        return False
    return any(flag in text for flag in flags)


def default_dtype(device: torch.device | None = None) -> torch.dtype:
    """bf16 where the hardware multiplies it, else fp32."""
    return torch.bfloat16 if has_fast_bf16(device) else torch.float32


def total_memory() -> int:
    """Bytes of RAM of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_memory() -> int:
    """Bytes of RAM that can be had without swapping, the container's limit respected."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            used = int(file.read())
        free = min(free, int(limit) - used) if limit != "max" else free
    except (OSError, ValueError):
        pass
    return free


def peak_memory(where: torch.device | None = None) -> int:
    """Most memory that this process has held so far, in bytes: resident on the CPU, allocated on a GPU.

    A child inherits its parent's ``ru_maxrss``, so Linux's own mark of this very process is asked first.
    """
    if where is not None and where.type == "cuda":
        return torch.cuda.max_memory_allocated(where)
    peak = _status("VmHWM")
    if peak is None:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = used if platform.system() == "Darwin" else used * 1024
    return peak


def used_memory(where: torch.device | None = None) -> int:
    """Memory that this process holds now, in bytes; where the system does not say, the most that it has held."""
    if where is not None and where.type == "cuda":
        return torch.cuda.memory_allocated(where)
    return _status("VmRSS") or peak_memory()


def reset_peak_memory(where: torch.device | None = None) -> None:
    """Let `peak_memory` count from now on; nothing happens where the system cannot do that."""
    if where is not None and where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        return
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _status(name: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="ascii", errors="ignore") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return int(lines[name].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def free_memory(where: torch.device | None = None) -> int:
    """Bytes that can still be had on a device: of a GPU, or this process's share of the machine's."""
    if where is not None and where.type == "cuda":
        free, _ = torch.cuda.mem_get_info(where)
        return free + torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
    return available_memory() // place().local_world


def release_memory() -> None:
    """Give back what the GPU's allocator keeps for later, so that a second try finds it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: of the GPU, of the CPU's allocator, of Python."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def random_state() -> tuple[torch.Tensor, torch.Tensor | None]:
    """State of the random generators: the CPU's, and the GPU's where there is one."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


def set_random_state(state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Go back to a state that `random_state` gave."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Random numbers of their own for each step and process, the same ones whenever the step is done."""
    torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)


def environment() -> dict[str, str]:
    """What a run record states about the machine and the libraries."""
    import safetensors
    import tokenizers
    import transformers

    threads, _ = choose_threads()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "safetensors": safetensors.__version__,
        "platform": platform.platform(),
        "device": device_name(),
        "threads": str(threads),
        "processes": str(place().world),
    }


def device_name() -> str:
    """The processor or the GPU, by name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def describe() -> dict[str, str]:
    """The machine in words: processor, cores and threads with the reason, memory, number format, GPU."""
    threads, reason = choose_threads()
    gib = 1024**3
    return {
        "device": device_name(),
        "cores": str(usable_cores()),
        "threads": f"{threads} ({reason})",
        "memory": f"{available_memory() / gib:.1f} of {total_memory() / gib:.1f} GiB available",
        "number format": "bf16 in hardware" if has_fast_bf16() else "fp32 (no fast bf16 here)",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def machine() -> Machine:
    """The machine as a record, with a short measurement of its speed."""
    threads, reason = choose_threads()
    return Machine(
        facts=describe(),
        threads=threads,
        threads_reason=reason,
        fast_bf16=has_fast_bf16(),
        available_memory_bytes=available_memory(),
        gflops=measure_gemm(),
    )


def measure_gemm(rows: int = 1024, width: int = 1536, seconds: float = 0.4) -> dict[str, float]:
    """GFLOP/s of a matrix product (rows × width · width × width) on the processor, on one thread and on all.

    Random data: zeros run faster than anything real. On a busy machine the second figure falls below the first.
    """
    threads, _ = choose_threads()
    dtype = default_dtype(torch.device("cpu"))  # also where there is a GPU: this measures the processor
    a, b = torch.randn(rows, width).to(dtype), torch.randn(width, width).to(dtype)
    before = torch.get_num_threads()
    figures = {}
    try:
        for name, count in {"one thread": 1, **({f"{threads} threads": threads} if threads > 1 else {})}.items():
            torch.set_num_threads(count)
            each = _time(lambda: torch.nn.functional.linear(a, b), seconds)
            figures[name] = 2.0 * rows * width * width / each / 1e9
    finally:
        torch.set_num_threads(before)
    return figures


def gemm_speed(where: torch.device, dtype: torch.dtype, rows: int = 1024, width: int = 1536) -> float:
    """FLOP/s of a matrix product on a device with the threads that are set; takes a fifth of a second.

    What `tunesmith train` calls utilisation is a share of this.
    """
    if where.type == "cuda":
        rows = width = 8192
    generator = torch.Generator(where).manual_seed(0)  # a run's own generator must not move
    sizes = ((rows, width), (width, width))
    a, b = (torch.randn(size, device=where, generator=generator).to(dtype) for size in sizes)

    def work() -> None:
        torch.nn.functional.linear(a, b)
        synchronise(where)

    return 2.0 * rows * width * width / _time(work, 0.2)


def synchronise(where: torch.device) -> None:
    """Wait until the GPU has done what it was given; the CPU has by then."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def fastest(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of some runs."""
    return min(_seconds(work) for _ in range(times))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _time(work: Callable[[], object], budget: float) -> float:
    work()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < budget:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best
