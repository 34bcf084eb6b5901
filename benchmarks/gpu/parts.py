"""The parts of the suite: generators of results, each run in a process of its own under its own time limit."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import rivals
from benchmarks.gpu import checks, speed
from benchmarks.gpu.made import LLAMA_8B, LLAMA_70B, Shape, documents, make_base
from benchmarks.results import Result, judged, not_measured
from benchmarks.settings import OFFLINE, Unavailable, environment, run
from tunesmith.model import device
from tunesmith.model.quant import Linear4

BF16 = torch.bfloat16
ALPACA = (73, 98, 121, 146, 178, 214, 267, 351)
"""Tokens of eight rows such as Alpaca's."""

CAP = 48e9
"""Bytes of the graphics cards that the 70B shape is to fit."""


@dataclass(frozen=True)
class Part:
    """A section of the results; ``limit`` in seconds."""

    about: str
    run: Callable[[torch.device], Iterator[Result]]
    limit: float


def correctness(where: torch.device) -> Iterator[Result]:
    """See `benchmarks.gpu.checks`."""
    yield from checks.run(where)


def eight_billion(
    where: torch.device, shape: Shape = LLAMA_8B, lengths: Sequence[int] = (2048,) * 4, steps: int = 6
) -> Iterator[Result]:
    """bf16 LoRA of rank 16 on 4 × 2,048 tokens, recompute off and on, and the speed of matrix products here."""
    base = require_packed(make_base(shape, where, BF16))
    name = f"{shape.name}, {len(lengths)} × {lengths[0]} tokens"
    yield from speed.measure(f"{name}, no recompute", base, shape, lengths, steps, goal=17_000)
    yield from speed.measure(f"{name}, all layers recomputed", base, shape, lengths, max(1, steps // 2), recompute=True)
    yield judged("matrix products, bfloat16", device.gemm_speed(where, BF16) / 1e12, "TFLOP/s", note="random values")


def short_rows(
    where: torch.device, shape: Shape = LLAMA_8B, lengths: Sequence[int] = ALPACA, steps: int = 12
) -> Iterator[Result]:
    """Eight short rows a step, where launches weigh more than arithmetic, beside Unsloth where it is at hand."""
    base = require_packed(make_base(shape, where, BF16))
    name = f"{shape.name}, {len(lengths)} short rows"
    ours = speed.measure(name, base, shape, lengths, steps)
    yield from ours
    del base
    device.release_memory()
    what = f"{name}: speed, ours / Unsloth"
    try:
        theirs = unsloth_rate(where, shape, lengths, steps)
    except Unavailable as error:
        yield not_measured(what, str(error), "≥ 2")
        return
    yield judged(f"{name}: speed, Unsloth", theirs, "tokens/s", note="recompute off")
    if ours[0].value is not None:
        yield judged(what, ours[0].value / theirs, "", at_least=2.0)


def seventy_billion(
    where: torch.device, shape: Shape = LLAMA_70B, sizes: Sequence[int] = (2048, 4096, 8192), steps: int = 1
) -> Iterator[Result]:
    """QLoRA of one document, in a process that may take no more than 48 GB of the device."""
    if importlib.util.find_spec("bitsandbytes") is None:
        yield not_measured(f"{shape.name}, QLoRA", "bitsandbytes is not installed here", "≤ 48 GB")
        return
    cap(where)
    base = require_packed(make_base(shape, where, BF16, four_bit=True))
    for size in sizes:
        offload = size > 4096
        name = f"{shape.name}, QLoRA, {size:,} tokens" + ", layer inputs in the host's memory" * offload
        found = speed.measure(name, base, shape, (size,), steps, recompute=True, offload=offload)
        yield from found
        if found[0].value is not None:
            yield judged(f"{name}: memory of the device", taken(where) / 1e9, "GB", at_most=CAP / 1e9)


def unpacking(
    where: torch.device,
    sides: tuple[int, int] = (14336, 4096),
    tokens: Sequence[int] = (512, 4096),
    seconds: float = 0.5,
) -> Iterator[Result]:
    """What unpacking a 4-bit weight adds to the product that it is unpacked for."""
    what = f"unpacking a {sides[0]}×{sides[1]} weight"
    if importlib.util.find_spec("bitsandbytes") is None:
        yield not_measured(what, "bitsandbytes is not installed here")
        return
    layer = torch.nn.Linear(sides[1], sides[0], bias=False, device=where, dtype=BF16)
    weight = layer.weight.detach().clone()
    packed = Linear4(layer)
    each = timed(packed.dense, where, seconds)
    moved = packed.stored_bytes + weight.numel() * weight.element_size()
    yield judged(what, 1000 * each, "ms", note=f"{moved / each / 1e9:.0f} GB/s read and written")
    for count in tokens:
        x = torch.randn(count, sides[1], device=where).to(BF16)
        product = timed(lambda x=x: F.linear(x, weight), where, seconds)
        yield judged(
            f"… beside its product with {count:,} tokens", 100 * each / product, "%", note=f"{1000 * product:.2f} ms"
        )


PARTS: Mapping[str, Part] = {
    "correctness": Part("what the device computes against the processor and plain formulas", correctness, 100),
    "8B LoRA": Part("LoRA on the 8B shape, 4 × 2,048 tokens", eight_billion, 110),
    "short rows": Part("eight short rows a step on the 8B shape", short_rows, 130),
    "70B QLoRA": Part("QLoRA on the 70B shape under 48 GB", seventy_billion, 160),
    "NF4 unpacking": Part("what unpacking of 4-bit weights costs", unpacking, 30),
}


def require_packed(base: Any) -> Any:
    """The base, when its documents run packed.

    Raises:
        Unavailable: they run one by one, which would measure something else.
    """
    if base.way.alone:
        raise Unavailable(f"the made model is not run packed: {base.way.alone}")
    return base


def cap(where: torch.device) -> None:
    """Let this process allocate no more than `CAP` of the device, what CUDA itself takes included."""
    if where.type == "cuda":
        torch.empty(1, device=where)
        free, total = torch.cuda.mem_get_info(where)
        torch.cuda.set_per_process_memory_fraction((CAP - (total - free)) / total, where)


def taken(where: torch.device) -> float:
    """Bytes of the device that are in use, by whomever; of the process, where there is no GPU."""
    if where.type != "cuda":
        return float(device.peak_memory())
    free, total = torch.cuda.mem_get_info(where)
    return float(total - free)


def timed(work: Callable[[], object], where: torch.device, seconds: float) -> float:
    """Seconds of one run: the median of several, each long enough for the clock."""
    repeats, found = 8, []
    for _ in range(3):
        work()
    spent = 0.0
    while spent < seconds or len(found) < 3:
        each = device.fastest(lambda: _repeated(work, where, repeats), 1)
        spent += each
        found.append(each / repeats)
    return median(found)


def _repeated(work: Callable[[], object], where: torch.device, repeats: int) -> None:
    for _ in range(repeats):
        work()
    device.synchronise(where)


def unsloth_rate(where: torch.device, shape: Shape, lengths: Sequence[int], steps: int) -> float:
    """Tokens a second of Unsloth on a model of this shape, rows of these lengths, LoRA of the same rank.

    Raises:
        Unavailable: it is not at hand, there is no room for the model's files, or it failed.
    """
    python = unsloth_python()
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as name:
        folder = Path(name)
        job = write_job(folder, where, shape, lengths, steps)
        out = folder / "figures.json"
        command = [str(python), "-m", "benchmarks.train_unsloth", str(job), str(out), str(steps + speed.WARM_UP)]
        run([*command, "recompute off"], cwd=folder, env=environment(**OFFLINE))
        figures = json.loads(out.read_text(encoding="utf-8"))
    return sum(lengths) / median(figures["seconds"][speed.WARM_UP :])


def unsloth_python() -> Path:
    """A Python that can import Unsloth.

    Raises:
        Unavailable: there is none.
    """
    beside = rivals.folder() / "unsloth" / "bin" / "python"
    if "TUNESMITH_RIVALS" in os.environ and beside.is_file():
        return beside
    if importlib.util.find_spec("unsloth") is None:
        raise Unavailable("Unsloth is not installed here")
    return Path(sys.executable)


def write_job(folder: Path, where: torch.device, shape: Shape, lengths: Sequence[int], steps: int) -> Path:
    """A job for `benchmarks.train_unsloth`: the model's files, a tokenizer that nobody asks, rows, a fresh adapter.

    Raises:
        Unavailable: the disk has no room for the model.
    """
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    needed = 2 * (shape.linear + 2 * shape.vocabulary * shape.hidden)
    free = shutil.disk_usage(folder).free
    if free < 1.5 * needed:
        raise Unavailable(f"{needed / 1e9:.0f} GB of model files do not fit on the disk ({free / 1e9:.0f} GB are free)")
    base = make_base(shape, where, BF16)
    base.model.set_attn_implementation("eager")
    base.model.save_pretrained(folder / "model")
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(shape.vocabulary)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", pad_token="w0").save_pretrained(folder / "model")
    trainable = checks.fresh(base, speed.RANK)
    (folder / "adapter").mkdir()
    trainable.write(folder / "adapter")
    rows = [
        {"input_ids": list(row.tokens), "labels": [-100, *row.tokens[1:]]}
        for row in documents(tuple(lengths) * 4, shape.vocabulary)
    ]
    count = len(lengths)
    job = {
        "model": str(folder / "model"),
        "adapter": str(folder / "adapter"),
        "dtype": "bfloat16",
        "device": where.type,
        "method": "lora",
        "rows": rows,
        "order": [list(range(start, start + count)) for start in range(0, len(rows), count)],
        "batch": count,
        "warm_up": speed.WARM_UP,
        "learning_rate": 2e-4,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 42,
        "lora_r": speed.RANK,
        "lora_alpha": 2.0 * speed.RANK,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    del base, trainable
    device.release_memory()
    return path
