"""Two processes train what one would: same losses, same weights, whatever happens between; started with torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.command import QUICK, SECONDS, Ran
from tests.project import CONFIG, Project
from tests.tiny import build_tokenizer
from tests.train import rank_job
from tests.train.test_run import weights
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.errors import ConfigError, TrainingError
from tunesmith.core.ranks import Place, place
from tunesmith.model import device
from tunesmith.model.load import load_base
from tunesmith.model.sharded import train_sharded
from tunesmith.model.trainable import Options, train_full
from tunesmith.train import ranks
from tunesmith.train.config import Config
from tunesmith.train.loop import refuse_hopeless
from tunesmith.train.order import dealt

METHODS = ("lora", "full")
TOLERANCE = 1e-5


def torchrun(*arguments: object, at: Path) -> Ran:
    """Two processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=at,
        env=os.environ | QUICK | {"GLOO_SOCKET_IFNAME": "lo"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def build_odd(folder: Path, tied: bool = True) -> Path:
    """A random Llama whose matrices have odd numbers of rows, so that two processes cannot halve them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    build_tokenizer(folder)
    torch.manual_seed(0)
    sizes = {"vocab_size": 385, "hidden_size": 32, "intermediate_size": 67, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, **heads, **ids, tie_word_embeddings=tied)).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_odd(folder / "untied", tied=False)
    return build_odd(folder / "odd")


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``one/METHOD`` (one process), ``two/METHOD`` (two), and ``back/METHOD`` (two, then one, then two).

    In ``short``, memory runs out in the second process; ``bad.json`` has what came out of a job in which it failed.
    """
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunesmith.train.verify.Reload", rank_job.job.InstantReload)
        jobs = [
            *(f"two/{m}={m}" for m in METHODS),
            *(f"back/{m}={m}:3" for m in METHODS),
            "short=lora:short",
            "two/untied=full:untied",
        ]
        begun = torchrun("tests.train.rank_job", model, folder, *jobs, at=folder)
        assert begun.code == 0, begun.err
        for method in METHODS:
            with suppress(rank_job.Stopped):
                rank_job.train(model, folder / "back" / method, method, rank_job.stop_after(5))
            rank_job.train(model, folder / "one" / method, method)
        rank_job.train(model.with_name("untied"), folder / "one" / "untied", "full")
    jobs = [*(f"back/{m}={m}" for m in METHODS), "bad=full:fail"]
    ended = torchrun("tests.train.rank_job", model, folder, *jobs, at=folder)
    (folder / "bad.json").write_text(json.dumps(vars(ended)))
    return folder


def record(folder: Path) -> RunRecord:
    return RunRecord.model_validate_json((folder / "run.json").read_bytes())


def apart(one: Path, two: Path) -> float:
    """Largest relative difference of any trained tensor (Frobenius norm)."""
    first, second = weights(one, "last"), weights(two, "last")
    assert first.keys() == second.keys()
    return max(float((second[name] - first[name]).norm() / first[name].norm()) for name in first)


@pytest.mark.parametrize(
    ("way", "method"), [*((way, method) for way in ("two", "back") for method in METHODS), ("two", "untied")]
)
def test_two_processes_learn_what_one_does_also_when_their_number_changes(out: Path, method: str, way: str) -> None:
    one, two = record(out / "one" / method), record(out / way / method)
    assert two.train_losses == pytest.approx(one.train_losses, rel=TOLERANCE)
    assert list(two.validation_losses.values()) == pytest.approx(list(one.validation_losses.values()), rel=TOLERANCE)
    assert (two.tokens, two.target_tokens, two.best_step) == (one.tokens, one.target_tokens, one.best_step)
    assert apart(out / "one" / method, out / way / method) < TOLERANCE
    assert [check.name for check in two.checks if check.passed is False] == []


@pytest.mark.parametrize("method", METHODS)
def test_what_a_run_logs_is_the_same_with_two_processes(out: Path, method: str) -> None:
    def lines(way: str, name: str) -> list[dict[str, float]]:
        return [json.loads(line) for line in (out / way / method / name).read_text().splitlines()]

    one, two = lines("one", "row_losses.jsonl"), lines("two", "row_losses.jsonl")
    assert [(x["step"], x["row"], x["tokens"]) for x in one] == [(x["step"], x["row"], x["tokens"]) for x in two]
    assert [x["loss"] for x in two] == pytest.approx([x["loss"] for x in one], rel=TOLERANCE)
    norms = [[x["grad_norm"] for x in lines(way, "events.jsonl") if x["kind"] == "step"] for way in ("one", "two")]
    assert norms[1] == pytest.approx(norms[0], rel=TOLERANCE)
    assert len(norms[0]) == 8


def test_the_record_says_how_many_processes_trained_and_that_they_agree(out: Path) -> None:
    assert record(out / "two" / "lora").environment["processes"] == "2"
    (check,) = [check for check in record(out / "two" / "lora").checks if check.name == "same weights"]
    assert check.passed
    assert not [check for check in record(out / "one" / "lora").checks if check.name == "same weights"]


def test_memory_that_runs_out_in_one_process_makes_all_take_fewer_rows_at_a_time(out: Path) -> None:
    one, short = record(out / "one" / "lora"), record(out / "short")
    assert short.noticed == (
        "memory ran out in step 3 with 5 rows at a time: from here on it is 2, with the same 5 rows in a step, "
        "so the result stays the same",
    )
    assert short.train_losses == pytest.approx(one.train_losses, rel=TOLERANCE)


def test_an_error_in_one_process_ends_all_with_its_message(out: Path) -> None:
    bad = json.loads((out / "bad.json").read_text())
    assert bad["code"] != 0
    assert bad["err"].count("rank 1 of 2:") == 1
    assert "a row that only this process has seen" in bad["err"]
    assert not (out / "bad" / "run.json").exists()


def test_weights_of_divided_training_load_in_transformers(out: Path, model: Path) -> None:
    saved = load_file(out / "two" / "full" / "model" / "model.safetensors")
    base = load_file(model / "model.safetensors")
    assert {name: tensor.shape for name, tensor in saved.items()} == {n: t.shape for n, t in base.items()}


def test_the_command_speaks_and_writes_once(project: Project, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = [
        f"--set=output_dir={run}",
        "--set=max_steps=3",
        "--set=eval_steps=3",
        "--set=eval_generate_rows=2",
        "--json",
    ]
    ran = torchrun("tunesmith", "train", project.folder / CONFIG, *changes, at=project.folder)
    document = json.loads(ran.out)
    assert document["run"]["environment"]["processes"] == "2"
    assert ran.code == 0 or document["verdict"] == "worse"
    assert ran.err.count("judging") == 1
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["kind"] == "step"] == [1, 2, 3]
    assert [bool(event["metrics"]) for event in events if event["kind"] == "validated"] == [True]


def test_an_error_that_all_processes_have_is_said_once(tmp_path: Path) -> None:
    ran = torchrun("tunesmith", "train", "nowhere.yaml", at=tmp_path)
    assert ran.code != 0
    assert ran.err.count("nowhere.yaml") == 1
    assert "rank 1" not in ran.err.partition("torch.distributed.elastic")[0]


def test_other_commands_are_not_started_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunesmith.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main.run(["doctor"]) == 2
    assert "several processes run this command" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main.run(["doctor"]) == 0
    assert capsys.readouterr() == ("", "")


COMPLETE = {
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_the_place_of_a_process_is_what_its_launcher_says() -> None:
    assert place({}) == place({"WORLD_SIZE": "1", "RANK": "0"}) == Place(0, 1, 0, 1)
    assert place(COMPLETE) == Place(3, 4, 1, 2)
    assert not place(COMPLETE).is_first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": "4"}, "RANK is 4 of a WORLD_SIZE of 4"),
        ({"MASTER_PORT": ""}, "WORLD_SIZE is 4, and MASTER_PORT is not set"),
        ({"LOCAL_RANK": "first"}, "LOCAL_RANK is 'first', not a number"),
    ],
)
def test_a_contradictory_environment_is_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place(COMPLETE | change)


