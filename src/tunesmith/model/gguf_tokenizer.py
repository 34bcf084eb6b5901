"""A tokenizer as GGUF's fields: words, kinds, merges or scores, and the name of its way of splitting text.

llama.cpp knows ways of splitting by name only. The name is found from ``tokenizer.json`` itself; a way that has no
name here is refused, since any other would give other ids without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from tunesmith.core.errors import ModelError

SPLITS = ("llama-bpe", "qwen2", "tekken", "gpt-4o")
"""Names of llama.cpp whose regular expression transformers lists too."""

SPECIAL = ("bos", "eos", "unk", "pad")
SPACE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """The fields of a tokenizer. ``model`` is "gpt2" (bytes, merges) or "llama" (SentencePiece, scores)."""

    model: str
    pre: str
    tokens: Sequence[str]
    kinds: Sequence[gguf.TokenType]
    merges: Sequence[str]
    scores: Sequence[float]
    special: Mapping[str, int]
    adds_bos: bool
    adds_space: bool
    chat_template: str

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        """Write the fields."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        if self.model == "gpt2":
            writer.add_token_merges(self.merges)
        else:
            writer.add_token_scores(self.scores)
        known = {
            "bos": writer.add_bos_token_id,
            "eos": writer.add_eos_token_id,
            "unk": writer.add_unk_token_id,
            "pad": writer.add_pad_token_id,
            "eot": writer.add_eot_token_id,
        }
        for name, id in self.special.items():
            known[name](id)
        writer.add_add_bos_token(self.adds_bos)
        writer.add_add_space_prefix(self.adds_space)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def vocabulary_of(
    folder: Path, size: int, special: Mapping[str, int], stop_ids: Sequence[int], adds_bos: bool, chat_template: str
) -> Vocabulary:
    """The fields of a model folder's tokenizer.

    Args:
        size: rows of the model's embedding; ids that no word has are filled up.
        special: "bos", "eos", "unk", "pad" → id.
        stop_ids: what ends an answer; the first that is not "eos" becomes the end of a turn.
        adds_bos: whether the tokenizer puts its first token before plain text.

    Raises:
        ModelError: a tokenizer that llama.cpp has no name for, or with more words than the model has rows.
    """
    content = json.loads((folder / "tokenizer.json").read_bytes())
    model, added = content["model"], content.get("added_tokens", [])
    words = {id: word for word, id in model["vocab"].items()} | {token["id"]: token["content"] for token in added}
    if max(words) >= size:
        raise _unknown(folder, f"it has {max(words) + 1} words, and the model's embedding {size} rows")
    control = {token["id"] for token in added if token["special"]}
    whole = {token["id"] for token in added} - control
    pre = _way_of_splitting(content, folder)
    sentences = pre == "default"
    unknown = model.get("unk_token")
    kinds = [_kind(id, words, control, whole, unknown if sentences else None) for id in range(size)]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model.get("merges", [])]
    turn = next((id for id in sorted(stop_ids) if id != special.get("eos")), None)
    return Vocabulary(
        model="llama" if sentences else "gpt2",
        pre=pre,
        tokens=[words.get(id, f"[PAD{id}]") for id in range(size)],
        kinds=kinds,
        merges=merges,
        scores=_scores(words, merges, size) if sentences else (),
        special={**{n: special[n] for n in SPECIAL if n in special}, **({} if turn is None else {"eot": turn})},
        adds_bos=adds_bos,
        adds_space=sentences and _prepends(content),
        chat_template=chat_template,
    )


def _kind(id: int, words: Mapping[int, str], control: set[int], whole: set[int], unknown: str | None) -> gguf.TokenType:
    word = words.get(id)
    if word is None:
        return gguf.TokenType.UNUSED
    if unknown is not None and word == unknown:
        return gguf.TokenType.UNKNOWN
    if id in control:
        return gguf.TokenType.CONTROL
    if id in whole:
        return gguf.TokenType.USER_DEFINED
    is_byte = unknown is not None and len(word) == 6 and word.startswith("<0x") and word.endswith(">")
    return gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL


def _scores(words: Mapping[int, str], merges: Sequence[str], size: int) -> list[float]:
    """SentencePiece joins the pair whose word scores best; a merge's rank, negative, puts words in the same order."""
    rank: dict[str, int] = {}
    for place, pair in enumerate(merges):
        rank.setdefault(pair.replace(" ", "", 1), place + 1)
    return [-float(rank.get(words.get(id, ""), 0)) for id in range(size)]


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """A tokenizer's normaliser or pre-tokenizer as a flat list."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    inner = part.get("pretokenizers") or part.get("normalizers") or []
    return [step for child in inner for step in _steps(child)]


def _prepends(content: Mapping[str, Any]) -> bool:
    steps = [*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))]
    return any(step["type"] == "Prepend" or step.get("prepend_scheme") in ("first", "always") for step in steps)


def _way_of_splitting(content: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name of it; "default" for SentencePiece."""
    if content["model"].get("type") != "BPE":
        raise _unknown(folder, f"its model is {content['model'].get('type')}, not BPE")
    splits = _steps(content.get("pre_tokenizer"))
    kinds = [step["type"] for step in splits]
    if content["model"].get("byte_fallback") and set(kinds) <= {"Metaspace"}:
        return "default"
    if [s["type"] for s in _steps(content.get("normalizer"))] not in ([], ["NFC"]):
        raise _unknown(folder, "it changes text before splitting it")
    last = splits[-1] if splits else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise _unknown(folder, f"it splits by {', '.join(kinds) or 'nothing'}")
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and splits[0].get("individual_digits") and last.get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

        for name in SPLITS:
            if splits[0]["pattern"].get("Regex") == GGUF_PRE_TOKENIZER_SPLITS[name]:
                return name
    raise _unknown(folder, f"it splits by {', '.join(kinds)} in a way of its own")


def _unknown(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"the tokenizer cannot be written as GGUF: {reason}",
        where=str(folder / "tokenizer.json"),
        rule="llama.cpp knows ways of splitting text by name, and another one would give other ids",
        fix="use --format safetensors, and convert that folder with llama.cpp's own converter",
    )


def read_back(path: Path) -> tuple[Any, str]:
    """The tokenizer (of the tokenizers package) and the chat template of a file, as transformers reads them."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return tokenizer.backend_tokenizer, tokenizer.chat_template or ""
