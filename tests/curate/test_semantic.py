"""Rows that say about the same: by TF-IDF always, by an embedding model where one is configured."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydantic import ValidationError

from tests.curate.helpers import example
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import ignore
from tunesmith.core.records import Example
from tunesmith.curate.checks import semantic, vectors
from tunesmith.curate.checks.ngrams import inner_grams
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.semantic import SemanticOptions
from tunesmith.curate.checks.table import Inspection, inspect
from tunesmith.curate.checks.vectors import close_pairs, closest, space_of

CHECK = "semantic duplicates"


def prose(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(count))


def shuffled(text: str, seed: int = 0) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def looked(rows: Sequence[Example], **options: object) -> Inspection:
    checks = Checks(semantic_duplicates=SemanticOptions.model_validate(options))
    return inspect(rows, Setting(checks), ignore)


def test_grams_within_words() -> None:
    texts = ["", "a", "ab cd", "caba abc x"]
    hashes, owners = inner_grams(texts, 4)
    for number, text in enumerate(texts):
        runs = [f" {word} "[i : i + 4] for word in text.split() for i in range(len(word) - 1)]
        assert len(set(hashes[owners == number].tolist())) == len(set(runs))
        assert (owners == number).sum() == len(runs)


def test_cosines_are_those_of_a_plain_implementation() -> None:
    texts = [prose(i % 7, 30) + " " + prose(50 + i, 10 + i % 5) for i in range(60)]
    space = space_of(texts)
    counts: list[dict[int, int]] = []
    for text in texts:
        words, grams = vectors.word_grams([text], 1)[0], inner_grams([text], 4)[0]
        values = [int(value) >> 44 for value in (*words, *grams)]
        counts.append({value: values.count(value) for value in set(values)})
    seen = {value: sum(value in other for other in counts) for one in counts for value in one}
    rows = [{v: (1 + np.log(n)) * np.log(61 / (1 + seen[v])) for v, n in one.items()} for one in counts]
    pairs = np.array([(i, j) for i in range(60) for j in range(i)])
    for (i, j), value in zip(pairs.tolist(), space.cosines(pairs).tolist(), strict=True):
        a, b = rows[i], rows[j]
        lengths = np.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
        assert value == pytest.approx(sum(a[v] * b.get(v, 0) for v in a) / lengths, abs=1e-5)


def test_the_search_in_cells_finds_what_the_full_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [prose(i, 40) for i in range(700)]
    texts += [shuffled(text) + " " + prose(9000 + i, 3) for i, text in enumerate(texts[::7])]
    space = space_of(texts)
    whole = close_pairs(space, 0.8)
    monkeypatch.setattr(vectors, "_EACH_WITH_EACH", 100)
    monkeypatch.setattr(vectors, "_CELL", 40)
    cells = close_pairs(space, 0.8)
    assert len(whole.pairs) >= 95
    assert len(set(cells.pairs) & set(whole.pairs)) >= 0.95 * len(whole.pairs)
    assert set(cells.pairs) <= set(whole.pairs)
    monkeypatch.setattr(vectors, "_LARGEST_CELL", 10)
    assert close_pairs(space, 0.8).not_compared > 0


def test_the_closest_are_the_closest() -> None:
    texts = [prose(i, 30) for i in range(100)]
    asked = [shuffled(texts[40]), shuffled(texts[77])]
    space = space_of([*asked, *texts])
    found = closest(space, [0, 1], range(2, 102), 3)
    assert [(best[0][0] - 2, len(best)) for best in found] == [(40, 3), (77, 3)]
    assert all(best[0][1] > 0.99 > best[1][1] for best in found)
    assert closest(space, [0], [], 3) == [[]]


def test_rows_that_say_about_the_same() -> None:
    rows = [example(prose(i, 30), prose(100 + i, 20), i + 1) for i in range(60)]
    rows.append(example(shuffled(prose(3, 30)), shuffled(prose(103, 20)), 70))
    rows.append(example(shuffled(prose(5, 30)) + " " + prose(500, 7), shuffled(prose(105, 20)), 80))
    found = looked(rows)
    same, alike = [finding for finding in found.findings if finding.check == CHECK]
    assert same.message == "2 rows say about the same (lowest cosine 1.00): lines 4, 70"
    assert (same.severity, same.action) == ("warning", None)
    assert alike.message.startswith("2 rows may say about the same (cosine 0.9")
    assert alike.message.endswith("lines 6, 80")
    assert alike.severity == "info"
    line = next(check for check in found.checks if check.name == CHECK)
    assert line.detail == "1 warning (by TF-IDF)"
    assert found.figures[CHECK]["by"] == "TF-IDF"
    assert (found.figures[CHECK]["groups_reported"], found.figures[CHECK]["pairs_to_review"]) == (1, 1)


def test_near_duplicates_are_not_said_twice() -> None:
    rows = [example(prose(i, 60), "ok", i + 1) for i in range(60)]
    rows.append(example(prose(3, 60) + " indeed", "ok", 70))
    assert [finding.check for finding in looked(rows).findings] == ["near duplicates"]


def test_a_mould_makes_nothing_alike() -> None:
    task = prose(999, 150)
    assert looked([example(f"{task} {prose(i, 8)}", "ok", i) for i in range(80)]).figures[CHECK]["groups_reported"] == 0


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = [example(prose(i, 30), "ok", i + 1) for i in range(80)]
    rows += [example(shuffled(prose(i, 30), i), "ok", 100 + i) for i in range(0, 80, 3)]
    found = []
    for _ in range(2):
        findings = [finding for finding in looked(rows).findings if finding.check == CHECK]
        found.append({frozenset((finding.source.line, *(o.line for o in finding.others))) for finding in findings})
        rows.reverse()
    assert len(found[0]) == 27
    assert found[0] == found[1]


def test_more_rows_than_the_limit_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "LIMIT", 50)
    found = looked([example(prose(i, 30), "ok", i) for i in range(80)])
    line = next(check for check in found.checks if check.name == CHECK)
    assert line.detail == "nothing found in 80 rows (by TF-IDF; not compared: 30 rows)"


# ---------------------------------------------------------------- embedding models


class Embedder:
    """Stands for the class of sentence-transformers: a text is the direction of its first word."""

    loaded: tuple[str, str, bool] | None = None

    def __init__(self, folder: str, device: str, local_files_only: bool) -> None:
        Embedder.loaded = (folder, device, local_files_only)

    def encode(self, texts: Sequence[str], normalize_embeddings: bool, show_progress_bar: bool) -> np.ndarray:
        rows = [np.random.default_rng(len(text.split()[0])).normal(size=32) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "minilm").mkdir()
    (tmp_path / "minilm" / "modules.json").write_text("[]")
    return str(tmp_path / "minilm")


def test_a_configured_model_is_used_and_named(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Embedder  # type: ignore[attr-defined]
    module.__spec__ = __import__("importlib.machinery").machinery.ModuleSpec("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    rows = [example("x" * (i + 1) + " " + prose(i, 9), "ok", i + 1) for i in range(10)]
    rows.append(example("y" * 4 + " " + prose(50, 20), "other", 20))
    found = looked(rows, embedder=folder)
    (finding,) = [finding for finding in found.findings if finding.check == CHECK]
    assert finding.message == "2 rows say about the same (lowest cosine 1.00): lines 4, 20"
    assert found.figures[CHECK]["by"] == "minilm"
    assert Embedder.loaded == (folder, "cpu", True)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        looked([example()], embedder=str(tmp_path))
    assert caught.value.what == f"{tmp_path} is no embedding model: it has no modules.json"
    assert "TF-IDF" in caught.value.fix


def test_a_missing_package_is_named(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        looked([example()], embedder=folder)
    assert caught.value.what == "the package sentence-transformers is not installed"
    assert "tunesmith[semantic]" in caught.value.fix


def test_review_begins_below_report() -> None:
    with pytest.raises(ValidationError) as caught:
        SemanticOptions(report=0.8, review=0.9)
    assert "review is 0.9, report is 0.8" in str(caught.value)
