"""Reading a safetensors file that somebody else may have made: judged in full before a single tensor is.

The file is read once, so that what was hashed and judged is what is used. Format: 8 bytes with the header's length
(little-endian), a JSON object that gives each tensor's dtype, shape and place, and the tensors' bytes, without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tunesmith.core.errors import CorruptArtifactError

Tensor = torch.Tensor
HEADER_BYTES = 4 * 1024 * 1024
TENSORS = 20_000
SIDES = 8
"""Most sides of a tensor."""

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, for the formats that weights of an adapter come in."""


def read_tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a file by name, from its bytes.

    Raises:
        CorruptArtifactError: not a complete, well-made file of at most ``TENSORS`` finite tensors.
    """
    try:
        check_header(content)
        from safetensors.torch import load

        tensors = load(content)
    except Exception as error:  # safetensors and torch raise several kinds, and all mean the same to the user
        raise _refused(path, str(error)) from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(path, f"{name[:200]} holds numbers that are not finite")
    return dict(sorted(tensors.items()))


def _refused(path: Path, reason: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"{path.name} cannot be read: {reason}",
        where=str(path),
        rule="the file must be complete safetensors, with finite weights in 16 to 64 bits",
        fix="copy the adapter again or train it again",
    )


def check_header(content: bytes) -> None:
    """Judge the header of a safetensors file.

    Raises:
        ValueError: what is wrong, in words.
    """
    if len(content) < 8:
        raise ValueError(f"it has {len(content)} bytes")
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(HEADER_BYTES, len(content) - 8):
        raise ValueError(f"its header claims {length} bytes; at most {HEADER_BYTES}, and no more than the file has")
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("its header is nested too deep") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ValueError("its metadata are not texts")
    if len(header) > TENSORS:
        raise ValueError(f"it has {len(header)} tensors, and at most {TENSORS} are taken")
    end = 0
    for start, stop in sorted(_place(name, entry) for name, entry in header.items()):
        if start != end:
            raise ValueError(f"tensors overlap, or leave a gap, at byte {min(start, end)}")
        end = stop
    if end != len(content) - 8 - length:
        raise ValueError(f"its tensors end at byte {end} of {len(content) - 8 - length}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names something twice")
    return found


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends; ValueError when that is not what its shape says."""
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:200]!r} lacks dtype, shape or place")
    width, shape, place = WIDTHS.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if width is None:
        raise ValueError(f"{name[:200]!r} has the format {str(entry['dtype'])[:20]!r}")
    if not _counts(shape) or len(shape) > SIDES:
        raise ValueError(f"{name[:200]!r} has no shape")
    if not _counts(place) or len(place) != 2 or place[1] - place[0] != width * math.prod(shape):
        raise ValueError(f"the place of {name[:200]!r} does not fit its shape")
    return place[0], place[1]


def _counts(value: Any) -> bool:
    """A list of numbers that count something."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)
