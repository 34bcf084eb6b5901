"""Config: what is read, where it came from, and what the errors say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import Field, field_validator, model_validator

from tunesmith.core import config
from tunesmith.core.config import Settings, explain, json_schema, load
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record


class Source(Record):
    path: str = Field(description="File or folder of rows.")
    columns: Mapping[str, str] = Field(default={}, description="Column → role.")
    limit: int | None = Field(default=None, ge=1, description="Rows to read at most.")


class Curate(Record):
    datasets: tuple[Source, ...] = Field(min_length=1, description="The files to train on.")
    val_size: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share of rows for validation.")
    seed: int = Field(default=42, description="Start of every random choice.")


class Train(Record):
    model: str = Field(default="tiny", min_length=1, description="Model to start from.")
    lora_r: int = Field(default=16, ge=1, le=1024, description="Rank of the adapter.")
    learning_rate: Annotated[float, Field(gt=0.0)] | Literal["auto"] = Field(default="auto", description="Peak.")
    lr_scheduler_type: Literal["cosine", "linear"] = Field(default="cosine", description="How the rate falls.")
    bf16: bool = Field(default=True, description="Compute in bfloat16.")
    output_dir: Path = Field(default=Path("output"), description="Where the result goes.")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="Decay of the two averages.")
    tags: tuple[str, ...] = Field(default=(), max_length=2, description="Words to find the run by.")
    batch: int = Field(default=8, multiple_of=8, description="Rows a step.")
    alias: str = Field(default="a", pattern="^[a-z]+$", max_length=5, description="Name of the release.")
    grammar: dict[str, Any] | str | None = Field(default=None, description="Shape of the answer.")
    early: float = Field(default=0.5, description="Odd one out.")
    seed: int = Field(default=42, description="Start of every random choice.")

    @field_validator("early")
    @classmethod
    def _not_a_third(cls, value: float) -> float:
        if value == 0.3:
            raise ValueError("0.3 is not a good choice")
        return value

    @model_validator(mode="after")
    def _together(self) -> Train:
        if self.bf16 and self.lora_r == 13:
            raise ConfigError("rank 13 does not go with bf16", rule="13 is unlucky", fix="set bf16: false")
        return self


STAGES = {"curate": Curate, "train": Train}
MINIMAL = "datasets:\n  - path: rows.jsonl\n"


def read(text: str, *overrides: str, folder: Path) -> Settings:
    path = folder / "tunesmith.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, STAGES, overrides)


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """The error of a file and overrides; checks that it names the file or the option, the rule and the way out."""

    def error(text: str | bytes, *overrides: str) -> ConfigError:
        path = tmp_path / "tunesmith.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            load(path, STAGES, overrides)
        found = caught.value
        assert found.exit_code == 2
        assert "tunesmith.yaml" in found.where or "--set" in found.where
        assert found.rule
        assert found.fix
        return found

    return error


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


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "what", "rule", "fix"),
    [
        ("lora_r: 0", "lora_r is 0", "lora_r must be a whole number, at least 1, at most 1024", "lora_r: 16"),
        ("lora_r: 2000", "lora_r is 2000", "at most 1024", "lora_r: 16, the default"),
        ("lora_r: 8.0", "lora_r is 8.0", "a whole number", "write lora_r: 8"),
        ("lora_r: 8.5", "lora_r is 8.5", "a whole number", "lora_r: 16, the default"),
        ('lora_r: "8"', 'lora_r is "8"', "a whole number", "write it without quotes: lora_r: 8"),
        ("lora_r: many", 'lora_r is "many"', "a whole number", "lora_r: 16, the default"),
        ("lora_r:", "lora_r is null", "a whole number", "lora_r: 16, the default"),
        ("lora_r: [1]", "lora_r is [1]", "a whole number", "lora_r: 16, the default"),
        ("lora_r: true", "lora_r is true", "a whole number", "lora_r: 16, the default"),
        ("val_size: 1.0", "val_size is 1.0", "val_size must be a number, at least 0, less than 1", "val_size: 0.1"),
        ("val_size: -0.5", "val_size is -0.5", "at least 0", "val_size: 0.1, the default"),
        ("val_size: .nan", 'val_size is ".nan"', "a number", "val_size: 0.1, the default"),
        ("learning_rate: 0", "learning_rate is 0", "a number, greater than 0, or auto", "learning_rate: auto"),
        ("learning_rate: aut", 'learning_rate is "aut"', "greater than 0, or auto", "did you mean 'auto'?"),
        ("lr_scheduler_type: cosin", '"cosin"', "must be one of cosine, linear", "did you mean 'cosine'?"),
        ("lr_scheduler_type: 3", "lr_scheduler_type is 3", "one of cosine, linear", "lr_scheduler_type: cosine"),
        ("bf16: yes", 'bf16 is "yes"', "bf16 must be true or false", "write true"),
        ("bf16: off", 'bf16 is "off"', "bf16 must be true or false", "write false"),
        ("bf16: 1", "bf16 is 1", "bf16 must be true or false", "bf16: true, the default"),
        ("model: 2024", "model is 2024", "model must be text", 'write it in quotes: model: "2024"'),
        ('model: ""', 'model is ""', "text, at least 1 characters", "model: tiny, the default"),
        ("output_dir: 7", "output_dir is 7", "output_dir must be a path", 'output_dir: "7"'),
        ("betas: [0.9]", "'betas.1' is missing", "betas.1 is required: a number", "--set betas.1="),
        ("betas: [1, 2, 3]", "betas is [1, 2, 3]", "betas must be a list, exactly 2 items", "betas: [0.9, 0.999]"),
        ("tags: [a, b, c]", 'tags is ["a", "b", "c"]', "a list of (text), at most 2 items", "tags: []"),
        ("tags: [1]", "tags.0 is 1", "tags.0 must be text", 'write it in quotes: 0: "1"'),
        ("tags: a", 'tags is "a"', "tags must be a list of (text)", "tags: [], the default"),
        ("batch: 9", "batch is 9", "a whole number, a multiple of 8", "batch: 8, the default"),
        ("alias: A", 'alias is "A"', "at most 5 characters, that matches ^[a-z]+$", "alias: a, the default"),
        ("grammar: 3", "grammar is 3", "a mapping, or text, or null", "in quotes"),
        ("early: 0.3", "early is 0.3", "0.3 is not a good choice", "change it so that the rule holds"),
        ("lora_rank: 4", "unknown key 'lora_rank'", "only known keys", "did you mean 'lora_r'?"),
        ("Output-Dir: x", "unknown key 'Output-Dir'", "only known keys", "did you mean 'output_dir'?"),
        ("xyzzy: 1", "unknown key 'xyzzy'", "only known keys", "remove it"),
    ],
)
def test_a_wrong_value_names_key_value_rule_and_fix(refused: Any, line: str, what: str, rule: str, fix: str) -> None:
    error = refused(MINIMAL + line + "\n")
    assert what in error.what
    assert rule in error.rule
    assert fix in error.fix
    assert error.where.endswith("tunesmith.yaml:3")


def test_values_that_do_not_go_together(refused: Any) -> None:
    error = refused(MINIMAL + "lora_r: 13\n")
    assert (error.what, error.rule, error.fix) == (
        "rank 13 does not go with bf16",
        "13 is unlucky",
        "set bf16: false",
    )


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"),
    [
        ("datasets:\n  - pth: x\n", ":2", "unknown key 'datasets.0.pth'", "did you mean 'path'?"),
        ("datasets:\n  - path: x\n    limit: 0\n", ":3", "datasets.0.limit is 0", "set datasets.0.limit"),
        ("datasets:\n  - {}\n", ":2", "the key 'datasets.0.path' is missing", "--set datasets.0.path="),
        ("datasets:\n  - path: x\n    columns: {a: 1}\n", ":3", "datasets.0.columns.a is 1", 'a: "1"'),
        ("datasets:\n  - rows.jsonl\n", ":2", 'datasets.0 is "rows.jsonl"', "set datasets.0"),
        ("datasets: rows.jsonl\n", ":1", 'datasets is "rows.jsonl"', "set datasets"),
        ("datasets: []\n", ":1", "datasets is []", "set datasets"),
        ("seed: 1\n", "yaml", "the key 'datasets' is missing", "add `datasets: …`, or pass --set datasets=…"),
    ],
)
def test_errors_inside_lists_and_mappings(refused: Any, text: str, where: str, what: str, fix: str) -> None:
    error = refused(text)
    assert error.where.endswith(where)
    assert what in error.what
    assert fix in error.fix


def test_a_mapping_says_which_keys_it_may_have(refused: Any) -> None:
    assert refused("datasets: [x]\n").rule == "datasets.0 must be a mapping with the keys path, columns, limit"
    assert refused("datasets: [{path: x, z: 1}]\n").rule == "known keys here: path, columns, limit"


def test_all_problems_come_in_one_error(refused: Any) -> None:
    error = refused("datasets:\n  - pth: x\nlora_r: 0\nbf16: yes\nlorar: 2\n", "val_size=2", "oops")
    text = str(error)
    assert error.what.startswith("6 problems")
    for part in (
        "yaml:2: unknown key 'datasets.0.pth'",
        "yaml:3: lora_r is 0",
        'yaml:4: bf16 is "yes"',
        "yaml:5: unknown key 'lorar'",
        "--set val_size=2: val_size is 2",
        "--set: 'oops' sets nothing",
    ):
        assert part in text
    assert text.count("rule:") == 7
    assert "'datasets.0.path' is missing" not in text


def test_a_shared_key_is_reported_once(refused: Any) -> None:
    assert refused(MINIMAL + "seed: x\n").what == 'seed is "x"'


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"),
    [
        (b"", "yaml", "the file is empty", "tunesmith init"),
        (b"# nothing\n\n", "yaml", "the file is empty", "tunesmith init"),
        (b"- a\n- b\n", "yaml", "the file holds a list, not a mapping", "tunesmith init"),
        (b"hello\n", "yaml", "the file holds a single value, not a mapping", "tunesmith init"),
        (b"a: \xff\n", "yaml", "byte 4 is not UTF-8", "save it as UTF-8"),
        (b"a: 1\n\tb: 2\n", ":2", "a tab stands where YAML wants spaces", "replace every tab"),
        (b"a:\n\t- b: 2\n", ":2", "a tab stands where YAML wants spaces", "two spaces"),
        (b"seed: 1\nmodel: a: b\n", ":2", "mapping values are not allowed here", "into quotes"),
        (b"model: [a\n", ":2", "cannot be read as YAML", "into quotes"),
        (b"model: @a\n", ":1", "cannot start any token", "into quotes"),
        (b"a: 1\n---\nb: 2\n", ":2", "another document", "into quotes"),
        (b"a: \x01\n", "yaml", "cannot be read as YAML", "remove that character"),
        (b"seed: 1\nmodel: x\nseed: 2\n", ":3", "'seed' stands twice, first in line 1", "remove one"),
        (b"datasets:\n- path: x\n  path: y\n", ":3", "'path' stands twice, first in line 2", "remove one"),
        (b"? [a]\n: 1\n", ":1", "a key is a list or a mapping", "one word"),
        (b"a: !!python/name:os.system x\n", ":1", "python/name:os.system' is not supported", "remove the tag"),
        (b"a: !!set {b}\n", ":1", "is not supported", "remove the tag"),
        (b"a: !!int x\n", ":1", "x cannot be read as a number", "smaller number"),
        (b"a: 1e999\n", ":1", "1e999 cannot be read as a number", "smaller number"),
        (b'a: "\\ud800"\n', ":1", "is not valid Unicode", "the character itself"),
        (b"a: &x [*x]\n", "yaml", "expands to more than", "remove the aliases"),
        (b"a: " + b"[" * 900, "yaml", "nests deeper than", "nesting"),
        (b"a: " + b"[" * 60 + b"]" * 60, "yaml", "or 50 levels", "nesting"),
        (b"#" * 300_000, "yaml", "the file has 300,000 characters", "the config file"),
    ],
)
def test_files_that_cannot_be_read(refused: Any, text: bytes, where: str, what: str, fix: str) -> None:
    error = refused(text)
    assert what in error.what
    assert fix in error.fix
    assert error.where.endswith(where)


def test_a_bomb_of_aliases_is_refused_quickly(refused: Any) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expands to more than" in refused("\n".join(lines)).what


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        load(tmp_path / "none.yaml", STAGES)
    assert "tunesmith init" in caught.value.fix
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, STAGES)


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
