"""Building, keeping and searching an index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from pydantic import Field

from tunesmith.core import store
from tunesmith.core.errors import ConfigError, DataError, InputError
from tunesmith.core.events import Emit, Note, Tick, ignore, ticking
from tunesmith.core.records import Record, digest_of
from tunesmith.core.store import Artifact, Workspace
from tunesmith.text.embedder import Embedder, require_embedder
from tunesmith.text.retrieval.documents import LeftOut, Section, Unreadable, files_of, sections_of
from tunesmith.text.retrieval.lexical import Lexical, has_bm25
from tunesmith.text.retrieval.passages import cut

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

CORPUS = "corpus"
"""The kind of artifact that an index is in the workspace."""

RANK_CONSTANT = 60
"""k of reciprocal rank fusion. Source: Cormack, Clarke and Büttcher, SIGIR 2009."""

_FUSED = 50
"""So many passages of each ranking take part in the fusion, or as many as are asked for."""

_RULES = 1
"""Raised when reading or cutting changes, so that what was built by older rules is built anew."""


class RetrievalOptions(Record):
    """How a corpus is cut and searched."""

    method: Literal["auto", "bm25", "tfidf", "dense", "hybrid"] = Field(
        default="auto",
        description="auto = hybrid with an embedder, else bm25. hybrid = bm25 with dense or, without an embedder, with "
        "tfidf over runs of characters, by reciprocal rank fusion.",
    )
    embedder: str = Field(
        default="", description="Folder of a sentence-transformers model on this machine, for dense and hybrid."
    )
    passage_words: int = Field(default=160, ge=16, le=2000, description="Most words of a passage.")
    overlap_words: int = Field(default=30, ge=0, le=500, description="Words that a passage repeats of the one before.")


class Passage(Record):
    """A piece of a document. ``id`` is a hash of file and text; ``score`` compares only within one search."""

    id: str
    text: str
    source: str
    title: str = ""
    score: float = 0.0


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Numbers with the sum of 1 / (60 + rank) over the rankings, best first; equal sums by number."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            sums[number] = sums.get(number, 0.0) + 1.0 / (RANK_CONSTANT + rank)
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


@final
@dataclass(frozen=True)
class Index:
    """Passages that can be searched. ``digest`` names it in the workspace and follows from its content."""

    digest: str
    method: str
    passages: tuple[Passage, ...]
    left_out: tuple[LeftOut, ...]
    documents: int
    _lexical: tuple[Lexical, ...]
    _vectors: Array | None = None
    _embedder: Embedder | None = None

    def search(self, query: str, k: int = 4) -> list[Passage]:
        """The ``k`` best passages, best first; fewer where fewer have anything to do with the query.

        Raises:
            InputError: ``k`` is not positive.
        """
        if k < 1:
            raise InputError(
                f"{k} passages were asked for", where="k", rule="a search gives one passage or more", fix="take 4"
            )
        rankings = [_ranked(lexical.scores(query), max(k, _FUSED), above=0.0) for lexical in self._lexical]
        if self._vectors is not None and self._embedder is not None and query.strip():
            rankings.append(_ranked(self._vectors @ self._embedder.embed([query])[0], max(k, _FUSED)))
        if len(rankings) == 1:
            best = rankings[0]
        else:
            best = reciprocal_rank_fusion([[number for number, _ in ranking] for ranking in rankings])
        return [self.passages[number].model_copy(update={"score": float(score)}) for number, score in best[:k]]

    def passage(self, id: str) -> Passage | None:
        """The passage with this id."""
        return next((passage for passage in self.passages if passage.id == id), None)


@final
class Corpus:
    """Makes indexes of folders, and finds those that were made."""

    @staticmethod
    def build(
        folder: Path,
        workspace: Workspace | None = None,
        options: RetrievalOptions | None = None,
        emit: Emit = ignore,
    ) -> Index:
        """The index of a folder of .txt, .md, .html and .pdf files.

        With a workspace it is kept there, and the same folder with the same options is read only to be recognised.

        Raises:
            DataError: no such folder, no document in it, none with text, or text in an unknown encoding.
            ConfigError: dense retrieval without an embedder that can be loaded.
        """
        options = _settled(options or RetrievalOptions(), emit)
        files = files_of(folder)
        if not files:
            raise DataError(
                "the corpus holds no document",
                where=str(folder),
                rule="documents are .txt, .md, .html and .pdf files, at any depth",
                fix="put documents there, or give another folder",
            )
        names = {path.relative_to(folder).as_posix(): store.file_digest(path) for path in files}
        key = digest_of([_RULES, options.model_dump(exclude={"embedder"}), _identity(options), names])
        if workspace is not None:
            known = next((kept for kept in workspace.artifacts(CORPUS) if kept.meta.get("key") == key), None)
            if known is not None:
                return _load(workspace.artifact(known.digest), options.embedder)
        index = _built(folder, files, options, key, emit)
        if workspace is None:
            return index
        meta = {"key": key, "folder": str(folder.absolute()), "embedder": options.embedder}
        return _load(workspace.publish(CORPUS, lambda target: _write(index, target), meta), options.embedder)

    @staticmethod
    def open(digest: str, workspace: Workspace, embedder: str = "") -> Index:
        """An index that was built before, by its digest (or the first 8 digits or more), whatever became of its folder.

        Raises:
            InputError: no such artifact, or it is something else. ConfigError: its embedder cannot be loaded.
        """
        artifact = workspace.artifact(digest)
        if artifact.kind != CORPUS:
            raise InputError(
                f"{digest} is a stored {artifact.kind}, not a corpus",
                where=str(workspace.root),
                rule="a corpus is opened by the digest that building it gave",
                fix="build it from its folder again",
            )
        return _load(artifact, embedder or str(artifact.meta.get("embedder", "")))


def _settled(options: RetrievalOptions, emit: Emit) -> RetrievalOptions:
    """``auto`` worked out, and what cannot be done refused."""
    require_embedder(options.embedder)
    method = options.method
    if method == "auto":
        method = "hybrid" if options.embedder else "bm25"
    if method == "dense" and not options.embedder:
        raise ConfigError(
            "dense retrieval needs an embedder",
            where="retrieval.method",
            rule="passages become vectors by a sentence-transformers model on this machine; none is downloaded",
            fix="set embedder to the folder of such a model, or take method: bm25",
        )
    if method in ("bm25", "hybrid") and not has_bm25():
        emit(Note(text="the package bm25s is not installed: TF-IDF takes its place", level="warning"))
        method = "tfidf" if method == "bm25" or not options.embedder else method
    return options.model_copy(update={"method": method})


def _identity(options: RetrievalOptions) -> object:
    """What the embedder is, by the content of its folder's small files and the size of the large ones."""
    if not options.embedder:
        return has_bm25()
    folder = Path(options.embedder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [has_bm25(), [[path.relative_to(folder).as_posix(), store.file_digest(path)] for path in files]]


def _kinds(method: str, has_embedder: bool) -> tuple[str, ...]:
    """The word indexes that a method searches."""
    first = "bm25" if has_bm25() else "tfidf"
    if method == "hybrid":
        return (first,) if has_embedder else (first, "tfidf")
    return () if method == "dense" else (method,)


def _built(folder: Path, files: Sequence[Path], options: RetrievalOptions, key: str, emit: Emit) -> Index:
    passages: dict[str, Passage] = {}
    left_out: list[LeftOut] = []
    for done, path in enumerate(files, 1):
        name = path.relative_to(folder).as_posix()
        try:
            sections = sections_of(path)
        except Unreadable as error:
            left_out.append(LeftOut(path=name, reason=str(error)))
            continue
        if not sections:
            left_out.append(LeftOut(path=name, reason="no text in it (a scan, or empty)"))
        for section in sections:
            for passage in _passages(name, section, options):
                passages.setdefault(passage.id, passage)
        emit(Tick(task="reading documents", done=done, total=len(files)))
    if not passages:
        raise DataError(
            f"no document of the corpus has text ({left_out[0].path}: {left_out[0].reason})",
            where=str(folder),
            rule="passages are made of text; pictures of pages have none",
            fix="run character recognition over the scans, or give documents with text",
        )
    if left_out:
        listed = ", ".join(f"{one.path}: {one.reason}" for one in left_out[:3])
        emit(Note(text=f"{len(left_out)} of {len(files)} documents are left out: {listed}", level="warning"))
    kept = tuple(passages.values())
    texts = [f"{passage.title}\n{passage.text}" for passage in kept]
    lexical = tuple(Lexical.build(kind, texts) for kind in _kinds(options.method, bool(options.embedder)))
    embedder = Embedder(options.embedder) if options.embedder and options.method in ("dense", "hybrid") else None
    vectors = None if embedder is None else embedder.embed(texts, ticking(emit, "embedding passages"))
    documents = len(files) - len(left_out)
    return Index(key, options.method, kept, tuple(left_out), documents, lexical, vectors, embedder)


def _passages(name: str, section: Section, options: RetrievalOptions) -> list[Passage]:
    source = f"{name}, {section.place}" if section.place else name
    return [
        Passage(id=digest_of([name, section.title, text])[:16], text=text, source=source, title=section.title)
        for text in cut(section.text, options.passage_words, options.overlap_words)
    ]


def _write(index: Index, folder: Path) -> None:
    from safetensors.numpy import save

    facts = {
        "method": index.method,
        "documents": index.documents,
        "left_out": [one.model_dump() for one in index.left_out],
        "words": [lexical.kind for lexical in index._lexical],
    }
    store.write_text(folder / "corpus.json", json.dumps(facts, indent=1, ensure_ascii=False))
    store.write_lines(folder / "passages.jsonl", (p.model_dump_json(exclude={"score"}) for p in index.passages))
    for lexical in index._lexical:
        lexical.write(folder)
    if index._vectors is not None:
        store.write_bytes(folder / "vectors.safetensors", save({"vectors": index._vectors}))


def _load(artifact: Artifact, embedder: str) -> Index:
    from safetensors.numpy import load_file

    folder = artifact.path
    facts: Mapping[str, Any] = json.loads((folder / "corpus.json").read_text("utf-8"))
    with (folder / "passages.jsonl").open(encoding="utf-8") as file:
        passages = tuple(Passage.model_validate_json(line) for line in file)
    vectors, model = None, None
    if (folder / "vectors.safetensors").is_file():
        require_embedder(embedder)
        vectors, model = load_file(folder / "vectors.safetensors")["vectors"], Embedder(embedder)
    return Index(
        artifact.digest,
        facts["method"],
        passages,
        tuple(LeftOut.model_validate(one) for one in facts["left_out"]),
        facts["documents"],
        tuple(Lexical.read(kind, folder) for kind in facts["words"]),
        vectors,
        model,
    )


def _ranked(scores: Array, k: int, above: float | None = None) -> list[tuple[int, float]]:
    """The best ``k`` numbers with their scores, equal scores in the order of the passages."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(i), float(scores[i])) for i in order if above is None or scores[i] > above]
