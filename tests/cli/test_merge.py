"""`merge` and `export` as users meet them: what they say, what they write, what they refuse and leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Backend
from transformers import AutoModelForCausalLM

from tests.cli.conftest import Desk, refusal
from tests.command import Ran, kept, plain
from tests.project import HELD_OUT, Project
from tests.tiny import CHATML
from tests.train.job import InstantReload
from tunesmith.core.artifacts import AdapterCard
from tunesmith.core.disk import verify_folder
from tunesmith.model import gguf_tokenizer
from tunesmith.model.load import load_base
from tunesmith.train import verify


@pytest.fixture
def run(project: Project, trained: Ran) -> Path:
    assert trained.code == 0, trained.err
    return project.run


@pytest.fixture
def rows(project: Project) -> Path:
    return project.folder / HELD_OUT


def made(desk: Desk) -> list[str]:
    """What stands in the desk's folder besides what was there before."""
    before = ("rows.jsonl", "tunesmith.yaml", "home")
    return sorted(path.name for path in desk.folder.iterdir() if path.name not in before)


def test_merge_answers_as_the_adapter_did(desk: Desk, run: Path, rows: Path) -> None:
    ran = desk.ask("merge", run, "--output", "merged", "--data", rows, "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert found["refused"] == ""
    assert found["difference"]["relative"] < found["max_difference"]
    assert found["difference"]["agreement"] > 0.9
    assert found["difference"]["kept"] > 0.9
    assert {c["verdict"] for c in found["report"]["comparisons"]} <= {"equivalent", "cannot tell"}
    merged = desk.folder / "merged"
    verify_folder(merged)
    card = AdapterCard.model_validate_json((merged / "tunesmith.json").read_bytes())
    assert card.merged_from == json.loads((run / "run.json").read_text())["adapter_digest"]
    assert card.dtype == found["number_format"]
    assert AutoModelForCausalLM.from_pretrained(merged).config.tie_word_embeddings is False
    again = desk.ask("eval", merged, "--data", rows, "--json")
    assert again.code == 0, again.err
    told = desk.ask("eval", merged, "--data", run.parent.parent / "rows.jsonl")
    assert "were training or validation rows of merged" in plain(told.err)
    assert made(desk) == ["merged"]


def test_merge_says_what_it_found(desk: Desk, run: Path) -> None:
    ran = desk.ask("merge", run, "--output", "merged")
    assert ran.code == 0, ran.err
    text = plain(ran.out)
    assert "largest difference of a logit" in text
    assert "same greedy token " in text
    assert "of the adapter's effect" in text
    assert "written: merged (" in text


def test_four_bits_and_a_template_of_the_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter goes into the 4-bit weights, and the folder speaks as the run was trained to."""
    monkeypatch.setattr(verify, "Reload", InstantReload)
    own = CHATML.replace("You are a tiny test model.", "Be brief.")
    (desk.folder / "own.jinja").write_text(own)
    desk.config(method="qlora", chat_template="own.jinja", max_steps=4, max_new_tokens=4)
    assert desk.train().code in (0, 1)
    ran = desk.ask("merge", "run", "--output", "merged", "--json")
    assert ran.code == 0, ran.err
    assert any("merged into those weights, unpacked to" in note for note in ran.document["notes"])
    assert not ran.document["number_format"].endswith("nf4")
    merged = desk.folder / "merged"
    assert (merged / "chat_template.jinja").read_text() == own
    assert "chat_template" not in json.loads((merged / "tokenizer_config.json").read_text())
    assert desk.ask("export", "run", "--format", "gguf", "--output", "run.gguf").code == 0
    told = desk.ask("export", "run", "--format", "peft", "--output", "plain", "--json").document["notes"]
    assert any("trained on the base in 4 bits" in note for note in told)
    assert any("chat template is not part of a PEFT folder" in note for note in told)


def test_other_ids_or_another_template_are_noticed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend.from_file(str(desk.base / "tokenizer.json"))
    monkeypatch.setattr(gguf_tokenizer, "read_back", lambda _path: (backend, "another"))
    error = refusal(desk.ask("export", desk.base, "--format", "gguf", "--output", "x.gguf"))
    assert error.what == "the chat template in the file is not the one that was trained"
    backend.pre_tokenizer = None
    error = refusal(desk.ask("export", desk.base, "--format", "gguf", "--output", "x.gguf"))
    assert error.what.startswith("the tokenizer in the file gives other ids for 'The capital of France")
    assert made(desk) == []


def test_too_far_is_refused_and_leaves_nothing(desk: Desk, run: Path) -> None:
    ran = desk.ask("merge", run, "--output", "merged", "--max-difference", "0", "--json")
    assert ran.code == 1, ran.err
    assert ran.document["refused"].startswith("logits differ by up to ")
    assert ran.document["refused"].endswith(" standard deviations, allowed are 0")
    assert "nothing was written" in ran.err
    assert made(desk) == []


def test_what_cannot_be_merged_is_refused_by_name(desk: Desk, run: Path) -> None:
    folder = desk.folder / "prefix"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "PREFIX_TUNING", "base_model_name_or_path": "x"})
    )
    for command in (("merge",), ("export", "--format", "gguf"), ("export", "--format", "safetensors")):
        error = refusal(desk.ask(command[0], folder, *command[1:], "--output", "out"))
        assert error.what.startswith(
            "an adapter of the kind PREFIX_TUNING cannot be merged: its trained keys and values"
        )
        assert error.fix.startswith("serve it as it is")
    error = refusal(desk.ask("merge", desk.base, "--output", "out"))
    assert error.what == f"{desk.base} is not an adapter, so there is nothing to be merged"
    assert made(desk) == ["prefix"]


def test_an_output_that_stands_is_never_overwritten(desk: Desk, run: Path) -> None:
    (desk.folder / "mine").mkdir()
    (desk.folder / "mine" / "thesis.txt").write_text("years of work")
    for command in (("merge",), ("export", "--format", "peft"), ("export", "--format", "gguf")):
        error = refusal(desk.ask(command[0], run, *command[1:], "--output", "mine"))
        assert error.what == "something stands at mine already"
        assert (error.where, error.fix) == ("--output", "choose another path, or remove what stands there")
    assert (desk.folder / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("command", [("merge",), ("export", "--format", "peft"), ("export", "--format", "gguf")])
def test_a_disk_that_cannot_be_written(desk: Desk, run: Path, read_only_disk: Path, command: tuple[str, ...]) -> None:
    error = refusal(desk.ask(command[0], run, *command[1:], "--output", read_only_disk / "out"))
    assert error.what == "the file system is read-only"
    assert kept(desk.home) == []


@pytest.mark.parametrize("command", [("merge",), ("export", "--format", "peft"), ("export", "--format", "gguf")])
def test_a_full_disk_keeps_nothing(desk: Desk, run: Path, small_disk: Path, command: tuple[str, ...]) -> None:
    room = 4096
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(room))
        except OSError:
            pass
    error = refusal(desk.ask(command[0], run, *command[1:], "--output", small_disk / "out"))
    assert error.what == "the disk is full"
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast"]


def test_peft_folder_without_our_files(desk: Desk, run: Path) -> None:
    ran = desk.ask("export", run, "--format", "peft", "--output", "plain", "--json")
    assert ran.code == 0, ran.err
    assert sorted(p.name for p in (desk.folder / "plain").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert ran.document["difference"] is None
    assert any("names its base as" in note for note in ran.document["notes"])
    error = refusal(desk.ask("export", desk.base, "--format", "peft", "--output", "other"))
    assert error.what.endswith("is not an adapter, so there is nothing to be written as a PEFT folder")


@pytest.mark.parametrize("kind", [(), ("--type", "f16"), ("--type", "q8_0")])
def test_a_gguf_file_is_a_model_again(desk: Desk, run: Path, kind: tuple[str, ...]) -> None:
    ran = desk.ask("export", run, "--format", "gguf", "--output", "tiny.gguf", *kind, "--json")
    assert ran.code == 0, ran.err
    assert ran.document["difference"]["relative"] < ran.document["max_difference"]
    assert ran.document["size"] == (desk.folder / "tiny.gguf").stat().st_size
    asked = desk.ask("chat", "tiny.gguf", "-m", "The restaurant number 3 is near the riverside")
    assert asked.code == 0, asked.err
    assert asked.out.strip() == desk.ask("chat", run, "-m", "The restaurant number 3 is near the riverside").out.strip()
    assert made(desk) == ["tiny.gguf"]


def test_a_gguf_file_that_lost_too_much_is_removed(desk: Desk, run: Path) -> None:
    arguments = ("--format", "gguf", "--type", "q8_0", "--max-difference", "1e-6", "--output", "tiny.gguf")
    ran = desk.ask("export", desk.base, *arguments)
    assert ran.code == 1, ran.err
    assert "refused: logits differ by up to" in ran.out
    assert made(desk) == []


def test_a_model_is_copied_with_its_weights_as_they_are(desk: Desk) -> None:
    ran = desk.ask("export", desk.base, "--format", "safetensors", "--output", "copy", "--json")
    assert ran.code == 0, ran.err
    copy = desk.folder / "copy"
    verify_folder(copy)
    assert (copy / "model.safetensors").read_bytes() == (desk.base / "model.safetensors").read_bytes()
    assert load_base(copy, torch.float32).config.vocab_size == 384
    assert "the same" in desk.ask("export", desk.base, "--format", "safetensors", "--output", "again").out


def test_a_type_without_gguf_means_nothing(desk: Desk) -> None:
    error = refusal(desk.ask("export", desk.base, "--format", "safetensors", "--type", "f16", "--output", "copy"))
    assert error.what == "--type f16 means nothing to --format safetensors"
    assert made(desk) == []
