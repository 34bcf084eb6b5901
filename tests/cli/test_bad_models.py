"""Models and adapters that cannot be used: by `train`, `eval`, `chat` and `serve` alike."""

from __future__ import annotations

import json
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.command import Ran, inside, kept
from tests.project import BASE, HELD_OUT, ROWS, RUN, Project, build_base
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.store import Workspace, file_digest
from tunesmith.curate import read_file
from tunesmith.model.adapters import adapter_digest

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the same shape with the same tokenizer and other weights."""
    return build_base(tmp_path_factory.mktemp("models") / "other", seed=5)


@pytest.fixture
def run(project: Project, trained: Ran, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    assert trained.code == 0, trained.err
    return Path(shutil.copytree(project.run, tmp_path / "copy"))


def uses(desk: Desk, model: Path | str) -> Iterator[Ran]:
    """Every command that opens a run or an adapter, given this one."""
    yield desk.ask("chat", model, "--message", "Hello", "--max-tokens", "4")
    yield desk.ask("eval", model, "--data", ROWS)
    yield desk.ask("compare", desk.base, model, "--data", ROWS)
    yield desk.ask("serve", "--model", model, "--port", "0")
    yield desk.ask("serve", "--model", desk.base, "--adapter", f"mine={model}", "--port", "0")


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}), encoding="utf-8")


# ---- models


@pytest.mark.parametrize("name", ["no-such-model", "./no-such-folder"])
def test_missing_model(desk: Desk, name: str) -> None:
    desk.config(model=name)
    error = refusal(desk.train())
    assert (error.what, error.where) == (f"no model called {name!r}", "model")
    assert error.rule.startswith("a model is a folder with config.json, a .gguf file, a hub id")
    assert error.fix == "check the path, or use a built-in name: smollm2-135m-instruct"
    assert desk.is_untouched()


def test_a_mistyped_name_offers_the_nearest(desk: Desk) -> None:
    assert refusal(desk.ask("chat", "smollm2-135-instruct", "-m", "Hello")).fix == "did you mean smollm2-135m-instruct?"


def test_a_mistyped_run_is_not_looked_for_elsewhere(
    project: Project, trained: Ran, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained.code == 0, trained.err
    asked: list[str] = []
    monkeypatch.setattr("tunesmith.core.fetch.hub_folder", asked.append)
    error = refusal(inside("chat", "runs/frist", "-m", "Hello", at=project.folder, TUNESMITH_HOME=str(desk.home)))
    assert error.what == "no model called 'runs/frist'"
    assert error.fix == f"did you mean {RUN}?"
    assert asked == []


def test_no_network_and_no_cached_model(desk: Desk) -> None:
    desk.config(model="smollm2-135m-instruct")
    error = refusal(desk.train(TUNESMITH_OFFLINE="1"))
    assert error.what == "the model smollm2-135m-instruct is not on this machine yet and downloads are switched off"
    assert error.where == "model"
    assert error.rule == "TUNESMITH_OFFLINE=1 forbids downloads"
    assert error.fix.startswith("run once with downloads allowed, or give a local folder as model")
    assert desk.is_untouched()


def test_hub_out_of_reach(desk: Desk) -> None:
    desk.config(model="some-owner/some-model")
    error = refusal(desk.train())
    assert error.what.startswith("not on this machine, and cannot be downloaded: ")
    assert error.where == "some-owner/some-model"
    assert error.fix.startswith("check the network, or set HF_ENDPOINT to a mirror")
    assert desk.is_untouched()


def test_model_with_pickled_weights_only(desk: Desk) -> None:
    pickled = desk.folder / "pickled"
    shutil.copytree(desk.base, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    desk.config(model="pickled")
    error = refusal(desk.train())
    assert error.what == f"the model folder {pickled} has no *.safetensors"
    assert error.rule.endswith("pickles are not read")
    assert error.fix.startswith("save it again with save_pretrained(folder)")
    assert desk.is_untouched()


def test_weights_that_are_cut_short(desk: Desk) -> None:
    broken = desk.folder / "broken"
    shutil.copytree(desk.base, broken)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-100])
    desk.config(model="broken")
    error = refusal(desk.train())
    assert error.what.startswith(f"the model in {broken} cannot be loaded: ")
    assert error.where == "model"
    assert "download the model again" in error.fix
    assert desk.is_untouched()


@pytest.fixture
def untemplated(desk: Desk) -> Path:
    """A base whose tokenizer has no chat template."""
    folder = Path(shutil.copytree(desk.base, desk.folder / "untemplated"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_tokenizer_without_chat_template(desk: Desk, untemplated: Path) -> None:
    desk.config(model=untemplated.name)
    error = refusal(desk.train())
    assert (error.what, error.where) == ("the model has no chat template", str(untemplated))
    assert error.rule == "a chat template says how messages are written as text"
    assert error.fix.startswith("set chat_template to chatml, plain or the path of a .jinja file")
    assert desk.is_untouched()
    assert refusal(desk.ask("chat", untemplated, "-m", "Hello")).what == error.what


# ---- adapters


def test_adapter_for_another_base(desk: Desk, project: Project, trained: Ran, other_base: Path) -> None:
    assert trained.code == 0, trained.err
    adapter = f"mine={project.run}"
    error = refusal(desk.ask("serve", "--model", other_base, "--adapter", adapter, "--port", "0"))
    assert error.what.startswith(f"the adapter was trained on another base: {project.folder / BASE} (")
    assert error.where == str(project.run / "adapter")
    assert error.rule == "an adapter fits only the exact weights that it was trained on"
    assert error.fix.startswith(f"use it with {project.folder / BASE} as that was then")
    assert desk.is_untouched()


def test_a_base_that_was_changed_after_training(desk: Desk, run: Path, other_base: Path) -> None:
    moved = Path(shutil.copytree(other_base, desk.folder / "changed"))
    change_json(run / "adapter" / "tunesmith.json", base=str(moved))
    (run / "adapter" / "manifest.json").unlink()
    for ran in islice(uses(desk, run), 4):
        assert refusal(ran).what.startswith(f"the adapter was trained on another base: {moved} (")
    assert desk.is_untouched()


def test_one_flipped_byte(desk: Desk, run: Path) -> None:
    weights = run / "adapter" / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    for ran in uses(desk, run):
        error = refusal(ran, code=2)
        assert error.what.startswith("the bytes changed: SHA-256 is ")
        assert error.where == str(weights)
        assert error.fix == "fetch or copy the folder again; what it holds cannot be trusted"
    assert desk.is_untouched()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("use_qalora", True, "use_qalora = True"),
        ("modules_to_save", ["lm_head"], "modules_to_save = ['lm_head']"),
        ("bias", "all", "bias = 'all'"),
        ("peft_type", "VERA", "peft_type = 'VERA'"),
    ],
)
def test_adapter_with_an_unsupported_option(desk: Desk, run: Path, option: str, value: object, said: str) -> None:
    adapter = run / "adapter"
    for name in ("manifest.json", "tunesmith.json"):
        (adapter / name).unlink()
    change_json(adapter / SETTINGS, **{option: value})
    for ran in (
        desk.ask("chat", adapter, "-m", "Hello"),
        desk.ask("serve", "--model", desk.base, "--adapter", f"mine={adapter}", "--port", "0"),
    ):
        error = refusal(ran)
        assert error.what == f"adapter option {said} is not supported"
        assert error.where == str(adapter / SETTINGS)
        assert error.fix.startswith("merge this adapter with PEFT")
    assert desk.is_untouched()


def test_a_model_is_not_an_adapter(desk: Desk, other_base: Path) -> None:
    error = refusal(desk.ask("serve", "--model", desk.base, "--adapter", f"mine={other_base}", "--port", "0"))
    assert error.what == f"{other_base} is not an adapter"
    assert error.where == "--adapter mine"
    error = refusal(desk.ask("serve", "--model", desk.base, "--adapter", "mine", "--port", "0"))
    assert error.what == "'mine' names no adapter"
    assert error.fix == "for example --adapter mine=mine"
    for text in ("=mine", "mine="):
        assert refusal(desk.ask("serve", "--model", desk.base, "--adapter", text)).fix == error.fix


@pytest.mark.parametrize("message", ["", "  "])
def test_an_empty_message(desk: Desk, message: str) -> None:
    error = refusal(desk.ask("chat", desk.base, "--message", message))
    assert (error.what, error.where) == ("the message is empty", "--message")
    assert error.fix == "give --message TEXT, or leave it out for a conversation"


def test_a_run_that_failed_a_check_answers_nobody(desk: Desk, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["checks"][-1] |= {"passed": False, "detail": "log-probabilities differ by 3"}
    (run / "run.json").write_text(json.dumps(record))
    for ran in uses(desk, run):
        error = refusal(ran)
        name = record["checks"][-1]["name"]
        assert error.what == f"the run in {run} failed a check: {name}: log-probabilities differ by 3"
        assert error.where == str(run / "run.json")
        assert error.fix == "train again with --fresh"
    assert desk.is_untouched()


# ---- rows and ports


@pytest.mark.parametrize("known_as", ["run", "adapter", "released name", "artifact"])
def test_eval_on_the_rows_of_training(unchanged: Project, trained: Ran, desk: Desk, known_as: str) -> None:
    assert trained.code == 0, trained.err
    home = unchanged.folder / ".tunesmith"
    release = Workspace.open(home).released("first")
    assert release is not None
    places = {"run": unchanged.run, "adapter": unchanged.run / "adapter", "released name": "first"}
    model = places.get(known_as, home / "artifacts" / release.adapter_digest)
    desk = replace(desk, workspace=home)
    seen = set((unchanged.run / "trained_rows.txt").read_text().split())
    lines = (unchanged.folder / ROWS).read_text().splitlines(keepends=True)
    known = [line for line, row in zip(lines, read_file(str(unchanged.folder / ROWS)), strict=True) if row.id in seen]
    (desk.folder / "seen.jsonl").write_text("".join(known), encoding="utf-8")
    error = refusal(desk.ask("eval", model, "--data", "seen.jsonl"))
    assert error.what.startswith(f"all {len(known)} rows were training or validation rows of ")
    assert error.where == "seen.jsonl"
    assert error.rule == "a model is measured on rows that it has not seen"
    assert error.fix == "give a file of held-out rows"
    new = (unchanged.folder / HELD_OUT).read_text()
    (desk.folder / "mixed.jsonl").write_text("".join(known[:2]) + new, encoding="utf-8")
    ran = desk.ask("eval", model, "--data", "mixed.jsonl")
    assert ran.code == 0
    assert "warning: 2 of 26 rows were training or validation rows of " in ran.err
    assert "mixed.jsonl:1, mixed.jsonl:2; the result flatters it" in ran.err


def test_rows_of_training_are_not_checked_without_a_list(desk: Desk, run: Path) -> None:
    ran = desk.ask("eval", Path(shutil.move(run / "adapter", desk.folder / "alone")), "--data", ROWS)
    assert ran.code == 0, ran.err
    assert "not checked whether alone was trained on these rows: give the run's folder to check it" in ran.err


def test_a_stored_adapter_is_whole_and_open_to_all(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    workspace = Workspace.open(project.folder / ".tunesmith")
    release = workspace.released("first")
    assert release is not None
    stored = workspace.artifact(release.adapter_digest).path
    card = AdapterCard.model_validate_json((stored / "tunesmith.json").read_bytes())
    beside = {path.name: file_digest(path) for path in stored.iterdir()}
    assert card.files == {name: beside[name] for name in (SETTINGS, WEIGHTS, "trained_rows.txt")}
    assert set(beside) == {*card.files, "tunesmith.json", "manifest.json"}
    assert (stored / "trained_rows.txt").read_bytes() == (project.run / "trained_rows.txt").read_bytes()
    assert adapter_digest(stored) == adapter_digest(project.run / "adapter")
    for folder in (stored, project.run, project.run / "adapter", project.run / "last"):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}
        assert modes == {stat.S_IMODE((project.folder / ROWS).stat().st_mode)}


def test_busy_port(desk: Desk, project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refusal(desk.ask("serve", "--model", project.folder / BASE, "--port", port))
    assert error.what == f"port {port} is busy: another program listens there"
    assert error.where == f"127.0.0.1:{port}"
    assert error.fix.startswith("choose another port (--port 0 takes any free one)")
    assert kept(desk.home) == []
