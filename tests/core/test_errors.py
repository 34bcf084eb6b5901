"""The error tree: messages, exit codes, and the trip through other processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from tunesmith.core import errors
from tunesmith.core.errors import ConfigError, StorageError, TunesmithError

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TunesmithError)),
    key=lambda kind: kind.__name__,
)


def test_a_message_has_four_parts() -> None:
    error = ConfigError("lora_r is 0", where="tunesmith.yaml:3", rule="at least 1", fix="lora_r: 16")
    assert str(error) == "tunesmith.yaml:3: lora_r is 0\n  rule: at least 1\n  fix:  lora_r: 16"
    assert str(TunesmithError("it broke")) == "it broke"
    assert error.as_dict() == {
        "type": "ConfigError",
        "what": "lora_r is 0",
        "where": "tunesmith.yaml:3",
        "rule": "at least 1",
        "fix": "lora_r: 16",
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_survive_copies_and_processes(kind: type[TunesmithError]) -> None:
    error = kind("what", where="where", rule="rule", fix="fix")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert again.as_dict() == error.as_dict()


@pytest.mark.parametrize(
    ("name", "code", "base"),
    [
        ("InputError", 2, Exception),
        ("ConfigError", 2, ValueError),
        ("DataError", 2, ValueError),
        ("ModelError", 2, Exception),
        ("AdapterError", 2, Exception),
        ("OfflineError", 2, ConnectionError),
        ("CorruptArtifactError", 2, OSError),
        ("StorageError", 2, OSError),
        ("TrainingError", 3, Exception),
        ("Interrupted", 130, Exception),
        ("TunesmithError", 3, Exception),
    ],
)
def test_exit_codes_and_standard_bases(name: str, code: int, base: type[Exception]) -> None:
    kind = vars(errors)[name]
    assert kind.exit_code == code
    assert issubclass(kind, base)
    assert issubclass(kind, TunesmithError)


def test_every_error_is_listed_in_the_tree() -> None:
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in (errors.__doc__ or "")] == []


def test_errors_that_are_also_of_the_system() -> None:
    error = StorageError("the disk is full", where="out", fix="free some")
    assert str(error) == "out: the disk is full\n  fix:  free some"
    assert error.as_dict()["what"] == "the disk is full"
