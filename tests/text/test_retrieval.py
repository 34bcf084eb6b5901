"""A folder of documents becomes passages that can be searched: the same ones, whoever builds it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tunesmith.core.errors import ConfigError, DataError, InputError
from tunesmith.core.events import Note
from tunesmith.core.store import Workspace
from tunesmith.text.graders import words
from tunesmith.text.retrieval import CORPUS, Corpus, Index, RetrievalOptions, reciprocal_rank_fusion
from tunesmith.text.retrieval.documents import sections_of
from tunesmith.text.retrieval.passages import cut

LAMPS = "# Returns\n\nEverything may be sent back.\n\n## Lamps\n\nA Veltro lamp may be returned within 41 days.\n"
PAGE = """<html><head><title>Hours</title><style>p { color: red }</style></head><body><nav>Home</nav>
<h1>Opening hours</h1><p>The shop in Quarnheim opens at <b>7:45</b>&nbsp;o'clock.</p>
<script>alert("no")</script><ul><li>Closed on Thursdays</li></ul></body></html>"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus"
    (corpus / "deep").mkdir(parents=True)
    (corpus / "returns.md").write_text(LAMPS, encoding="utf-8")
    (corpus / "deep" / "hours.html").write_text(PAGE, encoding="utf-8")
    (corpus / "staff.txt").write_text("Mirthe Oldeklap leads the workshop.\n", encoding="utf-8")
    (corpus / ".hidden.txt").write_text("A secret about lamps.", encoding="utf-8")
    (corpus / "picture.png").write_bytes(b"\x89PNG")
    return corpus


def pdf(path: Path, text: str) -> None:
    """A one-page PDF with one line of text."""
    stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    path.write_bytes(out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)


def top(index: Index, query: str) -> str:
    return index.search(query, 1)[0].source


@pytest.mark.parametrize("method", ["auto", "bm25", "tfidf", "hybrid"])
def test_the_passage_that_answers_comes_first(folder: Path, method: str) -> None:
    index = Corpus.build(folder, options=RetrievalOptions(method=method))
    assert top(index, "How many days for returning a Veltro lamp?") == "returns.md, line 5"
    assert top(index, "When does Quarnheim open?") == "deep/hours.html"
    assert top(index, "who leads the workshop") == "staff.txt, line 1"
    assert index.documents == 3


def test_titles_say_under_which_headings_a_passage_stands(folder: Path) -> None:
    (found, *_) = Corpus.build(folder).search("lamp", 1)
    assert found.title == "Returns > Lamps"
    assert found.text == "A Veltro lamp may be returned within 41 days."
    assert found.score > 0


def test_of_a_page_only_what_people_see_is_read(folder: Path) -> None:
    text = " ".join(section.text for section in sections_of(folder / "deep" / "hours.html"))
    assert "opens at 7:45 o'clock." in text
    assert "Closed on Thursdays" in text
    for unseen in ("alert", "color", "Home", "Hours"):
        assert unseen not in text


def test_pages_of_a_pdf_are_read(tmp_path: Path) -> None:
    pdf(tmp_path / "manual.pdf", "The fuse is rated 13 ampere")
    (found,) = Corpus.build(tmp_path).search("fuse rating of the fuse")
    assert found.source == "manual.pdf, page 1"
    assert "13 ampere" in found.text


