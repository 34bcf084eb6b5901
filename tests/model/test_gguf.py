"""GGUF files: read back by transformers, whose reader is not ours, to the same logits and the same ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.model.conftest import rows
from tests.tiny import CORPUS, build_tokenizer
from tunesmith.core.errors import ModelError
from tunesmith.model import gguf_tokenizer, gguf_writer
from tunesmith.model.difference import difference, logits_of, plain_logits
from tunesmith.model.load import Base, load_base
from tunesmith.model.resolve import model_facts
from tunesmith.text.tokenizer import Tokenizer

DOCUMENTS = [row.tokens for row in rows(4)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def build(folder: Path, kind: str = "llama", **changes: Any) -> Path:
    """A tiny model of an architecture, with weights that tell tokens apart."""
    build_tokenizer(folder)
    torch.manual_seed(0)
    values = {
        "vocab_size": 384,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    config = AutoConfig.for_model(kind, **{**values, **changes})
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1.0, 0.2)
    model.save_pretrained(folder)
    return folder


def vocabulary(folder: Path, size: int = 384) -> gguf_tokenizer.Vocabulary:
    return gguf_tokenizer.vocabulary_of(folder, size, {"bos": 0, "eos": 2}, [2, 0], False, "{{ messages }}")


def write(folder: Path, path: Path, kind: str = "f32") -> Base:
    base = load_base(folder, torch.float32)
    gguf_writer.refuse_architecture(model_facts(folder), "here")
    gguf_writer.write_gguf(path, base, vocabulary(folder), kind, "tiny")
    return base


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False}),
        ("llama", {"head_dim": 32, "attention_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 32}),
    ],
)
def test_a_file_reads_back_as_the_model(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    base = write(build(tmp_path / "base", kind, **changes), tmp_path / "x.gguf")
    wanted = logits_of(base, DOCUMENTS)
    found = difference(wanted, plain_logits(gguf_writer.read_back(tmp_path / "x.gguf", base), DOCUMENTS))
    assert found.relative < 1e-4
    assert found.agreement == 1.0


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_number_formats_lose_as_little_as_they_say(tmp_path: Path, kind: str) -> None:
    base = write(build(tmp_path / "base"), tmp_path / "x.gguf", kind)
    found = difference(
        logits_of(base, DOCUMENTS), plain_logits(gguf_writer.read_back(tmp_path / "x.gguf", base), DOCUMENTS)
    )
    assert 0 < found.relative < gguf_writer.TYPES[kind][2]
    stored = {t.name: t.tensor_type for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert stored["blk.0.attn_q.weight"] == gguf_writer.TYPES[kind][0]
    assert stored["blk.0.attn_norm.weight"] == gguf.GGMLQuantizationType.F32


def test_bf16_weights_are_stored_as_they_are(tmp_path: Path) -> None:
    folder = build(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    base = write(folder, tmp_path / "x.gguf", "bf16")
    read = gguf_writer.read_back(tmp_path / "x.gguf", base)
    for name, weight in base.model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight), name


def test_rows_that_fill_no_block_stay_f16(tmp_path: Path) -> None:
    folder = build(tmp_path / "base", hidden_size=48, num_attention_heads=2, num_key_value_heads=1)
    write(folder, tmp_path / "x.gguf", "q8_0")
    stored = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert (stored["blk.0.attn_q.weight"], stored["blk.0.ffn_down.weight"]) == ("F16", "Q8_0")


def test_the_order_of_rows_matters() -> None:
    """Pairs of channels that turn together: (0, 2) and (1, 3) of a head of four become neighbours."""
    weights = torch.arange(8.0)[:, None]
    assert gguf_writer.permuted(weights, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_slow_turns_of_llama_3_are_written(tmp_path: Path) -> None:
    write(build(tmp_path / "base", rope_parameters=LLAMA3), tmp_path / "x.gguf")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    factors = tensors["rope_freqs.weight"]
    assert factors.shape == (8,)
    assert factors[0] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(8.0)


def test_a_sliding_window_ends_the_context(tmp_path: Path) -> None:
    write(build(tmp_path / "base", "mistral", sliding_window=128), tmp_path / "x.gguf")
    field = gguf.GGUFReader(tmp_path / "x.gguf").get_field("llama.context_length")
    assert field is not None
    assert field.contents() == 128


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"model_type": "gpt2"}, "the architecture 'gpt2' cannot be written as GGUF here"),
        (
            {"model_type": "llama", "rope_scaling": {"type": "yarn"}},
            "rotary positions of the type 'yarn' cannot be written as GGUF here",
        ),
        ({"model_type": "qwen2", "rope_parameters": {"rope_type": "llama3"}}, "rotary positions of the type 'llama3'"),
        ({"model_type": "llama", "hidden_act": "gelu"}, "the activation 'gelu' cannot be written as GGUF here"),
        ({"model_type": "llama", "mlp_bias": True}, "biases in the MLP cannot be written as GGUF here"),
        ({"model_type": "llama", "partial_rotary_factor": 0.5}, "rotary positions on a part of each head cannot"),
    ],
)
def test_what_gguf_cannot_say_is_refused(facts: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError) as error:
        gguf_writer.refuse_architecture(facts, "runs/x")
    assert what in error.value.what
    assert error.value.where == "runs/x"
    assert "--format safetensors" in error.value.fix


def test_weights_beyond_f16_are_refused(tmp_path: Path) -> None:
    base = load_base(build(tmp_path / "base"), torch.float32)
    base.model.get_submodule("model.layers.0.self_attn.v_proj").weight.data[0, 0] = 1e6  # type: ignore[union-attr, operator]
    with pytest.raises(ModelError, match=r"blk.0.attn_v.weight holds weights beyond the range of f16"):
        list(gguf_writer.pieces(base, "f16"))


def test_a_tensor_without_a_name_is_refused(tmp_path: Path) -> None:
    base = load_base(build(tmp_path / "base"), torch.float32)
    base.model.register_buffer("strange", torch.ones(2))
    with pytest.raises(ModelError, match="GGUF has no name for the tensor strange"):
        list(gguf_writer.pieces(base, "f32"))


def test_a_file_of_another_model_is_noticed(tmp_path: Path) -> None:
    write(build(tmp_path / "one"), tmp_path / "x.gguf")
    other = load_base(build(tmp_path / "two", num_hidden_layers=1), torch.float32)
    with pytest.raises(ModelError, match="the file gives num_hidden_layers as 2, and the model has 1"):
        gguf_writer.read_back(tmp_path / "x.gguf", other)


# --- tokenizers ------------------------------------------------------------------------------------------------------


def splitting(folder: Path, **parts: Any) -> Path:
    build_tokenizer(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return folder


DIGITS = {"type": "Digits", "individual_digits": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")


def split(regex: str) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [step, {**BYTES, "use_regex": False}]}


@pytest.mark.parametrize(
    ("pre", "name"),
    [
        ({**BYTES, "use_regex": True}, "gpt-2"),
        ({"type": "Sequence", "pretokenizers": [DIGITS, {**BYTES, "use_regex": True}]}, "smollm"),
        (split(LLAMA), "llama-bpe"),
        (split(QWEN), "qwen2"),
    ],
)
def test_ways_of_splitting_go_by_their_names(tmp_path: Path, pre: dict[str, Any], name: str) -> None:
    found = vocabulary(splitting(tmp_path / "t", pre_tokenizer=pre))
    assert (found.model, found.pre) == ("gpt2", name)
    assert found.kinds[:4] == [3, 3, 3, 1]
    assert found.special == {"bos": 0, "eos": 2, "eot": 0}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"pre_tokenizer": split("x+")}, "it splits by Split, ByteLevel in a way of its own"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "it splits by Whitespace"),
        ({"pre_tokenizer": None}, "it splits by nothing"),
        ({"normalizer": {"type": "Lowercase"}}, "it changes text before splitting it"),
        ({"model": {"type": "Unigram", "vocab": {"a": 0}}}, "its model is Unigram, not BPE"),
    ],
)
def test_a_way_without_a_name_is_refused(tmp_path: Path, parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match="the tokenizer cannot be written as GGUF") as error:
        vocabulary(splitting(tmp_path / "t", **parts))
    assert reason in error.value.what


def test_more_words_than_rows_are_refused(tmp_path: Path) -> None:
    folder = splitting(tmp_path / "t")
    with pytest.raises(ModelError, match="it has 384 words, and the model's embedding 300 rows"):
        vocabulary(folder, 300)
    padded = vocabulary(folder, 390)
    assert list(padded.tokens[384:386]) == ["[PAD384]", "[PAD385]"]
    assert padded.kinds[384] == gguf.TokenType.UNUSED


def sentence_pieces(folder: Path) -> Path:
    """A tokenizer as transformers makes it of SentencePiece's: bytes to fall back on, merges, no split."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, trainers

    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=384, special_tokens=names[:3], initial_alphabet=[], show_progress=False)
    )
    content = json.loads(backend.to_str())
    # Joined by the best pair first, SentencePiece never joins across words; nor do these merges.
    words = [word for word in content["model"]["vocab"] if word not in names]
    content["model"]["vocab"] = {word: id for id, word in enumerate([*names, *words])}
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    return folder


