"""Tokenised rows in files: equal to those in memory, made once, damaged ones noticed, memory flat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.text.talk import row, say
from tests.text.test_documents import TEXT, document
from tunesmith.core import rows as columns
from tunesmith.core.errors import DataError
from tunesmith.core.events import Event, Note
from tunesmith.core.records import Example, TokenizedExample
from tunesmith.core.store import Workspace
from tunesmith.text.shards import Shard, ShardRows, open_shard, pieces, shard_key, write
from tunesmith.text.template import TemplateRenderer, load_renderer

LONGEST = 24


@pytest.fixture
def renderer(tiny_tokenizer: Path) -> TemplateRenderer:
    return load_renderer(tiny_tokenizer)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def examples(count: int = 40) -> list[Example]:
    """Chats of one and two answers, some with weights, and a text now and then."""
    made = []
    for n in range(count):
        ask, answer = say("user", f"Number {n}?"), say("assistant", f"{n} of them.")
        if n % 5 == 4:
            made.append(document(f"{n} " + TEXT[: 30 * (n % 7)]))
        elif n % 3:
            made.append(row(ask, answer))
        else:
            made.append(row(ask, say("assistant", "first", weight=(n % 2) / 3), say("user", "And?"), answer))
    return made


def in_memory(made: Sequence[Example], renderer: TemplateRenderer) -> list[TokenizedExample]:
    return [piece for example in made for piece in pieces(example, renderer, LONGEST)]


def everything(shard: Shard) -> ShardRows:
    return ShardRows([(shard, np.arange(len(shard)))])


def test_rows_come_back_exactly(renderer: TemplateRenderer, workspace: Workspace) -> None:
    made = examples()
    rows, wanted = everything(open_shard(workspace, made, renderer, LONGEST)), in_memory(made, renderer)
    assert len(wanted) > len(made), "texts were cut"
    assert list(rows) == wanted
    assert [rows[i] for i in range(-len(wanted), 0)] == wanted
    assert rows[3:9:2] == wanted[3:9:2]
    with pytest.raises(IndexError):
        rows[len(wanted)]


def test_columns_agree_with_the_rows(renderer: TemplateRenderer, workspace: Workspace) -> None:
    made = examples()
    shard, wanted = open_shard(workspace, made, renderer, LONGEST), in_memory(made, renderer)
    chosen = [i for i, piece in enumerate(wanted) if int(piece.example_id, 16) % 3]
    rows, listed = ShardRows([(shard, np.array(chosen))]), [wanted[i] for i in chosen]
    assert columns.lengths(rows) == columns.lengths(listed)
    assert columns.trained(rows) == columns.trained(listed)
    assert sorted(columns.endings(rows)) == sorted(columns.endings(listed))
    assert all(isinstance(n, int) for n in (*columns.lengths(rows), *columns.trained(rows)))


def test_several_shards_are_one_sequence(renderer: TemplateRenderer, workspace: Workspace) -> None:
    one, other = examples(7), examples(40)[7:]
    shards = [open_shard(workspace, made, renderer, LONGEST) for made in (one, other)]
    parts = [(shards[0], np.array([2, 5])), (shards[1], np.empty(0, np.int64)), (shards[1], np.array([0, 1, 4]))]
    rows = ShardRows(parts)
    assert list(rows) == [shards[0].row(2), shards[0].row(5), *(shards[1].row(i) for i in (0, 1, 4))]
    assert len(ShardRows([])) == 0


def test_the_second_start_tokenises_nothing(
    renderer: TemplateRenderer, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = examples()
    first = list(everything(open_shard(workspace, made, renderer, LONGEST)))
    monkeypatch.setattr(TemplateRenderer, "example", None)
    notes: list[Event] = []
    assert list(everything(open_shard(workspace, made, renderer, LONGEST, notes.append, "rows.jsonl"))) == first
    assert [e.text for e in notes if isinstance(e, Note)] == [
        "rows.jsonl: tokenised at an earlier start, 40 examples taken from there"
    ]


def test_the_key_follows_from_everything_that_rows_follow_from(
    renderer: TemplateRenderer, tiny_tokenizer: Path
) -> None:
    made, chats = examples(), [example for example in examples() if not example.is_document]
    key = shard_key(made, renderer, LONGEST)
    assert key == shard_key(examples(), load_renderer(tiny_tokenizer), LONGEST)
    assert key != shard_key(made[1:], renderer, LONGEST)
    assert key != shard_key(made[::-1], renderer, LONGEST)
    assert key != shard_key(made, load_renderer(tiny_tokenizer, train_on="last"), LONGEST)
    assert key != shard_key(made, load_renderer(tiny_tokenizer, chat_template="plain"), LONGEST)
    assert key != shard_key(made, renderer, LONGEST + 1)
    assert shard_key(chats, renderer, 24) == shard_key(chats, renderer, 25), "conversations are never cut"


@pytest.mark.parametrize("name", ["tokens.bin", "rows.bin", "runs.bin", "shard.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_noticed_and_made_again(
    name: str, damage: str, renderer: TemplateRenderer, workspace: Workspace
) -> None:
    made = examples()
    shard = open_shard(workspace, made, renderer, LONGEST)
    rows, path = list(everything(shard)), shard.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(data if damage == "flip" else data[:-3])
    notes: list[Event] = []
    assert list(everything(open_shard(workspace, made, renderer, LONGEST, notes.append, "rows.jsonl"))) == rows
    (note,) = [e for e in notes if isinstance(e, Note)]
    assert note.level == "warning"
    assert "the tokenised rows of rows.jsonl are damaged and made again" in note.text
    assert name in note.text


def test_a_row_that_cannot_be_rendered_leaves_nothing_behind(renderer: TemplateRenderer, workspace: Workspace) -> None:
    made = [*examples(), row(say("user", "<|im_end|>"), say("assistant", "no"))]
    with pytest.raises(DataError, match="control token"):
        open_shard(workspace, made, renderer, LONGEST)
    assert list((workspace.root / "cache").iterdir()) == list((workspace.root / "tmp").iterdir()) == []


def test_ids_take_two_bytes_where_the_vocabulary_is_small(renderer: TemplateRenderer, tmp_path: Path) -> None:
    folders = tmp_path / "small", tmp_path / "large"
    for folder in folders:
        folder.mkdir()
    write(folders[0], iter(examples()), renderer, LONGEST)
    assert json.loads((folders[0] / "shard.json").read_text()) == {"layout": 1, "ids": "<u2", "examples": 40}

    class Large:
        vocab_size, row_digest, example = 1 << 17, "large", renderer.example

    write(folders[1], examples(), Large(), LONGEST)  # type: ignore[arg-type]
    assert json.loads((folders[1] / "shard.json").read_text())["ids"] == "<u4"
    assert list(everything(Shard(folders[0]))) == list(everything(Shard(folders[1])))


def test_an_empty_shard_can_be_opened(renderer: TemplateRenderer, workspace: Workspace) -> None:
    rows = everything(open_shard(workspace, [], renderer, LONGEST))
    assert list(rows) == list(columns.endings(rows)) == columns.lengths(rows) == []
