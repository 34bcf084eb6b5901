"""What the machine is said to be, in words that fit its numbers."""

from __future__ import annotations

import os

import pytest

from tunesmith.model import device


@pytest.mark.parametrize(
    ("cores", "wanted", "said"),
    [
        (1, "", "1 thread: the one usable core"),
        (2, "", "2 threads: all 2 usable cores"),
        (2, "1", "1 thread: TUNESMITH_THREADS=1"),
    ],
)
def test_one_thread_is_no_threads(monkeypatch: pytest.MonkeyPatch, cores: int, wanted: str, said: str) -> None:
    monkeypatch.setattr("tunesmith.core.cores.usable_cores", lambda: cores)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    monkeypatch.setenv("TUNESMITH_THREADS", wanted)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert device.use_all_cores() == said


def test_one_thread_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_THREADS", "1")
    assert list(device.measure_gemm(rows=8, width=8, seconds=0.001)) == ["one thread"]
    monkeypatch.setenv("TUNESMITH_THREADS", "2")
    assert list(device.measure_gemm(rows=8, width=8, seconds=0.001)) == ["one thread", "2 threads"]


def test_few_prepared_products_are_kept_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.PREPARED_VARIABLE, raising=False)
    device.use_all_cores()
    assert os.environ[device.PREPARED_VARIABLE] == "64"
    monkeypatch.setenv(device.PREPARED_VARIABLE, "1024")
    device.use_all_cores()
    assert os.environ[device.PREPARED_VARIABLE] == "1024"