def test_sentence_pieces_are_joined_by_score(tmp_path: Path) -> None:
    folder = sentence_pieces(tmp_path / "t")
    size = Tokenizer.load(folder).vocab_size
    special = {"bos": 1, "eos": 2, "unk": 0}
    found = gguf_tokenizer.vocabulary_of(folder, size, special, [2], True, "")
    assert (found.model, found.pre, found.adds_space, found.adds_bos) == ("llama", "default", True, True)
    kinds = gguf.TokenType
    assert found.kinds[:4] == [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, kinds.BYTE]
    ranked = {word: score for word, score in zip(found.tokens, found.scores, strict=True) if score}
    merges = [pair.replace(" ", "") for pair in found.merges]
    assert ranked[merges[0]] > ranked[merges[-1]]
    assert len(ranked) == len(set(merges))


@pytest.mark.parametrize("sentences", [False, True])
def test_ids_survive(tmp_path: Path, sentences: bool) -> None:
    folder = sentence_pieces(tmp_path / "t") if sentences else splitting(tmp_path / "t")
    own = Tokenizer.load(folder)
    special = {"bos": 1, "eos": 2, "unk": 0} if sentences else {"bos": 0, "eos": 2}
    found = gguf_tokenizer.vocabulary_of(folder, own.vocab_size, special, [2], sentences, "{{ messages }}")
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    found.add_to(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    backend, template = gguf_tokenizer.read_back(tmp_path / "x.gguf")
    assert template == "{{ messages }}"
    for text in (*CORPUS, "naïve 東京 42"):
        assert tuple(backend.encode(text, add_special_tokens=False).ids) == own.ids(text), text
