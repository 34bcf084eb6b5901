"""Names in text, by a token-classification model in a local folder: what rules cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.core.errors import ModelError

LONGEST = 1_000
"""Characters that are looked at together, at most."""


def load_tagger(folder: Path) -> NameTagger:
    """The model of a folder.

    Raises:
        ModelError: there is no such folder, or it holds no token-classification model with a fast tokenizer.
    """
    rule = "a local folder with a token-classification model and its tokenizer, as transformers saves them"
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"there is no model of names in {folder}",
            where="checks.personal.ner_model",
            rule=rule,
            fix="correct the path, or leave ner_model out: names are then found by rules and dictionary alone",
        )
    try:
        return NameTagger(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the model of names cannot be loaded: {error}",
            where=f"checks.personal.ner_model: {folder}",
            rule=rule,
            fix="try it in transformers: pipeline('token-classification', FOLDER)",
        ) from error


class NameTagger:
    """A `Tagger`: words of a text that the model calls the name of something, with label and score."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

        self.name = folder.resolve().name
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if not self._tokenizer.is_fast:
            raise ValueError("its tokenizer does not know the places of its tokens")
        model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True)
        positions = int(vars(model.config).get("max_position_embeddings") or 512)
        # RoBERTa's kin keep the first two positions for themselves
        self._most = max(8, min(positions - 2, self._tokenizer.model_max_length))
        self._run: Any = pipeline(
            "token-classification", model=model, tokenizer=self._tokenizer, aggregation_strategy="simple"
        )

    def __call__(self, text: str) -> list[tuple[str, int, int, float]]:
        """Label, first character, character after the last, and score (0 to 1) of every name."""
        found = []
        for offset, piece in self._pieces(0, text):
            for one in self._run(piece):
                start, end = offset + int(one["start"]), offset + int(one["end"])
                found.append((str(one["entity_group"]), start, end, float(one["score"])))
        return found

    def _pieces(self, offset: int, text: str) -> Iterator[tuple[int, str]]:
        """Pieces that the model takes whole, cut where there is white space."""
        if not text.strip():
            return
        fits = len(text) <= LONGEST and len(self._tokenizer(text)["input_ids"]) <= self._most
        if fits or len(text) < 2:
            yield offset, text
            return
        half = min(len(text) // 2, LONGEST)
        cut = max(text.rfind(" ", 1, half), text.rfind("\n", 1, half))
        cut = cut if cut > half // 2 else half
        yield from self._pieces(offset, text[:cut])
        yield from self._pieces(offset + cut, text[cut:])
