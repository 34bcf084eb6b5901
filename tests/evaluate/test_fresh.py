"""Fresh samples over time: what may enter, and when a model is said to have changed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap, fisher_exact

from tests.evaluate.fakes import Scripted, examples
from tests.evaluate.test_page import Structure
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import Example
from tunesmith.evaluate import Config, FreshSample, collected_on, measure_fresh, only_fresh, trend_of, trend_to_html
from tunesmith.evaluate.metrics import Metric, bleu
from tunesmith.evaluate.unpaired import change_between, newcombe_interval, shuffled_sums

QUICK = Config(bootstrap_samples=400, equivalence_margin=0.0)
MEAN = Metric("token_f1", lambda row: ())
BINARY = Metric("exact_match", lambda row: (), binary=True)


def column(values: object) -> np.ndarray:
    values = np.asarray(values, float)
    return np.column_stack([values, np.ones(len(values))])


def rows(start: int, count: int) -> list[Example]:
    return examples([f"label {i}" for i in range(start + count)])[start:]


def sample(day: str, right: int, count: int, first: FreshSample | None = None, start: int = 0) -> FreshSample:
    asked = rows(start, count)
    answers = [row.target.text if i < right else "no" for i, row in enumerate(asked)]
    found = measure_fresh(QUICK, Scripted("bot", answers, digest="d" * 40), asked, first)
    return found.model_copy(update={"collected": day, "file": f"{day}.jsonl"})


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("metric", [MEAN, BINARY])
def test_two_random_halves_of_the_same_texts_have_not_drifted(n: int, metric: Metric) -> None:
    random, called, runs = np.random.default_rng([n, metric.binary]), 0, 300
    for _ in range(runs):
        values = random.beta(2.0, 1.0, 2 * n)
        drawn = column(values > 0.5 if metric.binary else values)
        called += change_between(metric, drawn[:n], drawn[n:], QUICK).verdict in ("better", "worse")
    assert called / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


def test_a_planted_drop_is_found_and_has_its_direction() -> None:
    random, found = np.random.default_rng(1), 0
    for _ in range(100):
        before, after = column(random.random(200) < 0.8), column(random.random(200) < 0.6)
        verdict = change_between(BINARY, before, after, QUICK).verdict
        assert verdict != "better"
        found += verdict == "worse"
    assert found >= 95


def test_the_smallest_visible_change_is_found_four_times_in_five() -> None:
    random, found = np.random.default_rng(2), 0
    for _ in range(200):
        before, after = random.normal(0.5, 0.2, 100), random.normal(0.5, 0.2, 100)
        smallest = change_between(MEAN, column(before), column(after), QUICK).smallest
        assert smallest is not None
        found += change_between(MEAN, column(before), column(after + smallest), QUICK).verdict == "better"
    assert 0.7 <= found / 200 <= 0.9


def test_numbers_are_those_of_scipy_and_statsmodels() -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    for before, after in (((30, 40), (20, 50)), ((0, 20), (5, 25)), ((10, 10), (10, 10))):
        wanted = confint_proportions_2indep(*after, *before, method="newcomb", compare="diff")
        assert tuple(newcombe_interval(before, after, 0.95)) == pytest.approx(wanted, abs=1e-9)
        table = [[right, n - right] for right, n in (before, after)]
        drawn = [column(np.arange(n) < right) for right, n in (before, after)]
        assert change_between(BINARY, *drawn, QUICK).p_value == pytest.approx(fisher_exact(table).pvalue, abs=1e-12)

    random = np.random.default_rng(3)
    before, after = random.gamma(2.0, 1.0, 60), random.gamma(2.0, 1.3, 80)
    found = change_between(MEAN, column(before), column(after), Config(bootstrap_samples=20_000)).interval
    wanted = bootstrap((after, before), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=20_000, rng=1)
    # Ours is a little wider, as few rows need.
    assert found == pytest.approx(tuple(wanted.confidence_interval), abs=0.06)


def test_shuffled_sums_draw_without_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    values = column(2.0 ** np.arange(10))
    monkeypatch.setattr("tunesmith.evaluate.statistics.CHUNK", 35)
    sums = shuffled_sums(values, 4, 50, seed=0)
    assert sums.shape == (50, 2)
    assert all(int(total).bit_count() == 4 for total in sums[:, 0])
    assert len({int(total) for total in sums[:, 0]}) > 30


def test_corpus_metrics_have_a_trend_too() -> None:
    random = np.random.default_rng(4)
    counts = random.integers(5, 10, (40, 10)).astype(float)
    counts[:, 2:6] = np.minimum(counts[:, 2:6], counts[:, 6:])
    change = change_between(Metric("bleu", lambda row: (), bleu, scale=100.0), counts[:20], counts[20:], QUICK)
    assert change.interval is not None
    assert change.interval.low < change.later - change.earlier < change.interval.high


def test_without_any_spread_nothing_is_claimed() -> None:
    change = change_between(MEAN, column(np.full(20, 0.2)), column(np.full(20, 0.9)), QUICK)
    assert (change.interval, change.verdict) == (None, "cannot tell")
    assert change_between(BINARY, column(np.ones(4)), column(np.zeros(4)), QUICK).verdict == "cannot tell"


def test_a_row_that_was_trained_on_or_measured_before_does_not_enter() -> None:
    first = sample("2026-01-31", 10, 20)
    mixed = rows(15, 20)  # five of them stood in the first sample
    fresh, refused = only_fresh(mixed, {mixed[-1].id}, [first])
    assert len(fresh) == 14
    assert refused == tuple(f"rows.jsonl:{line}" for line in (16, 17, 18, 19, 20, 35))
    with pytest.raises(DataError, match="none of the 20 rows is fresh") as caught:
        only_fresh(rows(0, 20), (), [first])
    assert caught.value.where == "rows.jsonl:1"


def test_the_date_stands_in_the_name_of_the_file() -> None:
    assert collected_on(Path("2026-01-01..2026-02-28.jsonl")) == date(2026, 2, 28)
    assert collected_on(Path("support-2026-03-31.csv")) == date(2026, 3, 31)
    for name in ("fresh.jsonl", "2026-99-01.jsonl", "12026-01-011.jsonl"):
        with pytest.raises(InputError, match="does not say when"):
            collected_on(Path(name))


def test_a_trend_says_worse_when_it_is_and_asks_for_the_next_sample() -> None:
    first = sample("2026-01-31", 90, 100)
    second = sample("2026-04-30", 88, 100, first, 100)
    third = sample("2026-07-31", 50, 100, first, 200)
    early = trend_of([first], date(2026, 2, 1))
    assert (early.verdict, early.overdue, early.due) == (None, False, "2026-05-01")
    assert early.sentence.startswith("First sample of bot, 2026-01-31: exact match 90.0 %")
    assert trend_of([first, second], date(2026, 5, 1)).verdict == "cannot tell"
    trend = trend_of([first, second, third], date(2026, 12, 1))
    assert (trend.verdict, trend.overdue) == ("worse", True)
    assert "90.0 % on 2026-01-31 → 50.0 % on 2026-07-31, −40.0 points" in trend.sentence
    assert type(trend).model_validate_json(trend.model_dump_json()) == trend

    page = trend_to_html(trend)
    shown = Structure(page)
    assert "Overdue" in shown.words
    assert page.count('class="whisker"') == 3
    assert "http" not in page.replace("http-equiv", "")
    assert trend_to_html(trend) == page


def test_verdicts_of_a_trend_are_corrected_for_the_number_of_samples() -> None:
    first = sample("2026-01-31", 70, 100)
    later = [sample(f"2026-02-{day:02}", 54, 100, first, 100 * day) for day in range(1, 10)]
    alone = later[0].drift
    assert alone is not None
    assert alone.verdict == "worse"
    assert trend_of([first, *later], date(2026, 3, 1)).verdict == "cannot tell"
