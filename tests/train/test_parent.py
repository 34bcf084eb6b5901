"""Going on from an adapter, and the question where it will be served: answered before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import build_model
from tests.train import job
from tunesmith import lifecycle, train
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.config import Settings
from tunesmith.core.errors import AdapterError, ConfigError
from tunesmith.core.store import Workspace
from tunesmith.model.adapters import read_adapter
from tunesmith.train import AdapterConfig, verify


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Reload", job.InstantReload)


@pytest.fixture(scope="module")
def parent(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "parent"
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "Reload", job.InstantReload)
        job.train(tiny_model, out, job.config(max_steps=4))
    return out


def going_on(adapter: Path, **changes: Any) -> AdapterConfig:
    return job.ADAPTER.model_copy(update={"init_adapter": str(adapter), "lora_dropout": 0.0, **changes})


def test_training_begins_where_the_parent_ended(tiny_model: Path, parent: Path, tmp_path: Path) -> None:
    config = job.config(learning_rate=1e-6, max_steps=1)
    record = job.train(tiny_model, tmp_path / "child", config, adapter=going_on(parent / "adapter"))
    before, after = read_adapter(parent / "adapter"), read_adapter(tmp_path / "child" / "adapter")
    assert record.parent_digest == before.digest
    assert RunRecord.model_validate_json((tmp_path / "child" / "run.json").read_bytes()) == record
    for name, weights in before.weights.items():
        torch.testing.assert_close(after.weights[name], weights, atol=1e-5, rtol=0)


def test_a_child_is_another_run_than_one_that_began_anew(tiny_model: Path, parent: Path, tmp_path: Path) -> None:
    config = job.config(max_steps=1)
    fresh = job.train(
        tiny_model, tmp_path / "fresh", config, adapter=going_on(Path()).model_copy(update={"init_adapter": ""})
    )
    child = job.train(tiny_model, tmp_path / "child", config, adapter=going_on(parent / "adapter"))
    assert fresh.run_id != child.run_id
    assert fresh.parent_digest == ""
    aimed = job.ADAPTER.model_copy(update={"deploy_to": "vllm", "lora_dropout": 0.0})
    same = job.train(tiny_model, tmp_path / "aimed", config, adapter=aimed)
    assert same.run_id == fresh.run_id, "where it is served changes nothing in training"


def test_the_parent_belongs_to_the_same_base(parent: Path, tmp_path: Path) -> None:
    other = build_model(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match="the adapter was trained on another base"):
        job.train(other, tmp_path / "child", job.config(max_steps=1), adapter=going_on(parent / "adapter"))
    assert not (tmp_path / "child").exists()


def test_every_trained_weight_has_a_beginning(tiny_model: Path, parent: Path, tmp_path: Path) -> None:
    fewer = going_on(parent / "adapter", lora_target_modules=("q_proj",))
    with pytest.raises(AdapterError, match="the adapter to go on from has other weights than are trained here: model"):
        job.train(tiny_model, tmp_path / "child", job.config(max_steps=1), adapter=fewer)


# --- what the settings become ----------------------------------------------------------------------------------------


def settings(folder: Path, **values: object) -> Settings:
    path = folder / "tunesmith.yaml"
    path.write_text(json.dumps({"datasets": [{"path": "rows.jsonl"}], **values}))
    return lifecycle.load_settings(path)


def taken_over(folder: Path, **values: object) -> AdapterConfig:
    workspace = Workspace.open(folder / "home")
    return train.take_over(settings(folder, **values), workspace).stage("adapter", AdapterConfig)


def peft(folder: Path, **values: object) -> Path:
    folder.mkdir(exist_ok=True)
    given = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"], **values}
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x", **given}))
    return folder


def test_the_shape_comes_from_the_parent(parent: Path, tmp_path: Path) -> None:
    shape = taken_over(tmp_path, init_adapter=str(parent))
    assert (shape.lora_r, shape.lora_alpha) == (4, job.ADAPTER.lora_alpha)
    assert shape.init_adapter == str((parent / "adapter").resolve())
    peft(tmp_path / "theirs", use_dora=True, rank_pattern={"q_proj": 2})
    shape = taken_over(tmp_path, init_adapter="theirs", lora_r=4)
    assert (shape.lora_target_modules, shape.use_dora) == (("q_proj", "v_proj"), True)
    assert shape.rank_pattern == {"q_proj": 2}
    found = train.take_over(settings(tmp_path, init_adapter="theirs"), Workspace.open(tmp_path / "home"))
    assert "from init_adapter" in found.origins["lora_r"]
    assert taken_over(tmp_path) == AdapterConfig()


def test_a_shape_that_contradicts_the_parent_is_refused(tmp_path: Path) -> None:
    peft(tmp_path / "theirs")
    with pytest.raises(ConfigError, match="lora_r is 8, and the adapter to go on from has 4") as error:
        taken_over(tmp_path, init_adapter="theirs", lora_r=8)
    assert error.value.where.startswith(str(tmp_path / "tunesmith.yaml"))
    assert "take lora_r out: it is read from" in error.value.fix


def test_a_parent_of_another_kind_is_refused(tmp_path: Path) -> None:
    peft(tmp_path / "theirs", peft_type="IA3")
    with pytest.raises(ConfigError, match="method: lora cannot go on from an adapter of the kind IA3") as error:
        taken_over(tmp_path, init_adapter="theirs")
    assert error.value.fix.startswith("use method: ia3, or begin anew")
    assert taken_over(tmp_path, init_adapter="theirs", method="ia3").init_adapter.endswith("theirs")


def test_a_parent_that_is_no_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"init_adapter: .* is not an adapter") as error:
        taken_over(tmp_path, init_adapter=str(tiny_model))
    assert "name it as model:" in error.value.fix


def test_all_weights_go_on_from_a_model() -> None:
    with pytest.raises(ConfigError, match="init_adapter means nothing to method: full"):
        train.refuse_unread("full", AdapterConfig(init_adapter="x"), {"init_adapter": "here"})


# --- where it will be served -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "what", "way"),
    [
        ({"method": "prefix"}, "vLLM cannot serve method: prefix", "whose server takes every kind of adapter"),
        ({"method": "bottleneck"}, "vLLM cannot serve method: bottleneck", "deploy_to: embedded"),
        ({"method": "ia3"}, "vLLM cannot serve method: ia3", "vLLM serves the merged model"),
        ({"method": "qlora"}, "vLLM cannot serve an adapter of a base in 4 bits", "vLLM serves the merged model"),
        ({"use_dora": True}, "vLLM cannot serve use_dora: true", "take use_dora out, or deploy_to: embedded and"),
        ({"lora_r": 768}, "vLLM cannot serve a rank of 768", "use a rank of at most 512"),
        ({"rank_pattern": {"q_proj": 600}}, "vLLM cannot serve a rank of 600", "use a rank of at most 512"),
    ],
)
def test_what_vllm_cannot_serve_is_not_trained(tmp_path: Path, values: dict[str, object], what: str, way: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, deploy_to="vllm", **values)
    assert error.value.what == what
    assert error.value.where
    assert way in error.value.fix
    settings(tmp_path, **values)


@pytest.mark.parametrize(
    "values", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 24}}, {"method": "full"}, {"lora_r": 512}]
)
def test_what_vllm_serves_is_trained(tmp_path: Path, values: dict[str, object]) -> None:
    known = settings(tmp_path, deploy_to="vllm", **values).as_dict()
    assert {key: known[key] for key in ("deploy_to", *values)} == {"deploy_to": "vllm", **values}


def test_the_shape_of_a_parent_is_asked_too(tmp_path: Path) -> None:
    peft(tmp_path / "theirs", use_dora=True)
    with pytest.raises(ConfigError, match="vLLM cannot serve use_dora: true"):
        taken_over(tmp_path, init_adapter="theirs", deploy_to="vllm")