def second_of_two(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (COMPLETE | {"WORLD_SIZE": "2", "RANK": "1", **changes}).items():
        monkeypatch.setenv(name, value)


def test_processes_of_one_machine_share_its_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESMITH_THREADS", raising=False)
    monkeypatch.setattr("tunesmith.core.cores.usable_cores", lambda: 8)
    monkeypatch.setattr(device, "usable_cores", lambda: 8)
    monkeypatch.setattr(device, "available_memory", lambda: 1000)
    second_of_two(monkeypatch)
    assert device.choose_threads() == (4, "8 usable cores for 2 processes")
    assert device.free_memory(torch.device("cpu")) == 500


def test_a_process_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 1 of this machine has no GPU: there are 1"), ranks.joined():
        pass


def test_processes_that_do_not_meet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch)

    def nobody(_url: str) -> None:
        raise RuntimeError("connection timed out")

    monkeypatch.setattr(torch.distributed, "rendezvous", nobody)
    said = "the processes do not find each other: connection timed out"
    with pytest.raises(TrainingError, match=said), ranks.joined():
        pass


class FakeStore:
    """What processes see of each other's end."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, name: str, value: str) -> None:
        self.values[name] = value.encode()

    def get(self, name: str) -> bytes:
        return self.values[name]

    def check(self, names: list[str]) -> bool:
        return all(name in self.values for name in names)


def test_the_first_process_says_that_another_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch, RANK="0")
    store = FakeStore()
    monkeypatch.setattr(ranks._Meeting, "store", store)
    with pytest.raises(
        TrainingError, match="another process has ended or cannot be reached: connection closed by peer"
    ):
        ranks._end(RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:1234"))
    assert store.values


def test_the_others_are_silent_about_what_the_first_says(monkeypatch: pytest.MonkeyPatch) -> None:
    second_of_two(monkeypatch)
    store = FakeStore()
    monkeypatch.setattr(ranks._Meeting, "store", store)
    monkeypatch.setattr(ranks, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(ranks, "PATIENCE_SECONDS", 0.0)
    own = ConfigError("mine alone", fix="none")
    with pytest.raises(ConfigError, match="mine alone"):
        ranks._end(own)
    monkeypatch.setattr(ranks, "PATIENCE_SECONDS", 1.0)
    store.set("failed", "ConfigError")
    with pytest.raises(SystemExit) as ended:
        ranks._end(own)
    assert ended.value.code == 2


def test_processes_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "most", lambda value: value + 1)
    with pytest.raises(ConfigError, match="the processes differ in: data"):
        ranks.require_same({"data": "a"})


@pytest.mark.parametrize(
    ("change", "offload", "said"),
    [
        ({}, True, "activation_offload: true with method: full"),
        ({"master_dtype": "bfloat16"}, "auto", "master_dtype: bfloat16 with method: full"),
        ({"optim": "adamw_8bit"}, "auto", "optim: adamw_8bit with method: full"),
    ],
)
def test_what_divided_weights_cannot_do_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str], offload: object, said: str
) -> None:
    full = Config(method="full", **change)  # type: ignore[arg-type]
    ranks.refuse_alone(full, offload)
    second_of_two(monkeypatch)
    ranks.refuse_alone(Config(method="lora"), offload)
    ranks.refuse_alone(Config(method="full"), "auto")
    with pytest.raises(ConfigError, match=said):
        ranks.refuse_alone(full, offload)


def test_a_model_that_cannot_be_divided_is_refused(tiny_model: Path) -> None:
    base = load_base(tiny_model, torch.float32)
    base.model.lm_head.to(torch.bfloat16)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="method: full on several processes: the model mixes 2 number formats"):
        train_sharded(base)


def test_memory_that_runs_out_between_divided_weights_ends_the_run(tiny_model: Path) -> None:
    trainable = train_full(load_base(tiny_model, torch.float32), Options.__new__(Options))
    error = MemoryError("out of memory")
    refuse_hopeless(trainable, error)
    trainable.shards = object()  # type: ignore[assignment]
    with pytest.raises(TrainingError, match="memory ran out: out of memory"):
        refuse_hopeless(trainable, error)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 17])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_rows_are_dealt_once_each_in_equal_turns(count: int, world: int, size: int) -> None:
    lengths = [10 + 7 * i % 13 for i in range(count)]
    hands = [dealt(lengths, size, world, rank) for rank in range(world)]
    assert sorted(row for hand in hands for part in hand for row in part) == list(range(count))
    assert len({len(hand) for hand in hands}) == 1
    assert max(len(part) for hand in hands for part in hand) <= size
    taken = [sum(map(len, hand)) for hand in hands]
    assert max(taken) - min(taken) <= 1


def test_long_rows_are_spread_over_processes() -> None:
    lengths = [100, 90, 10, 9, 8, 7]
    loads = [sum(lengths[i] for part in dealt(lengths, 4, 2, rank) for i in part) for rank in (0, 1)]
    assert max(loads) <= 1.1 * min(loads)
