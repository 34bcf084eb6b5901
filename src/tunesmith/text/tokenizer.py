"""A tokenizer from a model folder: text to token ids with character offsets, and back.

Built on the ``tokenizers`` package alone. Ids equal those that transformers' fast tokenizers
give with the same ``tokenizer.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import tokenizers

from tunesmith.core.errors import InputError, ModelError
from tunesmith.core.records import digest_of

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names under which a chat template finds special tokens, as transformers hands them over."""

_UNLIMITED = 10**15
"""``model_max_length`` above this is a placeholder for "not stated"."""

_ANCHORS = ("\n", ".", ":", "]", "|")
"""Texts to put before a piece that continues other text; the first that does not merge with the piece is taken."""


def _byte_characters() -> dict[str, int]:
    """GPT-2's visible character → byte: printable Latin-1 stands for itself, the rest for 256, 257, …"""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


_BYTE_OF = _byte_characters()


class Encoding(NamedTuple):
    """Token ids and, for each, the half-open range of characters that it covers."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


@final
class Tokenizer:
    """Strings to token ids and back. Make one with ``Tokenizer.load``.

    Attributes:
        special: special token name → its text, for those that the folder names.
        control: text → id of every token that is never ordinary text.
        added: text → id of every token that the tokenizer matches as a whole (control tokens among them).
        max_length: the longest input in tokens that the tokenizer states, or None.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, special: Mapping[str, str], max_length: int | None, source: bytes
    ) -> None:
        backend.no_truncation()
        backend.no_padding()
        # A tokenizer.json may list its bos and eos only as vocabulary; a template that writes them means the token.
        listed = {token.content for token in backend.get_added_tokens_decoder().values()}
        wanted = [special[name] for name in ("bos_token", "eos_token") if name in special]
        backend.add_special_tokens([t for t in wanted if t not in listed and backend.token_to_id(t) is not None])
        tokens = backend.get_added_tokens_decoder()
        self._backend = backend
        self.special = dict(special)
        self.added = {token.content: id for id, token in tokens.items()}
        self.control = {token.content: id for id, token in tokens.items() if token.special}
        self.max_length = max_length
        self._source = source

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` and what stands beside it.

        Raises:
            ModelError: there is no ``tokenizer.json``, or a file cannot be read as what it should be.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                "no tokenizer.json",
                where=str(folder),
                rule="a model folder holds its tokenizer as tokenizer.json",
                fix="save it once with transformers: AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)",
            )
        source = path.read_bytes()
        try:
            backend = tokenizers.Tokenizer.from_buffer(source)
        except Exception as error:  # the package raises bare Exception
            raise ModelError(
                f"not a tokenizer: {error}",
                where=str(path),
                rule="tokenizer.json holds a tokenizer of the tokenizers package",
                fix="fetch the file again, or upgrade the tokenizers package if the model is newer",
            ) from error
        config = read_json(folder / "tokenizer_config.json")
        special = _special_tokens(folder, config, backend)
        stated = config.get("model_max_length")
        limit = int(stated) if isinstance(stated, int | float) and 0 < stated < _UNLIMITED else None
        return cls(backend, special, limit, source)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what decides the ids; layout and stored truncation or padding play no part."""
        content = json.loads(self._source)
        return digest_of([{k: v for k, v in content.items() if k not in ("truncation", "padding")}, self.special])

    @cached_property
    def vocab_size(self) -> int:
        """One more than the highest id, added tokens included."""
        return max(self._backend.get_vocab().values(), default=-1) + 1

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """Ids of the tokens that stand for one raw byte (``<0x0A>``), where the tokenizer has them."""
        ids = (self._backend.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(id for id in ids if id is not None)

    @cached_property
    def prefix_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer itself puts before plain text: its beginning-of-sequence token, or nothing."""
        bare = self._backend.encode("a", add_special_tokens=False).ids
        full = self._backend.encode("a", add_special_tokens=True).ids
        starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return tuple(full[: next(starts, 0)])

    @property
    def bos_id(self) -> int | None:
        """Id of the beginning-of-sequence token."""
        return self._special_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-sequence token."""
        return self._special_id("eos_token")

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token. It may be the id of a stop token: mask by position, never by id."""
        return self._special_id("pad_token")

    def id_of(self, token: str) -> int | None:
        """Id of a token by its text, or None."""
        return self._backend.token_to_id(token)

    def encode(self, text: str, add_special: bool = False, *, after: str = "") -> Encoding:
        """Ids and character offsets of ``text``.

        Args:
            text: what to encode.
            add_special: put before it what the tokenizer puts before plain text.
            after: text that stands before it and is already encoded. Tokenizers that mark the beginning of a
                text with a space do not do so then.

        Raises:
            InputError: the text holds half a surrogate pair, which is not a character.
        """
        encoded, skipped, shift = self._continued(text, after) if after else (self._encode(text), 0, 0)
        ids = tuple(encoded.ids[skipped:])
        found = encoded.offsets[skipped:]
        offsets = tuple((max(0, a - shift), b - shift) for a, b in found) if shift else tuple(found)
        if add_special:
            before = self.prefix_ids if ids[: len(self.prefix_ids)] != self.prefix_ids else ()
            return Encoding((*before, *ids), (*((0, 0) for _ in before), *offsets))
        return Encoding(ids, offsets)

    def ids(self, text: str, *, after: str = "") -> tuple[int, ...]:
        """The ids of ``encode`` without offsets, which is quicker."""
        if not after:
            return tuple(self._encode(text).ids)
        encoded, skipped, _ = self._continued(text, after)
        return tuple(encoded.ids[skipped:])

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids. Bytes that are not UTF-8 come out as U+FFFD."""
        return self._backend.decode(list(ids), skip_special_tokens=skip_special)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, which may be a part of a character; of an added token, its spelling."""
        text = self._backend.id_to_token(token)
        if text is None:
            return b""
        if text in self.added:
            return text.encode()
        if token in self.byte_ids:
            return bytes([int(text[3:5], 16)])
        if self._byte_level:
            return bytes(_BYTE_OF[char] for char in text if char in _BYTE_OF)
        return text.replace("\u2581", " ").encode()

    @cached_property
    def _byte_level(self) -> bool:
        """Whether the vocabulary spells bytes as GPT-2's does, one visible character each."""
        return '"ByteLevel"' in json.dumps(json.loads(self._source).get("decoder"))

    def _special_id(self, name: str) -> int | None:
        token = self.special.get(name)
        return None if token is None else self._backend.token_to_id(token)

    def _encode(self, text: str) -> tokenizers.Encoding:
        try:
            return self._backend.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            bad = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
            if bad is None:
                raise
            raise InputError(
                f"the text holds half of a surrogate pair (\\u{ord(bad):04x})",
                rule="text is made of whole Unicode characters",
                fix="remove it, or write both halves of the \\uXXXX\\uXXXX pair",
            ) from error

    @cached_property
    def _context_free(self) -> bool:
        """Whether a piece has the same ids at the beginning of a text and inside it."""
        anchor = _ANCHORS[0]
        first = self._encode(anchor).ids
        return all(self._encode(anchor + t).ids == first + self._encode(t).ids for t in ("a", "Hello", "7", " a", "é"))

    @cached_property
    def _endings(self) -> tuple[str, ...]:
        return tuple(sorted(self.added, key=len, reverse=True))

    def _continued(self, text: str, after: str) -> tuple[tokenizers.Encoding, int, int]:
        """Encoding of an anchor and ``text``, with the number of ids and characters that are the anchor's."""
        if not self._context_free:
            whole = next((t for t in self._endings if after.endswith(t)), None)
            for anchor in (whole,) if whole else _ANCHORS:
                first, encoded = self._encode(anchor).ids, self._encode(anchor + text)
                n = len(first)
                if encoded.ids[:n] == first and (not text or encoded.offsets[n][0] >= len(anchor)):
                    return encoded, n, len(anchor)
        return self._encode(text), 0, 0


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one when there is no such file.

    Raises:
        ModelError: the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # covers bad UTF-8 and bad JSON
        raise ModelError(
            f"not valid JSON: {error}",
            where=str(path),
            rule="model folders describe themselves in UTF-8 JSON files",
            fix="fetch the file again",
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"a JSON {type(value).__name__} where an object is needed",
            where=str(path),
            rule="model folders describe themselves in JSON objects",
            fix="fetch the file again",
        )
    return value


def _special_tokens(folder: Path, config: Mapping[str, Any], backend: tokenizers.Tokenizer) -> dict[str, str]:
    """Name → text of the special tokens; config.json's ids stand in for a bos or eos that nothing names."""
    stated = {**read_json(folder / "special_tokens_map.json"), **{k: v for k, v in config.items() if v is not None}}
    special = {}
    for name in SPECIAL_NAMES:
        value = stated.get(name)
        token = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(token, str) and token:
            special[name] = token
    model = read_json(folder / "config.json")
    for name in ("bos_token", "eos_token"):
        id = model.get(f"{name}_id")
        token = backend.id_to_token(id) if isinstance(id, int) and id >= 0 else None
        known = {added.content for added in backend.get_added_tokens_decoder().values() if added.special}
        if name not in stated and token in known and token is not None:
            special[name] = token
    return special
