"""The only place that asks about hardware: threads, memory, number formats, speed."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Mapping

import torch

FORMATS: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""Number formats of a base, by the name that configs and cards use."""

FOUR_BIT = "-nf4"
"""What the name of a format ends in when the linear layers are packed into 4 bits."""


def parse_format(name: str) -> tuple[torch.dtype | None, bool]:
    """ "bfloat16", "float32" or "auto" (None: the hardware's best), and whether the linear layers are in 4 bits."""
    return FORMATS.get(name.removesuffix(FOUR_BIT)), name.endswith(FOUR_BIT)


THREADS_VARIABLE = "TUNESMITH_THREADS"


def usable_cores() -> int:
    """Cores that this process may use: its CPU affinity, cut by the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _container_quota()
    return max(1, min(cores, quota)) if quota else cores


def _container_quota() -> int | None:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            limit, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(1, round(int(limit) / int(period)))


def choose_threads() -> tuple[int, str]:
    """Number of threads for matrix work, and the reason in words.

    An inherited ``OMP_NUM_THREADS`` is not obeyed: launchers set it to 1 without telling anybody, which halves the
    speed on two cores. ``TUNESMITH_THREADS`` is the way to ask for fewer.
    """
    cores = usable_cores()
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted), f"{THREADS_VARIABLE}={wanted}"
    inherited = os.environ.get("OMP_NUM_THREADS", "")
    if inherited and inherited != str(cores):
        return cores, f"all {cores} usable cores (inherited OMP_NUM_THREADS={inherited} is not obeyed)"
    return cores, f"all {cores} usable cores"


def use_all_cores() -> str:
    """Set torch's threads as `choose_threads` says; returns the reason in words."""
    threads, reason = choose_threads()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return f"{threads} threads: {reason}"


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


def peak_memory() -> int:
    """Highest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


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


def measure_gemm(rows: int = 1024, width: int = 1536, seconds: float = 0.4) -> dict[str, float]:
    """GFLOP/s of a matrix product (rows × width · width × width) in the default dtype, on one thread and on all.

    Random data: zeros run faster than anything real. On a busy machine the second figure falls below the first.
    """
    threads, _ = choose_threads()
    a = torch.randn(rows, width).to(default_dtype())
    b = torch.randn(width, width).to(default_dtype())
    before = torch.get_num_threads()
    figures = {}
    try:
        for name, count in (("one thread", 1), (f"{threads} threads", threads)):
            torch.set_num_threads(count)
            each = _time(lambda: torch.nn.functional.linear(a, b), seconds)
            figures[name] = 2.0 * rows * width * width / each / 1e9
    finally:
        torch.set_num_threads(before)
    return figures


def _time(work: Callable[[], object], budget: float) -> float:
    work()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < budget:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best
