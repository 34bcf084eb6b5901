"""Config files put to work by the lifecycle: paths, automatic values, two adapters of one name. No torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunesmith import curate, evaluate, lifecycle, train
from tunesmith.core.errors import ConfigError, Interrupted
from tunesmith.settings import for_anywhere, resolve_autos


def write(folder: Path, **values: object) -> Path:
    path = folder / "tunesmith.yaml"
    path.write_text(json.dumps({"datasets": [{"path": "rows.jsonl"}], **values}))
    return path


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    config = write(tmp_path, model="base", json_schema="schema.json", output_dir="~/runs/x")
    settings = lifecycle.load_settings(config)
    trained = settings.stage("train", train.Config)
    assert settings.stage("data", curate.Config).datasets[0].path == str(tmp_path / "rows.jsonl")
    assert trained.model == str(tmp_path / "base")
    assert trained.output_dir == str(Path("~/runs/x").expanduser())
    assert settings.stage("evaluate", evaluate.Config).json_schema == str(tmp_path / "schema.json")
    assert "relative to the config file" in settings.origins["datasets"]


def test_a_chat_template_is_a_file_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    for name in ("chatml", "model"):
        (tmp_path / name).write_text("a file that happens to be called so")
    monkeypatch.chdir(tmp_path)
    for given, meant in (("own.jinja", str(tmp_path / "own.jinja")), ("chatml", "chatml"), ("model", "model")):
        write(tmp_path, chat_template=given)
        settings = lifecycle.load_settings(Path("tunesmith.yaml"))
        assert settings.stage("train", train.Config).chat_template == meant


def test_what_is_kept_with_a_run_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    write(tmp_path, model="base", json_schema="schema.json", output_dir="runs/x", chat_template="own.jinja")
    monkeypatch.chdir(tmp_path)
    kept = for_anywhere(lifecycle.load_settings(Path("tunesmith.yaml")))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.yaml").write_text(kept.to_yaml())
    for place, given in ((tmp_path, "elsewhere/config.yaml"), (tmp_path / "elsewhere", "config.yaml")):
        monkeypatch.chdir(place)
        again = lifecycle.load_settings(Path(given))
        trained = again.stage("train", train.Config)
        assert again.stage("data", curate.Config).datasets[0].path == str(tmp_path / "rows.jsonl")
        assert again.stage("evaluate", evaluate.Config).json_schema == str(tmp_path / "schema.json")
        assert trained.output_dir == str(tmp_path / "runs" / "x")
        assert (trained.model, trained.chat_template) == (str(tmp_path / "base"), str(tmp_path / "own.jinja"))
    for key in ("datasets", "output_dir", "json_schema", "model", "chat_template"):
        assert kept.origins[key].endswith("(absolute path)")
    assert kept.origins["datasets"] == "tunesmith.yaml:1 (absolute path)"


def test_an_evaluation_takes_the_keys_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"datasets": [{"path": "x"}], "primary_metric": "bleu"}))
    chosen = lifecycle.load_evaluation(None, ["bootstrap_samples=500"], ["nobody", str(tmp_path)])
    assert chosen.stage("evaluate", evaluate.Config).primary_metric == "bleu"
    assert chosen.stage("evaluate", evaluate.Config).bootstrap_samples == 500
    assert lifecycle.load_evaluation(None).stage("evaluate", evaluate.Config).primary_metric == "auto"


def test_automatic_values_need_facts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 4096, "hidden_size": 576}')
    settings = resolve_autos(lifecycle.load_settings(write(tmp_path)), tmp_path)
    assert settings.stage("train", train.Config).max_length == 2048
    assert settings.origins["max_length"] == "auto: the model's context is 4096 tokens, cut at 2048"
    assert settings.origins["learning_rate"].startswith("auto: ")
    (tmp_path / "config.json").write_text('{"breadth": 768}')
    with pytest.raises(ConfigError, match="learning_rate: auto needs the width of the model"):
        resolve_autos(lifecycle.load_settings(write(tmp_path)), tmp_path)


@pytest.mark.parametrize(
    ("method", "key", "value", "readers"),
    [
        ("full", "lora_r", 8, "lora and qlora"),
        ("ia3", "use_dora", True, "lora and qlora"),
        ("lora", "num_virtual_tokens", 8, "prefix and prompt"),
        ("prefix", "bottleneck_size", 8, "bottleneck"),
    ],
)
def test_a_key_that_the_method_does_not_read_is_refused(
    tmp_path: Path, method: str, key: str, value: object, readers: str
) -> None:
    with pytest.raises(ConfigError, match=f"{key} means nothing to method: {method}") as error:
        lifecycle.load_settings(write(tmp_path, method=method, **{key: value}))
    assert error.value.rule == f"it is read by method: {readers}"


def test_every_key_of_the_adapter_has_a_reader() -> None:
    from tunesmith.train.config import READ_BY

    folder = Path(train.__file__).parent
    source = "".join((folder / name).read_text() for name in ("runs.py", "options.py", "config.py"))
    assert set(READ_BY) <= set(train.AdapterConfig.model_fields)
    assert all(f"adapter.{key}" in source for key in train.AdapterConfig.model_fields)


def test_an_interruption_names_the_command_that_goes_on() -> None:
    from tunesmith.cli.train import resumable

    with pytest.raises(Interrupted) as error, resumable("tunesmith train a.yaml --set seed=1"):
        raise Interrupted("stopped", where="run/checkpoints", fix="again")
    assert error.value.fix == "resume with: tunesmith train a.yaml --set seed=1"


def test_two_adapters_of_one_name() -> None:
    from tunesmith.cli.serve import _adapters
    from tunesmith.core.errors import InputError

    assert _adapters(["a=x", "b=y"]) == {"a": "x", "b": "y"}
    with pytest.raises(InputError, match="two adapters are called 'a'"):
        _adapters(["a=x", "a=y"])


def test_bf16_master_weights_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    for changes, message, way in (
        ({"method": "lora"}, "master_dtype: bfloat16 means nothing to method: lora", "use method: full"),
        ({"method": "full", "dtype": "float32"}, "master_dtype: bfloat16 beside dtype: float32", "dtype: bfloat16"),
    ):
        config = write(tmp_path, master_dtype="bfloat16", **changes)
        with pytest.raises(ConfigError, match=message) as error:
            lifecycle.load_settings(config)
        assert way in error.value.fix
        assert "tunesmith.yaml:" in error.value.where
    for fine in ({"method": "full"}, {"method": "full", "dtype": "bfloat16", "optim": "adamw_8bit"}):
        lifecycle.load_settings(write(tmp_path, master_dtype="bfloat16", **fine))
    lifecycle.load_settings(write(tmp_path, optim="adamw_8bit", method="prefix"))


def test_bf16_master_weights_decide_the_format_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64, "max_position_embeddings": 512}))
    for master, dtype in (("bfloat16", "bfloat16"), ("float32", "auto")):
        settings = resolve_autos(lifecycle.load_settings(write(tmp_path, method="full", master_dtype=master)), tmp_path)
        assert settings.stage("train", train.Config).dtype == dtype
    settings = resolve_autos(lifecycle.load_settings(write(tmp_path, method="full", master_dtype="bfloat16")), tmp_path)
    assert settings.origins["dtype"] == "auto: master_dtype: bfloat16 trains the base's own weights"