def test_documents_without_text_are_left_out_and_named(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"this is no PDF")
    (folder / "empty.txt").write_text(" \n", encoding="utf-8")
    notes: list[str] = []
    index = Corpus.build(folder, emit=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert [one.path for one in index.left_out] == ["broken.pdf", "empty.txt"]
    assert "2 of 5 documents are left out: broken.pdf: cannot be opened as PDF" in notes[0]


def test_a_query_that_shares_no_word_finds_nothing(folder: Path) -> None:
    index = Corpus.build(folder, options=RetrievalOptions(method="bm25"))
    assert index.search("xylophone") == []
    assert index.search("") == []


def test_endings_and_slips_are_forgiven_by_runs_of_characters(folder: Path) -> None:
    assert Corpus.build(folder, options=RetrievalOptions(method="bm25")).search("workshopp") == []
    assert top(Corpus.build(folder, options=RetrievalOptions(method="hybrid")), "workshopp") == "staff.txt, line 1"


def test_bm25_is_the_published_formula(folder: Path) -> None:
    index = Corpus.build(folder, options=RetrievalOptions(method="bm25"))
    texts = [words(f"{p.title}\n{p.text}") for p in index.passages]
    mean = sum(map(len, texts)) / len(texts)

    def score(query: Sequence[str], text: Sequence[str]) -> float:
        total, counts = 0.0, Counter(text)
        for word in query:
            holding = sum(word in other for other in texts)
            idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
            total += idf * counts[word] / (counts[word] + 1.5 * (1 - 0.75 + 0.75 * len(text) / mean))
        return total

    found = {p.id: p.score for p in index.search("may a lamp be returned in days", 10)}
    wanted = {
        p.id: score(words("may a lamp be returned in days"), t) for p, t in zip(index.passages, texts, strict=True)
    }
    assert found == pytest.approx({id: value for id, value in wanted.items() if value > 0}, rel=1e-5)


def test_ranks_are_fused_by_their_reciprocals() -> None:
    fused = reciprocal_rank_fusion([[3, 1], [1, 2]])
    assert fused == [(1, 1 / 62 + 1 / 61), (3, 1 / 61), (2, 1 / 62)]


def test_the_same_folder_is_built_once_and_opened_by_its_digest(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "home")
    first = Corpus.build(folder, workspace, RetrievalOptions(method="hybrid"))
    again = Corpus.build(folder, workspace, RetrievalOptions(method="hybrid"))
    assert first.digest == again.digest
    assert len(workspace.artifacts(CORPUS)) == 1
    (folder / "staff.txt").unlink()
    opened = Corpus.open(first.digest[:10], workspace)
    assert opened.search("workshop lamp", 5) == first.search("workshop lamp", 5)
    assert Corpus.build(folder, workspace, RetrievalOptions(method="hybrid")).digest != first.digest
    assert opened.passage(first.passages[0].id) == first.passages[0]
    assert opened.passage("none") is None


def test_another_process_builds_the_same(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tunesmith.core.store import Workspace\n"
        "from tunesmith.text.retrieval import Corpus, RetrievalOptions\n"
        "w = Workspace.open(Path(sys.argv[2]))\n"
        "print(Corpus.build(Path(sys.argv[1]), w, RetrievalOptions(method='hybrid')).digest)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "other")], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    mine = Corpus.build(folder, Workspace.open(tmp_path / "mine"), RetrievalOptions(method="hybrid"))
    assert child.stdout.strip() == mine.digest


class Vectors:
    """An embedding model that knows two subjects."""

    def __init__(self, folder: str, device: str, local_files_only: bool) -> None:
        assert local_files_only

    def encode(self, texts: Sequence[str], normalize_embeddings: bool, show_progress_bar: bool) -> np.ndarray:
        rows = [[1.0, 0.1] if "lamp" in text or "light" in text else [0.1, 1.0] for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.mark.parametrize("method", ["dense", "hybrid", "auto"])
def test_an_embedding_model_finds_other_words(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Vectors  # type: ignore[attr-defined]
    module.__spec__ = ModuleSpec("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    (tmp_path / "minilm").mkdir()
    (tmp_path / "minilm" / "modules.json").write_text("[]")
    options = RetrievalOptions(method=method, embedder=str(tmp_path / "minilm"))
    workspace = Workspace.open(tmp_path / "home")
    index = Corpus.build(folder, workspace, options)
    assert top(index, "light") == "returns.md, line 5"
    assert top(Corpus.open(index.digest, workspace), "light") == "returns.md, line 5"


def test_passages_keep_to_their_length_and_overlap() -> None:
    text = "\n\n".join(" ".join(f"Word{p}x{s}y{w}" for w in range(9)) + "." for p in range(4) for s in range(3))
    passages = cut(text, 30, 10)
    assert all(len(words(passage)) <= 30 for passage in passages)
    assert {word for passage in passages for word in words(passage)} == set(words(text))
    assert passages[1].startswith(passages[0].rpartition("\n")[2])
    assert max(len(words(p)) for p in cut("one " * 100, 16, 4)) == 16
    assert "".join(cut("日本語" * 20, 16, 0)).replace("\n", "") == "日本語" * 20
    assert cut("", 30, 10) == []


def test_without_bm25_words_are_weighed_by_tfidf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.text.retrieval.index.has_bm25", lambda: False)
    notes: list[str] = []
    index = Corpus.build(folder, emit=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert index.method == "tfidf"
    assert notes == ["the package bm25s is not installed: TF-IDF takes its place"]
    assert top(index, "Veltro lamp") == "returns.md, line 5"


def refused(folder: Path, kind: type[Exception] = DataError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        Corpus.build(folder, options=RetrievalOptions.model_validate(options))
    assert "fix" in str(caught.value)
    return str(caught.value)


def test_what_is_no_corpus_is_refused(tmp_path: Path, folder: Path) -> None:
    assert "the corpus is not there" in refused(tmp_path / "nowhere")
    assert "the corpus is a file" in refused(folder / "staff.txt")
    (tmp_path / "none").mkdir()
    assert "the corpus holds no document" in refused(tmp_path / "none")
    (tmp_path / "none" / "blank.txt").write_text("\n")
    assert "no document of the corpus has text (blank.txt: no text in it" in refused(tmp_path / "none")
    (folder / "latin.txt").write_bytes("Bäcker".encode("latin-1"))
    assert "latin.txt: the text cannot be read as UTF-8" in refused(folder)
    assert "dense retrieval needs an embedder" in refused(folder, ConfigError, method="dense")
    assert "is no embedding model" in refused(folder, ConfigError, embedder=str(folder))


def test_declared_encodings_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes('<meta charset="latin-1"><p>Bäckerei</p>'.encode("latin-1"))
    (tmp_path / "b.txt").write_bytes("Gemälde".encode("utf-16"))
    index = Corpus.build(tmp_path)
    assert top(index, "bäckerei") == "a.html"
    assert top(index, "gemälde") == "b.txt, line 1"


def test_a_search_gives_at_least_one_passage_and_a_digest_names_a_corpus(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 passages were asked for"):
        Corpus.build(folder).search("lamp", 0)
    workspace = Workspace.open(tmp_path / "home")
    other = workspace.publish("adapter", lambda target: (target / "x").write_text("x") and None)
    with pytest.raises(InputError, match="is a stored adapter, not a corpus"):
        Corpus.open(other.digest, workspace)
