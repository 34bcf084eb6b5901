"""Texts as vectors by an embedding model: a sentence-transformers folder on this machine; the package is optional."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from tunesmith.core.errors import ConfigError
from tunesmith.core.protocols import Progress

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float32]]

AT_ONCE = 256


def require_embedder(folder: str) -> None:
    """Refuse an embedder that cannot be loaded, before anything slow is done; "" is none and passes.

    Raises:
        ConfigError: no such folder, or the package sentence-transformers is not installed.
    """
    if not folder:
        return
    if not (Path(folder) / "modules.json").is_file():
        raise ConfigError(
            f"{folder} is no embedding model: it has no modules.json",
            where="embedder",
            rule="embedder is the folder of a sentence-transformers model on this machine; none is downloaded",
            fix="give such a folder, or leave embedder out: TF-IDF is used then",
        )
    from importlib.util import find_spec

    if find_spec("sentence_transformers") is None:
        raise ConfigError(
            "the package sentence-transformers is not installed",
            where="embedder",
            rule="an embedding model is run by this optional package",
            fix="pip install 'tunesmith[semantic]', or leave embedder out: TF-IDF is used then",
        )


@final
class Embedder:
    """An embedding model, loaded when it is first asked."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def embed(self, texts: Sequence[str], tell: Progress | None = None) -> Matrix:
        """A vector of length 1 for each text; shape (texts, width)."""
        import numpy as np

        parts = []
        for start in range(0, len(texts), AT_ONCE):
            batch = list(texts[start : start + AT_ONCE])
            parts.append(self._model.encode(batch, normalize_embeddings=True, show_progress_bar=False))
            if tell:
                tell(start + len(batch), len(texts))
        return np.vstack(parts).astype(np.float32)

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found,unused-ignore]

        return SentenceTransformer(self.folder, device="cpu", local_files_only=True)
