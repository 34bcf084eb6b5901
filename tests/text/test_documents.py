"""Plain text as rows: every token trained once, one beginning, one trained end, cut where it is too long."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.text.families import FAMILIES
from tunesmith.core.errors import DataError
from tunesmith.core.records import Document, Example, Source, TokenizedExample
from tunesmith.core.rows import endings, lengths, trained
from tunesmith.text.template import load_renderer

Folders = Callable[[str], Path]
TEXT = "The Eagle is a French restaurant near the riverside.\n\nIt has a high customer rating. " * 6


def document(text: str) -> Example:
    return Example(messages=(), target=Document(text=text), source=Source(path="book.txt", line=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_a_text_is_trained_and_so_is_its_end_once(family: str, family_folder: Folders) -> None:
    renderer = load_renderer(family_folder(family))
    (row,) = renderer.example(document(TEXT))
    before = renderer.tokenizer.prefix_ids
    assert row.tokens == (*before, *renderer.tokenizer.ids(TEXT), renderer.text_end)
    assert row.weights == (0.0, *([1.0] * (len(row.tokens) - 1)))
    assert row.tokens.count(renderer.text_end) == 1 + before.count(renderer.text_end)
    assert renderer.text_end in renderer.stop_ids, "what ends a text stops generation"
    bos = renderer.tokenizer.bos_id
    assert bos is None or bos == renderer.text_end or row.tokens.count(bos) == before.count(bos) <= 1
    assert renderer.decode(row.tokens).strip() == TEXT.strip()


def test_a_chat_model_ends_texts_with_its_end_of_text_where_that_stops_generation(
    family_folder: Folders, tmp_path: Path
) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(family_folder("smollm2"), tmp_path / "model"))
    renderer = load_renderer(folder)
    assert renderer.text_end == renderer.tokenizer.id_of("<|im_end|>")
    ids = [renderer.tokenizer.id_of("<|im_end|>"), renderer.tokenizer.id_of("<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    renderer = load_renderer(folder)
    assert renderer.text_end == renderer.tokenizer.id_of("<|endoftext|>")


@pytest.mark.parametrize("longest", [2, 7, 16, 64, 10_000])
def test_a_cut_text_trains_each_of_its_tokens_in_one_piece(longest: int, tiny_tokenizer: Path) -> None:
    (row,) = load_renderer(tiny_tokenizer).example(document(TEXT))
    pieces = row.cut(longest)
    assert all(2 <= len(piece.tokens) <= longest for piece in pieces) or len(pieces) == 1
    targets = [t for piece in pieces for t, w in zip(piece.tokens, piece.weights, strict=True) if w]
    assert targets == list(row.tokens[1:])
    assert all(piece.weights[0] == 0.0 for piece in pieces)
    assert all(b.tokens[0] == a.tokens[-1] for a, b in pairwise(pieces)), "one token of context"
    assert sum(trained(pieces)) == row.trained_tokens
    assert list(lengths(pieces)) == [len(piece.tokens) for piece in pieces]
    assert list(endings(pieces)) == [(row.tokens[-1], 1.0)], "the end of the text, not of each piece"


def test_answers_are_never_cut() -> None:
    from tunesmith.core.records import Span

    row = TokenizedExample(example_id="a", tokens=(1, 2, 3), weights=(0.0, 1.0, 1.0), spans=(Span(start=1, end=3),))
    assert row.cut(3) == [row]
    with pytest.raises(AssertionError, match="only plain text is cut"):
        row.cut(2)


def test_texts_that_cannot_be_trained_are_refused(tiny_tokenizer: Path) -> None:
    renderer = load_renderer(tiny_tokenizer)
    with pytest.raises(DataError, match="the text is empty") as empty:
        renderer.example(document(" \n"))
    assert empty.value.where == "book.txt:1"
    with pytest.raises(DataError, match=r"control token '<\|endoftext\|>' stands in the text") as forged:
        renderer.example(document("one<|endoftext|>two"))
    assert "in a text they would end it" in forged.value.rule


def test_a_document_survives_json_and_has_an_id_of_its_own() -> None:
    example = document("Once upon a time")
    assert Example.model_validate_json(example.model_dump_json()) == example
    assert example.is_document
    assert example.conversation == ()
    assert example.id != document("Once upon a time.").id
