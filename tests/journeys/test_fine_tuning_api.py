"""A company's own client, unchanged, against its own machine: upload, fine-tune, follow, call, delete."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import SECONDS, read_until, started, tunesmith
from tests.jobs.conftest import chat_rows, write_jsonl
from tests.project import build_base

CLIENTS = Path(__file__).parent / "clients"
KEY = "sk-journey"
BASE = "tiny"


@dataclass(frozen=True)
class Machine:
    """A running server of ours."""

    url: str
    folder: Path
    rows: Path

    def run(self, python: str, script: str) -> Any:
        """What a program of another environment prints."""
        command = [python, str(CLIENTS / script), self.url, KEY, BASE, str(self.rows)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=clean_environment())
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "OPENAI_API_KEY")}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    build_base(folder / BASE)
    rows = write_jsonl(folder / "rows.jsonl", chat_rows(40))
    home = str(folder / "home")
    options = ("serve", "--model", BASE, "--port", "0")
    with started(*options, at=folder, TUNESMITH_HOME=home, TUNESMITH_API_KEY=KEY) as process:
        said = read_until(process.stdout, "listening on ")
        yield Machine(said.strip().rpartition("listening on ")[2], folder, rows)


def check_flow(seen: Any) -> None:
    assert seen["states"][-1] == "succeeded"
    assert seen["model"].startswith("ft:tiny:tunesmith:flow:")
    assert "Created fine-tuning job" in seen["events"][-1]
    assert seen["events"][0] == "The job has successfully completed"
    assert seen["checkpoints"][0].startswith(seen["model"] + ":ckpt-step-")
    assert seen["answers"][seen["model"]] == seen["wanted"] != seen["answers"][BASE]
    assert seen["result"] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert {BASE, seen["model"], *seen["checkpoints"]} <= set(seen["listed"])
    assert (seen["retrieved"], seen["deleted"], seen["after"]) == (seen["model"], True, "model_not_found")


@pytest.mark.slow
def test_the_installed_client_from_upload_to_deletion(machine: Machine) -> None:
    seen = machine.run(sys.executable, "flow.py")
    assert seen["version"] == importlib.metadata.version("openai")
    check_flow(seen)


def environment(folder: Path, *packages: str) -> str:
    """The Python of a fresh environment with these packages; skips where the registry does not have them."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    got = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean_environment())
    if got.returncode:
        pytest.skip(f"the registry does not give {' '.join(packages)}: {got.stderr.strip().splitlines()[-1][:200]}")
    return python


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize("version", ["1.109.1", "2.54.0"])
def test_older_clients_from_upload_to_deletion(machine: Machine, tmp_path: Path, version: str) -> None:
    seen = machine.run(environment(tmp_path / "venv", f"openai=={version}"), "flow.py")
    assert seen["version"] == version
    check_flow(seen)


@pytest.mark.slow
@pytest.mark.registry
def test_dspy_fine_tunes_through_its_openai_provider(machine: Machine, tmp_path: Path) -> None:
    seen = machine.run(environment(tmp_path / "venv", "dspy==3.4.1"), "dspy_flow.py")
    assert seen["model"].startswith("ft:tiny:tunesmith::")


@pytest.mark.slow
@pytest.mark.registry
def test_litellm_fine_tunes_and_its_proxy_answers(machine: Machine, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv", "litellm[proxy]==1.108.7")
    seen = machine.run(python, "litellm_flow.py")
    assert seen["model"].startswith("ft:tiny:tunesmith:lite:")
    assert seen["direct"] == seen["proxy"] == seen["wanted"]


@pytest.mark.slow
def test_an_account_is_moved_here_and_old_and_new_answers_are_compared(machine: Machine, tmp_path: Path) -> None:
    """The account is a server of ours with a job in it; the command has a workspace of its own."""
    import openai

    client = openai.OpenAI(base_url=machine.url, api_key=KEY)
    with machine.rows.open("rb") as rows:
        file = client.files.create(file=rows, purpose="fine-tune")
    there = client.fine_tuning.jobs.create(
        model=BASE, training_file=file.id, seed=5, hyperparameters={"n_epochs": 4, "batch_size": 4}
    )
    while there.status != "succeeded":
        time.sleep(0.3)
        there = client.fine_tuning.jobs.retrieve(there.id)
        assert there.status in ("validating_files", "queued", "running", "succeeded")
    command = (
        *("migrate", "openai", "--base-url", machine.url, "--key", KEY, "--model", machine.folder / BASE),
        *("--job", there.id, "--rows", "8", "--json"),
    )
    ran = tunesmith(*command, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"), TUNESMITH_OFFLINE="1")
    assert ran.code == 0, ran.err
    (moved,) = ran.document["jobs"]
    assert moved["state"] == "succeeded"
    assert moved["remote"]["hyperparameters"] == {"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert moved["verdict"] in ("equivalent", "cannot tell"), moved["sentence"]
    assert (tmp_path / "migrated" / "files" / f"{file.id}.jsonl").read_bytes() == machine.rows.read_bytes()
    again = tunesmith(*command, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
    assert again.document["jobs"][0]["job"] == moved["job"], "nothing is trained twice"
    assert "training" not in again.err.replace("training again", "")
