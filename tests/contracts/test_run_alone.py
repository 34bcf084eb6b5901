"""A whole run on an architecture that cannot be packed: it says so, saves, reloads in a fresh process, and passes."""

from __future__ import annotations

from pathlib import Path

from tests.command import inside
from tests.contracts.families import ALONE, build
from tests.project import CONFIG, ROWS, questions, write_config, write_rows
from tests.tiny import build_tokenizer
from tests.train.job import ADAPTER, config, train
from tunesmith.core.events import Note


def test_a_run_one_document_at_a_time_says_so_and_passes_its_checks(tmp_path: Path) -> None:
    kind, settings = ALONE["falcon, alibi"]
    model = build(tmp_path / "model", kind, {**settings, "vocab_size": 384, "max_position_embeddings": 512})
    notes: list[str] = []
    adapter = ADAPTER.model_copy(update={"lora_r": 2})
    record = train(
        model,
        tmp_path / "run",
        config(max_steps=3),
        emit=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
        adapter=adapter,
    )
    assert any(note.startswith("packing: one document per row, because ") for note in notes)
    checks = {check.name: check for check in record.checks}
    assert "0 of its 2 layers use plain attention" in checks["packing"].detail
    assert all(check.passed for check in record.checks), record.checks


def test_plan_says_so_too(tmp_path: Path) -> None:
    kind, settings = ALONE["falcon, alibi"]
    build(tmp_path / "base", kind, {**settings, "vocab_size": 384, "max_position_embeddings": 512})
    build_tokenizer(tmp_path / "base")
    write_rows(tmp_path / ROWS, questions(range(15)))
    write_config(tmp_path / CONFIG, lora_r=2, max_steps=2)
    for form in ((), ("--json",)):
        ran = inside("plan", CONFIG, *form, at=tmp_path, TUNESMITH_HOME=str(tmp_path / "home"))
        assert ran.code == 0, ran.err
        assert "packing: one document per row, because " in " ".join(ran.err.split())
