"""Environments of the rivals: one virtual environment each, made once, apart from ours.

They lie under ``build/rivals`` (not tracked), or where ``TUNESMITH_RIVALS`` points.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.settings import ROOT, run, say

TORCH = "torch==2.13.0"
FOUR_BIT = "bitsandbytes==0.50.2"
TRL = ("trl==1.16.0", "peft==0.21.2", "transformers")
UNSLOTH = ("unsloth==2026.10.9", "unsloth_zoo==2026.10.9", "cut_cross_entropy")
UNSLOTH_NEEDS = (
    *("transformers==5.17.0", "trl==1.15.0", "peft==0.21.2", "datasets>=4.6,<5", "accelerate", "bitsandbytes", "tyro"),
    *("protobuf", "sentencepiece", "hf_transfer", "nest-asyncio", "json5", "structlog", "typer", "rich", "pydantic"),
    *("psutil", "regex", "pillow", "msgspec", "torchao", "einops", "triton", "wheel", "requests"),
)
"""What Unsloth's processor path imports; its own list adds 2 GB for graphics cards, and bounds that no index meets."""

PERSONAL = ("euredact==0.7.0", "presidio-analyzer==2.2.366", "deduce==3.0.6")
"""Searches for personal data; none needs torch."""

LLAMA = ("numpy", "typing_extensions", "diskcache", "jinja2", "llama-cpp-python==0.3.36")
"""llama.cpp by its Python package, which is built from source: a C++ compiler and cmake are needed."""

CONSTRAINED = ("transformers", "peft", "tokenizers", "safetensors", "numpy", "huggingface_hub", "accelerate")


def folder() -> Path:
    """Where the environments lie."""
    return Path(os.environ.get("TUNESMITH_RIVALS") or ROOT / "build" / "rivals").resolve()


def trl_python(four_bit: bool = False) -> Path:
    """The Python that has TRL; its environment is made when it is not there.

    Args:
        four_bit: with what packs weights into 4 bits, which is added to the environment when it is wanted first.

    Raises:
        Unavailable: it cannot be made.
    """
    python = _environment("trl", TRL)
    mark = python.parents[1] / ".installed-4-bit"
    if four_bit and not mark.is_file():
        say(f"adding {FOUR_BIT} to the environment of TRL")
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run([*pip, "--no-deps", FOUR_BIT], env=dict(os.environ))
        mark.write_text(FOUR_BIT, encoding="utf-8")
    return python


def unsloth_python() -> Path:
    """The Python that has Unsloth; its environment is made when it is not there.

    Raises:
        Unavailable: it cannot be made.
    """
    return _environment("unsloth", UNSLOTH_NEEDS, alone=UNSLOTH)


def personal_python() -> Path:
    """The Python that has the searches for personal data; its environment is made when it is not there.

    Raises:
        Unavailable: it cannot be made.
    """
    return _environment("personal", PERSONAL, torch="")


def llama_python() -> Path:
    """The Python that has llama.cpp; its environment is made, and llama.cpp built, when it is not there.

    Raises:
        Unavailable: it cannot be made.
    """
    return _environment("llama", LLAMA, torch="")


def _environment(name: str, requirements: tuple[str, ...], alone: tuple[str, ...] = (), torch: str = TORCH) -> Path:
    """``alone``: packages whose own requirements are not followed; versions are shared with us where there are none."""
    place = folder() / name
    python, mark = place / "bin" / "python", place / ".installed"
    torches = (torch,) if torch else ()
    wanted = "\n".join((*torches, *requirements, *alone))
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return python
    say(f"making the environment of {name} in {place} (once)")
    place.parent.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", "--clear", str(place)])
    constraints = place / "constraints.txt"
    constraints.write_text("" if alone or not torches else "\n".join(_shared_versions()) + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if torches:
        run([*pip, *torches], env=dict(os.environ))
    run([*pip, "--constraint", str(constraints), *torches, *requirements], env=dict(os.environ))
    if alone:
        run([*pip, "--no-deps", *alone], env=dict(os.environ))
    mark.write_text(wanted, encoding="utf-8")
    return python


def _shared_versions() -> list[str]:
    """Our own pins of the packages that both use, so that the libraries below are the same."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in CONSTRAINED]
