"""Text of answers that arrive token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.families import FAMILIES
from tunesmith.text.stream import Stream, pieces
from tunesmith.text.tokenizer import Tokenizer

Folders = Callable[[str], Path]
few = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {}


@pytest.fixture
def tokenizer(name: str, family_folder: Folders, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    if name not in tokenizers:
        tokenizers[name] = Tokenizer.load(family_folder(name))
    return tokenizers[name]


def run(tokenizer: Tokenizer, ids: Sequence[int], stop: Sequence[str] = ()) -> tuple[list[str], Stream]:
    stream = Stream(tokenizer, stop)
    return [*map(stream.push, ids), stream.finish()], stream


@every_family
@few
@given(text=st.text(max_size=30))
def test_all_pieces_are_the_decoded_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.ids(text)
    parts, stream = run(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids)
    assert not stream.stopped


@every_family
@few
@given(data=st.data())
def test_any_ids_at_all(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    assert "".join(run(tokenizer, ids)[0]) == tokenizer.decode(ids)


@every_family
@few
@given(text=st.text(alphabet="añ€北👍🏽\n x", max_size=20))
def test_no_half_character_comes_out(tokenizer: Tokenizer, text: str) -> None:
    parts, _ = run(tokenizer, tokenizer.ids(text))
    assert not any("\ufffd" in part for part in parts)


@every_family
@few
@given(
    text=st.text(alphabet="ab\n é", max_size=25),
    stop=st.lists(st.text(alphabet="ab\né", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_stop_string_comes_out(tokenizer: Tokenizer, text: str, stop: list[str]) -> None:
    ids = tokenizer.ids(text)
    decoded = tokenizer.decode(ids)
    parts, stream = run(tokenizer, ids, stop)
    ends = [(decoded.find(s) + len(s), decoded.find(s)) for s in stop if s in decoded]
    assert "".join(parts) == (decoded[: min(ends)[1]] if ends else decoded)
    assert stream.stopped == bool(ends)
    assert not any(s in "".join(parts) for s in stop)


def test_nothing_comes_after_a_stop_string(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("smollm2"))
    stream = Stream(tokenizer, ["\n\n"])
    first = "".join(map(stream.push, tokenizer.ids("Hello\n\n")))
    assert (first, stream.stopped) == ("Hello", True)
    assert [stream.push(token) for token in tokenizer.ids("more")] == [""] * len(tokenizer.ids("more"))
    assert stream.finish() == ""


def test_what_may_become_a_stop_string_is_held_back_until_it_is_not(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("smollm2"))
    stream = Stream(tokenizer, ["###", ""])
    assert "".join(map(stream.push, tokenizer.ids("a##"))) == "a"
    assert "".join(map(stream.push, tokenizer.ids("b#"))) == "##b"
    assert stream.finish() == "#"


def test_text_comes_as_soon_as_it_is_certain(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("smollm2"))
    ids = tokenizer.ids("The quick brown fox")
    assert run(tokenizer, ids)[0] == [*(tokenizer.decode([token]) for token in ids), ""]


def test_control_tokens_are_silent(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("mistral"))
    ids = tokenizer.ids("Hello</s> world")
    assert "".join(run(tokenizer, ids)[0]) == tokenizer.decode(ids) == "Hello world"


@every_family
@few
@given(text=st.text(max_size=20), cut=st.integers(0, 20))
def test_pieces_make_up_the_text(tokenizer: Tokenizer, text: str, cut: int) -> None:
    ids = [*tokenizer.ids(text), *tokenizer.ids("Hello", after=text or "x")]
    at = min(cut, len(ids))
    shown = pieces(tokenizer, ids, [0.0] * at + [0.5] * (len(ids) - at))
    if "\ufffd" not in "".join(piece.text for piece in shown):
        assert "".join(piece.text for piece in shown) == tokenizer.decode(ids, skip_special=False)
    assert [piece.trained for piece in shown] == sorted(piece.trained for piece in shown)
    assert shown[-1].trained == (at < len(ids))


def test_tokens_that_share_a_character_are_one_piece(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("smollm2"))
    ids = tokenizer.ids("a👍")
    assert len(ids) > 2
    assert pieces(tokenizer, ids, [1.0] * len(ids)) == [("a", True), ("👍", True)]
