"""Reading tokenizers, offsets, special tokens, pieces that continue a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.families import FAMILIES, byte_level, save, sentence_piece, with_bos
from tunesmith.core.errors import InputError, ModelError
from tunesmith.text.tokenizer import Tokenizer

Folders = Callable[[str], Path]


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json") as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "save_pretrained" in caught.value.fix


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b"[1]", b'{"model": {"type": "Nonsense"}}'])
def test_a_broken_tokenizer_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.where == str(tmp_path / "tokenizer.json")
    assert "fetch the file again" in caught.value.fix


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    save(tmp_path, byte_level(["</s>"]))
    (tmp_path / "tokenizer_config.json").write_text("{,}")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: not valid JSON"):
        Tokenizer.load(tmp_path)


def test_special_tokens(tmp_path: Path) -> None:
    save(tmp_path, byte_level(["<s>", "</s>", "<pad>"]), eos_token={"content": "</s>"}, model_max_length=512)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<pad>"}}))
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 2}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special == {"eos_token": "</s>", "pad_token": "<pad>", "bos_token": "<s>"}
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2)
    assert tokenizer.max_length == 512


def test_no_stated_length(tmp_path: Path) -> None:
    save(tmp_path, byte_level(["</s>"]), model_max_length=1000000000000000019884624838656)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.max_length is None
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, None, None)


def test_an_end_of_sequence_that_is_only_vocabulary_becomes_a_token(tmp_path: Path) -> None:
    backend = byte_level(["<unk>"])
    end = min(token for token in backend.get_vocab() if token.isascii() and token.isalpha() and len(token) > 2)
    save(tmp_path, backend, eos_token=end, pad_token="[none]")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.ids("x" + end) == (tokenizer.id_of("x"), tokenizer.eos_id)
    assert tokenizer.decode(tokenizer.ids("x" + end)) == "x"
    assert tokenizer.pad_id is None  # a name without an id is not given one: the model has no embedding for it
    assert tokenizer.vocab_size == backend.get_vocab_size()


def test_vocabulary_with_holes(tmp_path: Path) -> None:
    content = json.loads(byte_level(["</s>"]).to_str())
    added = {"id": 700, "content": "<far>", "special": True, "normalized": False}
    content["added_tokens"].append(added | {"single_word": False, "lstrip": False, "rstrip": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.load(tmp_path)
    far = tokenizer.id_of("<far>")
    assert far is not None
    assert tokenizer.vocab_size == far + 1


def test_text_begins_with_bos_once(family_folder: Folders) -> None:
    tokenizer = Tokenizer.load(family_folder("llama3"))
    bos = tokenizer.bos_id
    assert tokenizer.encode("Hello", add_special=True).ids == (bos, *tokenizer.ids("Hello"))
    assert tokenizer.encode("<|begin_of_text|>Hello", add_special=True).ids == (bos, *tokenizer.ids("Hello"))
    assert len(tokenizer.encode("Hello", add_special=True).offsets) == len(tokenizer.ids("Hello")) + 1
    assert Tokenizer.load(family_folder("qwen3")).prefix_ids == ()


def test_an_end_that_the_tokenizer_would_add_is_left_off(tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = byte_level(["<s>", "</s>"])
    pair = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=pair)
    save(tmp_path, tokenizer, bos_token="<s>", eos_token="</s>")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("Hello", add_special=True).ids == (0, *loaded.ids("Hello"))


@pytest.mark.parametrize("name", FAMILIES)
def test_offsets_cover_the_text(family_folder: Folders, name: str) -> None:
    tokenizer = Tokenizer.load(family_folder(name))
    text = "Hello 北京 👍 x\n\ny"
    for after in ("", "The end.", "<|im_end|>", "</s>"):
        ids, offsets = tokenizer.encode(text, after=after)
        assert ids == tokenizer.ids(text, after=after)
        assert len(ids) == len(offsets)
        assert offsets[-1][1] == len(text)
        assert all(0 <= a <= b <= len(text) for a, b in offsets)


@pytest.mark.parametrize("style", ["metaspace", "prepend", "bare"])
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=10))
def test_a_piece_inside_a_text_gets_no_space_of_its_own(tmp_path: Path, style: str, text: str) -> None:
    folder = tmp_path / style
    if not folder.is_dir():
        save(folder, with_bos(sentence_piece(["<unk>", "<s>", "</s>"], style), "<s>"), bos_token="<s>")
    tokenizer = Tokenizer.load(folder)
    piece = "x" + text
    whole = tokenizer.decode((*tokenizer.ids("The end\n"), *tokenizer.ids(piece, after="The end\n")))
    assert whole == "The end\n" + piece


def test_pieces_after_a_token_are_as_in_the_whole(family_folder: Folders) -> None:
    for name in ("mistral", "mistral_old"):
        tokenizer = Tokenizer.load(family_folder(name))
        whole = tokenizer.ids("<s>Hello</s>Hello")
        assert tokenizer.ids("<s>Hello</s>") + tokenizer.ids("Hello", after="<s>Hello</s>") == whole


def test_half_a_surrogate_pair(family_folder: Folders) -> None:
    with pytest.raises(InputError, match=r"half of a surrogate pair \(\\udc00\)"):
        Tokenizer.load(family_folder("smollm2")).ids("a\udc00")
