"""Config: what is read, where it came from, and what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.core.stages import MINIMAL, STAGES, Curate, Source, Train, read
from tunesmith.core import config
from tunesmith.core.config import explain, json_schema, load
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record

# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_fills_every_stage(tmp_path: Path) -> None:
    settings_ = read(MINIMAL + "lora_r: 8\nlearning_rate: 1e-3\nseed: 7\n", folder=tmp_path)
    train = settings_.stage("train", Train)
    assert (train.lora_r, train.learning_rate, train.seed) == (8, 0.001, 7)
    assert settings_.stage("curate", Curate) == Curate(datasets=(Source(path="rows.jsonl"),), seed=7)
    assert settings_.path == tmp_path / "tunesmith.yaml"


def test_a_stage_has_one_type(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="stage 'train' is configured by Train, not by Curate"):
        read(MINIMAL, folder=tmp_path).stage("train", Curate)


def test_a_stage_that_nothing_is_said_about_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "tunesmith.yaml"
    path.write_text("seed: 7\n")
    settings_ = load(path, STAGES, optional=["curate"])
    assert settings_.stage("train", Train).seed == 7
    assert "datasets" not in settings_.as_dict()
    assert settings_.resolve("lora_r", 4, "small").stage("train", Train).lora_r == 4
    with pytest.raises(KeyError):
        settings_.stage("curate", Curate)
    with pytest.raises(ConfigError, match="the key 'datasets' is missing"):
        load(path, STAGES)
    with pytest.raises(ConfigError, match="the key 'datasets' is missing"):
        load(path, STAGES, ["val_size=0.2"], optional=["curate"])


def test_without_a_file_overrides_and_defaults_make_the_settings() -> None:
    settings_ = load(None, STAGES, ["datasets.0.path=x.csv"])
    assert settings_.stage("curate", Curate).datasets[0].path == "x.csv"
    assert settings_.origins["datasets"] == "--set datasets.0.path=x.csv"
    assert settings_.path is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-2.5e+2", -250.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ('"1e-3"', "1e-3"),
        ("!!str 1", "1"),
        ("1.2.3", "1.2.3"),
        ("[a, 1, {b: 2}]", ["a", 1, {"b": 2}]),
    ],
)
def test_scalars_have_one_reading(tmp_path: Path, written: str, value: object) -> None:
    class Anything(Record):
        key: Any = None

    path = tmp_path / "c.yaml"
    path.write_text(f"key: {written}\n")
    for found in (load(path, {"a": Anything}), load(None, {"a": Anything}, [f"key={written}"])):
        read_value = found.as_dict()["key"]
        if not written.startswith("!!"):
            assert read_value == value
            assert type(read_value) is type(value)


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "tunesmith.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (MINIMAL + "lora_r: 4\n").replace("\n", "\r\n").encode())
    settings_ = load(path, STAGES)
    assert settings_.stage("train", Train).lora_r == 4
    assert settings_.origins["lora_r"] == f"{path}:3"


def test_aliases_and_keys_that_are_numbers(tmp_path: Path) -> None:
    text = "datasets:\n  - &a {path: x, columns: {1: prompt}}\n  - *a\n"
    datasets = read(text, folder=tmp_path).stage("curate", Curate).datasets
    assert datasets[0] == datasets[1] == Source(path="x", columns={"1": "prompt"})


# --- origins ---------------------------------------------------------------------------------------------------------


def test_every_value_knows_where_it_came_from(tmp_path: Path) -> None:
    text = MINIMAL + "\n# rank\nlora_r: 8\nbf16: false\n"
    settings_ = read(text, "bf16=true", "datasets.0.columns.prompt=q", folder=tmp_path)
    file = tmp_path / "tunesmith.yaml"
    origins = settings_.origins
    assert origins["lora_r"] == f"{file}:5"
    assert origins["bf16"] == "--set"
    assert origins["val_size"] == "default"
    assert origins["datasets"] == f"{file}:1, --set datasets.0.columns.prompt=q"
    rows = explain(settings_)
    assert ("lora_r", 8, f"{file}:5") in rows
    assert [key for key, _, _ in rows] == list(settings_.as_dict()) == list(origins)


def test_auto_is_resolved_with_its_reason(tmp_path: Path) -> None:
    before = read(MINIMAL, folder=tmp_path)
    after = before.resolve("learning_rate", 2e-4, "rule for 135M parameters")
    assert after.stage("train", Train).learning_rate == 2e-4
    assert after.origins["learning_rate"] == "auto: rule for 135M parameters"
    assert before.stage("train", Train).learning_rate == "auto"
    moved = after.resolve("output_dir", Path("/abs/out"), "made absolute").resolve("seed", 3, "drawn")
    assert moved.origins["output_dir"] == "default (made absolute)"
    assert moved.origins["learning_rate"] == "auto: rule for 135M parameters"
    assert (moved.stage("train", Train).seed, moved.stage("curate", Curate).seed) == (3, 3)
    with pytest.raises(ConfigError, match="learning_rate must be a number, greater than 0, or auto") as caught:
        before.resolve("learning_rate", -1.0, "a wrong rule")
    assert caught.value.where == "auto: a wrong rule"


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings_ = read(MINIMAL, folder=tmp_path)
    with pytest.raises(AttributeError):
        settings_.path = None  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings_.origins["seed"] = "x"  # type: ignore[index]
    settings_.as_dict()["datasets"][0]["path"] = "changed"
    assert settings_.stage("curate", Curate).datasets[0].path == "rows.jsonl"


def test_a_shared_key_is_declared_alike() -> None:
    class Other(Record):
        seed: int = 1

    with pytest.raises(TypeError, match="declares the shared key 'seed' differently"):
        load(None, {**STAGES, "other": Other}, ["datasets.0.path=x"])


# --- overrides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("learning_rate=1e-4", "learning_rate", 0.0001),
        ("model=a: b #c", "model", "a: b #c"),
        ("model='1'", "model", "1"),
        ("model=*.gguf", "model", "*.gguf"),
        ("model=a=b", "model", "a=b"),
        (" lora_r = 4", "lora_r", 4),
        ("grammar={type: object, n: 1e2}", "grammar", {"type": "object", "n": 100.0}),
        ("grammar=", "grammar", None),
        ("betas.0=0.5", "betas", [0.5, 0.999]),
        ("tags.0=x", "tags", ["x"]),
        ("tags=[x, 'y']", "tags", ["x", "y"]),
        ("grammar.type.0.a=1", "grammar", {"type": [{"a": 1}]}),
    ],
)
def test_overrides(override: str, key: str, value: object) -> None:
    assert load(None, STAGES, ["datasets.0.path=x", override]).as_dict()[key] == value


def test_overrides_reach_into_the_file_and_append(tmp_path: Path) -> None:
    overrides = ["datasets.0.path=y", "datasets.1.path=z", "datasets.1.columns={0: first}", "lora_r=2", "lora_r=3"]
    settings_ = read(MINIMAL, *overrides, folder=tmp_path)
    datasets = settings_.stage("curate", Curate).datasets
    assert datasets == (Source(path="y"), Source(path="z", columns={"0": "first"}))
    assert settings_.stage("train", Train).lora_r == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora_r", "'lora_r' sets nothing"),
        ("=3", "'=3' sets nothing"),
        ("datasets..path=3", "sets nothing"),
        ("datasets.7.path=x", "'7' is not a position in datasets, which has 1 so far"),
        ("datasets.x=1", "'x' is not a position in datasets"),
        ("lora_r.0=1", "lora_r is 16, so '0' cannot be set in it"),
        ("learning_rate=1e999", "1e999 cannot be read as a number"),
        ("grammar={a: b", "cannot be read as YAML"),
        ("grammar={a: 1, a: 2}", "the key 'a' stands twice"),
        ("lorar=3", "unknown key 'lorar'"),
    ],
)
def test_overrides_that_cannot_be(refused: Any, override: str, message: str) -> None:
    error = refused(MINIMAL, override)
    assert message in error.what
    assert "--set" in error.where


# --- writing and schema ----------------------------------------------------------------------------------------------


def test_the_written_file_reads_back_equal(tmp_path: Path) -> None:
    text = MINIMAL + 'learning_rate: 1e-5\nmodel: "1e-3"\ngrammar: {a: "no", b: [null, "null", "12:30"]}\n'
    before = read(text, folder=tmp_path)
    written = before.to_yaml()
    after = read(written, folder=tmp_path)
    assert after.as_dict() == before.as_dict()
    assert after.to_yaml() == written
    assert "# Rank of the adapter.\nlora_r: 16\n" in written
    json.dumps(before.as_dict(), allow_nan=False)


class Anything(Record):
    key: Any = None
    number: float = 1.0


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(
        ["1e-3", "yes", "0o7", "~", "", "- a", "a: b", "#", "2024-01-01", "=", "<<", "\n", " x ", "\x85"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1-~:", max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_any_value_survives_writing_and_reading(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = load(None, {"a": Anything}).resolve("key", value, "drawn")
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(before.to_yaml(), encoding="utf-8", newline="")
    assert load(path, {"a": Anything}).as_dict() == before.as_dict()


@settings(max_examples=200, deadline=None)
@given(text=st.text("ab:-[]{}&*!|>'\"%@#,?\n\t 01.eE", max_size=40))
def test_any_text_is_read_or_refused_with_a_reason(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "text.yaml"
    path.write_text(text, encoding="utf-8")
    for arguments in ((path, STAGES, []), (None, STAGES, [text])):
        with pytest.raises(ConfigError) as caught:
            load(*arguments)  # the required key is never there
        assert caught.value.rule


def test_the_schema_describes_and_checks_the_file(tmp_path: Path) -> None:
    schema = json_schema(STAGES)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert schema["properties"]["lora_r"]["description"] == "Rank of the adapter."
    assert set(schema["properties"]) == set(Curate.model_fields) | set(Train.model_fields)
    assert schema["required"] == ["datasets"]
    assert validator.is_valid(read(MINIMAL, folder=tmp_path).as_dict())
    assert not validator.is_valid({"datasets": [{"path": "x"}], "lora_r": 0})
    assert not validator.is_valid({"datasets": [{"path": "x"}], "loraa": 1})
    assert not validator.is_valid({"datasets": [{"pth": "x"}]})


def test_importing_config_is_light() -> None:
    code = "import sys, tunesmith.core.config; print(*sorted(sys.modules))"
    source = Path(config.__file__).parents[2]
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=source).stdout
    assert not {"sqlalchemy", "torch", "numpy", "jsonschema", "huggingface_hub"} & set(loaded.split())
    assert config.__name__ in loaded.split()
