"""Config: what the errors say, all of them in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.stages import MINIMAL, STAGES
from tunesmith.core.config import load
from tunesmith.core.errors import ConfigError


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
