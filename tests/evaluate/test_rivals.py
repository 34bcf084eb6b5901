"""What others get wrong about verdicts: flips, wins on a handful of rows, numbers from nothing, totals only."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from tests.evaluate.fakes import Scripted, examples
from tunesmith.core import stats
from tunesmith.evaluate import Config, run, statistics, table, verdict_lines
from tunesmith.evaluate.metrics import bleu, chrf
from tunesmith.text.graders import bleu_counts, chrf_counts

QUICK = Config(bootstrap_samples=300)
WORDS = tuple("the a small large restaurant near by riverside serves cheap food and wine in centre".split())  # noqa: SIM905


def compared(right_before: list[bool], right_after: list[bool], config: Config = QUICK):
    rows = examples([f"label {i}" for i in range(len(right_before))])
    models = [
        Scripted(
            name, [row.target.text if right else "no" for row, right in zip(rows, rights, strict=True)], digest=name
        )
        for name, rights in (("base", right_before), ("tuned", right_after))
    ]
    return run(config, models, rows)


def texts(count: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """References, and two systems that change some of their words."""
    random = np.random.default_rng(seed)
    wanted = [[str(word) for word in random.choice(WORDS, random.integers(6, 14))] for _ in range(count)]
    systems = [
        [" ".join(str(random.choice(WORDS)) if random.random() < rate else word for word in words) for words in wanted]
        for rate in (0.35, 0.27)
    ]
    return [" ".join(words) for words in wanted], systems[0], systems[1]


def test_the_first_sixty_rows_never_contradict_all_four_hundred() -> None:
    """Better on a part and worse on the whole, or the other way round, is what others say of the same set."""
    random, opposed, decided = np.random.default_rng(1), 0, 0
    for _ in range(400):
        gains = random.uniform(0.05, 0.25)
        moved = random.choice([1, -1, 0], 400, p=[gains, 0.3 - gains, 0.7])
        verdicts = [_verdict(moved[:60]), _verdict(moved)]
        opposed += set(verdicts) == {"better", "worse"}
        decided += "cannot tell" not in verdicts
    assert opposed == 0
    assert decided > 40, "the test has something to see"


def _verdict(moved: np.ndarray) -> str:
    gains, losses = int((moved > 0).sum()), int((moved < 0).sum())
    interval = stats.paired_share_interval(gains, losses, len(moved))
    p_value = stats.exact_mcnemar(gains, losses)
    return stats.decide(interval, p_value, n=len(moved), margin=0.0, higher_is_better=True)


def test_four_items_are_no_win_and_the_report_says_how_many_it_takes() -> None:
    report = compared([False] * 4, [True] * 4)
    assert report.verdict == "cannot tell"
    assert "4 rows are too few for a verdict, which takes 8 or more" in report.sentence


def test_nine_of_forty_after_thirteen_of_forty_is_no_forgetting() -> None:
    report = compared([i < 13 for i in range(40)], [i < 7 or i >= 38 for i in range(40)])
    [found] = [found for found in report.comparisons if found.metric == report.primary_metric]
    assert (found.baseline_value, found.candidate_value) == (13 / 40, 9 / 40)
    assert report.verdict == "cannot tell"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert found.smallest_visible is not None
    assert found.smallest_visible > 0.1
    assert "interval" in report.sentence


def test_every_row_with_every_answer_stands_in_the_report() -> None:
    report = compared([i % 3 == 0 for i in range(30)], [i % 2 == 0 for i in range(30)])
    items = json.loads(report.model_dump_json())["items"]
    assert len(items) == 30
    assert all(set(item["answers"]) == {"base", "tuned"} for item in items)
    total = sum(item["scores"]["tuned"]["exact_match"] for item in items) / 30
    [summary] = [s for s in report.summaries if (s.model, s.metric) == ("tuned", "exact_match")]
    assert total == pytest.approx(summary.value)


def test_what_was_not_measured_has_no_number_and_decides_nothing() -> None:
    rows = examples([f"label {i}" for i in range(20)])
    answers = [row.target.text for row in rows]
    models = [Scripted("base", answers, digest="a", logprob=None), Scripted("tuned", answers, digest="b", logprob=None)]
    report = run(QUICK.model_copy(update={"primary_metric": "perplexity"}), models, rows)
    assert report.verdict == "cannot tell"
    assert "was not measured (base: the model gives no log-probabilities)" in report.sentence
    assert all(s.value is None and s.low is None for s in report.summaries if s.metric == "perplexity")
    assert any("Not measured: perplexity" in line for line in verdict_lines(report))
    assert not any("perplexity" in cell for row in table(report) for cell in row)


@pytest.mark.parametrize(("metric", "counts", "value"), [(BLEU(), bleu_counts, bleu), (CHRF(), chrf_counts, chrf)])
def test_resampling_is_that_of_sacrebleu(metric, counts, value, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same draws: sacrebleu's approximate randomisation and bootstrap give the same p-values."""
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    wanted, before, after = texts(30, seed=2)
    sides = [np.array([counts(*pair) for pair in zip(side, wanted, strict=True)], float) for side in (before, after)]
    scores = [float(value(side.sum(axis=0))) for side in sides]
    systems = [("before", before), ("after", after)]

    def theirs(kind: str, samples: int):
        _, found = PairedTest(systems, {"metric": metric}, [wanted], kind, samples)()
        return next(results for name, results in found.items() if name != "System")

    random = np.random.default_rng(7)
    chosen = random.integers(2, size=(500, 30), dtype=bool)
    kept = chosen.astype(float) @ sides[0] + (~chosen).astype(float) @ sides[1]
    swapped = value(kept) - value(sides[0].sum(axis=0) + sides[1].sum(axis=0) - kept)
    baseline, system = theirs("ar", 500)
    assert [baseline.score, system.score] == pytest.approx(scores, abs=1e-9)
    assert statistics.swap_test(scores[1] - scores[0], swapped) == pytest.approx(system.p_value, abs=1e-9)

    drawn = np.random.default_rng(7).choice(30, size=(400, 30), replace=True)
    resampled = [value(side[drawn].sum(axis=1)) for side in sides]
    _, system = theirs("bs", 400)
    assert resampled[1].mean() == pytest.approx(system.mean, rel=1e-6), "sacrebleu adds these up in float32"
    differences = np.abs(resampled[1] - resampled[0])
    shifted = int((differences - differences.mean() > abs(scores[1] - scores[0])).sum())
    assert (shifted + 1) / 401 == pytest.approx(system.p_value, abs=1e-9)
