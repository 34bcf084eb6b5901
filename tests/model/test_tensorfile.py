"""Files of tensors that somebody else made: what is not whole and well made is refused before it is used."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from tests.model.test_residency import folders  # noqa: F401
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import AdapterError, CorruptArtifactError
from tunesmith.model.adapters import CONFIG, WEIGHTS, read_adapter
from tunesmith.model.tensorfile import HEADER_BYTES, TENSORS, read_tensors

HERE = Path("x.safetensors")
MUTATIONS = 10_000 if os.environ.get("TUNESMITH_TORTURE") else 300


def file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_a_whole_file_is_read() -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.zeros(0, 3)}
    read = read_tensors(HERE, save(tensors, {"format": "pt"}))
    assert {name: (t.dtype, t.tolist()) for name, t in read.items()} == {
        name: (t.dtype, t.tolist()) for name, t in tensors.items()
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it has 0 bytes"),
        ((HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (HEADER_BYTES + 1), "its header claims"),
        ((2**63).to_bytes(8, "little") + b"{}", "its header claims"),
        (file(b"[" * 100_000), "nested too deep"),
        (file([]), "not a JSON object"),
        (file(b"\xff\xff"), "utf-8"),
        (file(b'{"a": 1, "a": 2}'), "names something twice"),
        (file({"__metadata__": {"a": 1}}), "metadata are not texts"),
        (file({"a": {"dtype": "F32"}}), "lacks dtype, shape or place"),
        (file({"a": entry([1], 0, 4, "I64")}, bytes(4)), "has the format 'I64'"),
        (file({"a": entry([-1], 0, 4)}, bytes(4)), "has no shape"),
        (file({"a": entry([True], 0, 4)}, bytes(4)), "has no shape"),
        (file({"a": entry([1] * 9, 0, 4)}, bytes(4)), "has no shape"),
        (file({"a": entry([2], 0, 4)}, bytes(4)), "does not fit its shape"),
        (file({"a": entry([2**40, 2**40], 0, 4)}, bytes(4)), "does not fit its shape"),
        (file({"a": entry([1], 4, 0)}, bytes(4)), "does not fit its shape"),
        (file({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(8)), "overlap, or leave a gap"),
        (file({"a": entry([1], 4, 8)}, bytes(8)), "overlap, or leave a gap"),
        (file({"a": entry([1], 0, 4)}, bytes(8)), "its tensors end at byte 4 of 8"),
        (file({"a": entry([2], 0, 8)}, bytes(4)), "its tensors end at byte 8 of 4"),
        (file({str(i): entry([0], 0, 0) for i in range(TENSORS + 1)}), f"at most {TENSORS} are taken"),
        (file({"a": entry([1], 0, 4)}, b"\x00\x00\xc0\x7f"), "a holds numbers that are not finite"),
    ],
)
def test_what_is_not_well_made_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(CorruptArtifactError, match=r"x\.safetensors cannot be read") as caught:
        read_tensors(HERE, content)
    assert problem in caught.value.what


def test_changed_folders_are_refused(folders: list[Path], tmp_path: Path) -> None:  # noqa: F811
    """Bits flip, ends are cut, bytes are put in: at any place of any file of an adapter.

    What lists the files may be written in another way (a space more); it is read as what it was, or refused.
    """
    draw = random.Random(0)
    target = tmp_path / "adapter"
    target.mkdir()
    originals = {path.name: path.read_bytes() for path in folders[0].iterdir()}
    for name, content in originals.items():
        (target / name).write_bytes(content)
    digest = read_adapter(target).digest
    names = sorted(originals)
    refused = 0
    for _ in range(MUTATIONS):
        name = draw.choice(names)
        changed = bytearray(originals[name])
        at = draw.randrange(len(changed))
        kind = draw.randrange(3)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at:]
        else:
            changed[at:at] = bytes([draw.randrange(256)])
        (target / name).write_bytes(bytes(changed))
        try:
            found = read_adapter(target).digest
        except (CorruptArtifactError, AdapterError):
            refused += 1
        else:
            assert (name, found) == (MANIFEST, digest)
        (target / name).write_bytes(originals[name])
    assert refused >= MUTATIONS * 0.95


def test_settings_that_are_no_settings(folders: list[Path], tmp_path: Path) -> None:  # noqa: F811
    for content in (b"[]", b"{", b"[" * 100_000, b" " * (1024 * 1024 + 1)):
        (tmp_path / CONFIG).write_bytes(content)
        (tmp_path / WEIGHTS).write_bytes(b"")
        with pytest.raises(AdapterError, match=r"adapter_config\.json cannot be read"):
            read_adapter(tmp_path)
