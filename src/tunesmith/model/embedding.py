"""Texts as vectors: a sentence-transformers folder, run on transformers' own modules. Nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import tokenizers
import torch
from transformers import AutoModel

from tunesmith.core.errors import InputError, ModelError

AT_ONCE = 32
_KINDS = ("Transformer", "Pooling", "Normalize")


@final
class SentenceModel:
    """An embedding model: tokens in, one vector out, pooled as its folder says (mean or first token).

    Args:
        folder: has ``modules.json``, as sentence-transformers writes it.

    Raises:
        ModelError: no such folder, or it does something else than transform, pool and normalise.
    """

    def __init__(self, folder: Path) -> None:
        modules = _modules(folder)
        where = {kind: folder / path for kind, path in modules}
        body, pooling = where["Transformer"], json_object(where["Pooling"] / "config.json")
        self._mean = bool(pooling.get("pooling_mode_mean_tokens")) or pooling.get("pooling_mode") == "mean"
        self._first = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
        if self._mean == self._first:
            raise _unusable(folder, "its pooling is neither the mean of all tokens nor the first token")
        self._unit = "Normalize" in where
        self._tokenizer = tokenizers.Tokenizer.from_file(str(body / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._model = AutoModel.from_pretrained(body, torch_dtype=torch.float32).eval()
        stated = json_object(body / "sentence_bert_config.json").get("max_seq_length")
        self.longest = int(stated or self._model.config.max_position_embeddings)
        self.size = int(self._model.config.hidden_size)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, with the tokens that the model wants around it.

        Raises:
            InputError: the text is empty or longer than the model reads; nothing is cut.
        """
        ids: list[int] = self._tokenizer.encode(text).ids
        return self.checked(ids)

    def checked(self, ids: list[int]) -> list[int]:
        """The ids, if the model can read them.

        Raises:
            InputError: there are none, too many, or one that does not exist.
        """
        vocabulary = int(self._model.config.vocab_size)
        if not ids or len(ids) > self.longest or not all(0 <= token < vocabulary for token in ids):
            raise InputError(
                f"a text of {len(ids)} tokens cannot be embedded",
                where="input",
                rule=f"a text has 1 to {self.longest} tokens with ids from 0 to {vocabulary - 1}",
                fix="cut long texts into passages",
            )
        return ids

    def embed(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector of ``size`` numbers for each text, in order."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), AT_ONCE):
            vectors += self._batch(texts[start : start + AT_ONCE])
        return vectors

    def _batch(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.int64)
        mask = torch.zeros(len(texts), longest, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(list(text))
            mask[row, : len(text)] = 1
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            if self._mean:
                weights = mask[:, :, None].float()
                vectors = (hidden * weights).sum(1) / weights.sum(1)
            else:
                vectors = hidden[:, 0]
            if self._unit:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return [[float(x) for x in vector] for vector in vectors.tolist()]


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one when there is no such file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _modules(folder: Path) -> list[tuple[str, str]]:
    """(kind, path) of the parts of a model, in order."""
    path = folder / "modules.json"
    if not path.is_file():
        raise _unusable(folder, "it has no modules.json")
    parts: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    found = [(str(part["type"]).rpartition(".")[2], str(part["path"])) for part in parts]
    for kind, _ in found:
        if kind not in _KINDS:
            raise _unusable(folder, f"it has a part {kind}")
    if [kind for kind, _ in found][:2] != ["Transformer", "Pooling"]:
        raise _unusable(folder, "it does not begin with a transformer and its pooling")
    return found


def _unusable(folder: Path, why: str) -> ModelError:
    return ModelError(
        f"{folder} is no embedding model that can be served: {why}",
        where=str(folder),
        rule="a sentence-transformers folder is served: a transformer, its pooling (mean or first token), normalise",
        fix="give another folder",
    )
