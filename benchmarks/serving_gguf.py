"""The same model and adapters for llama.cpp: ``python -m benchmarks.serving_gguf JOB.json``.

The model goes through our own exporter, in blocks of 8 bits. Adapters are GGUF files of type adapter: A and B of every
layer, where B of queries and keys has the order of rows that llama.cpp keeps for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from benchmarks.settings import tunesmith
from tunesmith.model.gguf_writer import ARCHITECTURES, PERMUTED, permuted

PREFIX = "base_model.model."


def write(job: dict[str, Any]) -> None:
    """Write the model and its first four adapters."""
    target = Path(job["gguf"])
    target.unlink(missing_ok=True)
    command = tunesmith("export", job["model"], "--format", "gguf", "--type", "q8_0", "--output", str(target))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    config = AutoConfig.from_pretrained(job["model"])
    for index, path in enumerate(job["gguf_adapters"]):
        write_adapter(config, Path(job["adapters"]) / str(index), Path(path))


def write_adapter(config: Any, folder: Path, path: Path) -> None:
    """One PEFT folder as one GGUF file."""
    arch = ARCHITECTURES[config.model_type]
    key = next(k for k, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(key, config.num_hidden_layers)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(settings["lora_alpha"]))
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        layer, part = name.removeprefix(PREFIX).removesuffix(".weight").rsplit(".lora_", 1)
        weights = tensor.float()
        if part == "B" and arch in PERMUTED and layer.endswith("q_proj"):
            weights = permuted(weights, config.num_attention_heads)
        if part == "B" and arch in PERMUTED and layer.endswith("k_proj"):
            weights = permuted(weights, config.num_key_value_heads)
        stored = names.get_name(layer)
        assert stored is not None, layer
        writer.add_tensor(f"{stored}.weight.lora_{part.lower()}", weights.to(torch.float32).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
