"""Auditing: the sample, the exact bound, agreement, and journals that survive anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

from tests.curate.helpers import error_of, jsonl, pair
from tunesmith.curate.config import Config
from tunesmith.curate.versions import audit
from tunesmith.curate.versions.audit import Decision, Mark, Sample
from tunesmith.curate.versions.audit_page import audit_page

DATA = {"a.jsonl": "0" * 64}


def decided(sample: Sample, reviewer: str, marks: dict[int, Mark]) -> list[Decision]:
    return [Decision(sample=sample.id, row=row, id="x", reviewer=reviewer, mark=mark) for row, mark in marks.items()]


def test_a_sample_follows_from_data_and_seed() -> None:
    sample = audit.draw(DATA, 10_000, 300)
    assert sample == audit.draw(DATA, 10_000, 300)
    assert len(set(sample.numbers)) == 300
    assert sample.numbers[:50] == audit.draw(DATA, 10_000, 50).numbers, "any beginning is a sample itself"
    others = [audit.draw(DATA, 10_000, 300, seed=1), audit.draw({"a.jsonl": "1" * 64}, 10_000, 300)]
    assert all(len({*other.numbers} & {*sample.numbers}) < 50 for other in others)
    assert audit.draw({"b.jsonl": "0" * 64}, 10_000, 300).numbers == sample.numbers, "the name of the file is no part"
    assert sorted(audit.draw(DATA, 7, 300).numbers) == list(range(7))
    drawn = [number for seed in range(200) for number in audit.draw(DATA, 100, 10, seed).numbers]
    assert all(5 <= drawn.count(number) <= 40 for number in range(100))


@pytest.mark.parametrize("n", [1, 20, 100, 300])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_bounds_are_those_of_scipy(n: int, share: float) -> None:
    wrong = round(n * share)
    for alternative, bound in (("less", audit.upper_bound), ("greater", audit.lower_bound)):
        exact = binomtest(wrong, n, alternative=alternative).proportion_ci(0.95, method="exact")
        assert bound(wrong, n) == pytest.approx(exact.high if alternative == "less" else exact.low, abs=1e-12)


def test_no_error_in_300_means_at_most_one_percent() -> None:
    sample = audit.draw(DATA, 5000, 300)
    both = [d for name in ("ann", "bob") for d in decided(sample, name, dict.fromkeys(sample.numbers, "good"))]
    found = audit.result(sample, both)
    assert found.sentence == "0 of 300 rows are wrong: with 95 % confidence at most 1.0% of the data"
    assert (found.agreements[0].equal, found.agreements[0].kappa) == (300, None)
    assert audit.upper_bound(0, 100) == pytest.approx(0.0295, abs=1e-4)


def test_kappa_is_cohens() -> None:
    # Cohen's formula by hand: equal 35 of 50, by chance 0.5·0.6 + 0.5·0.4
    pairs: list[tuple[Mark, Mark]] = [("good", "good")] * 20 + [("good", "bad")] * 5
    pairs += [("bad", "good")] * 10 + [("bad", "bad")] * 15
    assert audit.kappa(pairs) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert audit.kappa([("good", "good"), ("bad", "bad")]) == 1
    assert audit.kappa([("good", "bad"), ("bad", "good")]) == -1


def test_reviewers_who_disagree_say_something_about_the_instructions() -> None:
    sample = audit.draw(DATA, 100, 20)
    ann: dict[int, Mark] = {row: "bad" if i % 2 else "good" for i, row in enumerate(sample.numbers)}
    bob: dict[int, Mark] = {row: "bad" if i % 3 else "good" for i, row in enumerate(sample.numbers)}
    found = audit.result(sample, [*decided(sample, "ann", ann), *decided(sample, "bob", bob)])
    assert found.sentence.startswith("instructions unclear: ann and bob agree too little")
    assert found.wrong == sum("bad" in (ann[row], bob[row]) for row in sample.numbers)
    assert found.wrong_by_all == sum(ann[row] == bob[row] == "bad" for row in sample.numbers)


def test_one_reviewer_and_what_was_not_read() -> None:
    sample = audit.draw(DATA, 100, 20)
    assert audit.result(sample, []).sentence == "not measured: no row was read"
    marks: dict[int, Mark] = {sample.numbers[0]: "unclear", sample.numbers[1]: "good"}
    found = audit.result(sample, decided(sample, "ann", marks))
    assert (found.read, found.wrong, found.unclear, found.rate) == (2, 1, 1, 0.5)
    assert found.sentence.endswith("agreement not measured: one reviewer")
    again = [*decided(sample, "ann", marks), *decided(sample, "ann", {sample.numbers[0]: "good"})]
    assert audit.result(sample, again).wrong == 0, "the later decision stands"


def test_journals_go_on_and_survive_a_cut_line(tmp_path: Path) -> None:
    sample, journal = audit.draw(DATA, 100, 5), tmp_path / "j.jsonl"
    audit.begin(journal, sample)
    (first, second) = decided(sample, "ann", dict.fromkeys(sample.numbers[:2], "good"))
    audit.decide_row(journal, first)
    with journal.open("a") as file:
        file.write('{"sample": "ab')
    assert audit.read_journal(journal) == (sample, [first])
    audit.begin(journal, sample)
    assert audit.undecided(sample, [first], "ann") == list(sample.numbers[1:])
    assert audit.undecided(sample, [first], "bob") == list(sample.numbers)
    saved = tmp_path / "saved.json"
    saved.write_text(
        json.dumps({"audit": {"sample": sample.model_dump(mode="json"), "decisions": [second.model_dump()]}})
    )
    assert audit.gather([journal, saved]) == (sample, [first, second])
    assert (
        "this is no line of an audit journal" in error_of(lambda: audit.read_journal(_text(tmp_path, "{}\n[]\n"))).what
    )
    assert "this is no line" in error_of(lambda: audit.read_journal(_text(tmp_path, "no json\n{}\n"))).what
    assert "this is no line" in error_of(lambda: audit.read_journal(_text(tmp_path, '{"audit": 1}'))).what
    assert "this is no line" in error_of(lambda: audit.read_journal(_text(tmp_path, "3\n"))).what


def _text(folder: Path, text: str) -> Path:
    (folder / "other.jsonl").write_text(text)
    return folder / "other.jsonl"


def test_journals_of_other_samples_are_refused(tmp_path: Path) -> None:
    one, two = audit.draw(DATA, 100, 5), audit.draw(DATA, 100, 5, seed=1)
    for name, sample in (("one", one), ("two", two)):
        audit.begin(tmp_path / name, sample)
    error = error_of(lambda: audit.begin(tmp_path / "one", two))
    assert "the journal belongs to another sample" in error.what
    error = error_of(lambda: audit.gather([tmp_path / "one", tmp_path / "two"]))
    assert "the journals are about different samples" in error.what
    audit.decide_row(tmp_path / "one", decided(two, "ann", {0: "good"})[0])
    assert "a decision is about no row of the sample" in error_of(lambda: audit.gather([tmp_path / "one"])).what
    assert "there is no such journal" in error_of(lambda: audit.gather([tmp_path / "none"])).what


def test_the_page_holds_the_rows_and_cannot_be_broken_by_them(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", pair("q </script><script>alert(1)</script>", "<!-- a"), pair("q2", "b"))
    sample, rows = audit.draw_rows(Config.model_validate({"datasets": [{"path": path}]}), 300)
    page = audit_page(sample, [(number, rows[number]) for number in sample.numbers])
    assert page.count("</script>") == 2
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["sampleId"] == sample.id
    assert [row["turns"][-1][0] for row in data["rows"]] == ["assistant", "assistant"]
    assert "https://" not in page
    assert page == audit_page(sample, [(number, rows[number]) for number in sample.numbers])
