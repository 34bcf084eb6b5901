"""Known truths, many times over: no difference must be called one, and a planted difference must be found."""

from collections import Counter

import numpy as np
import pytest

from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Metric, bleu, perplexity
from tunesmith.evaluate.verdict import Scored, judge

BINARY = Metric("exact_match", lambda row: (), binary=True)
MEAN = Metric("rouge_l", lambda row: ())
F1 = Metric("field_f1", lambda row: ())
PERPLEXITY = Metric("perplexity", lambda row: (), perplexity, higher_is_better=False, scale=None)
BLEU = Metric("bleu", lambda row: (), bleu, scale=100.0)
ALL = [BINARY, MEAN, F1, PERPLEXITY, BLEU]

QUICK = Config(bootstrap_samples=400, equivalence_margin=0.0)


def draw(random, n, gain=0.0):
    """Counts of all metrics for one model of equal skill on rows of differing difficulty."""
    skill = np.clip(random["rows"].uniform(0.2, 0.8, n) + gain, 0.01, 0.99)
    noise = random["model"]
    lengths = random["rows"].integers(8, 20, n)
    matched = np.stack([noise.binomial(lengths - order, skill ** (order + 1)) for order in range(4)], axis=1)
    offered = np.stack([lengths - order for order in range(4)], axis=1)
    losses = 10 * (-np.log(skill) + noise.normal(0, 0.4, n))
    return {
        "exact_match": np.stack([noise.random(n) < skill, np.ones(n)], axis=1).astype(float),
        "rouge_l": np.stack([noise.beta(5 * skill, 5 * (1 - skill)), np.ones(n)], axis=1),
        "field_f1": np.stack([2.0 * noise.binomial(6, skill), np.full(n, 12.0)], axis=1),
        "perplexity": np.stack([losses, np.full(n, 10.0)], axis=1),
        "bleu": np.hstack([lengths[:, None], lengths[:, None], matched, offered]).astype(float),
    }


def pair(seed, n, gain=0.0):
    models = []
    for name, boost in (("base", 0.0), ("tuned", gain)):
        random = {"rows": np.random.default_rng([seed, 0]), "model": np.random.default_rng([seed, len(name)])}
        models.append(Scored(name, "", draw(random, n, boost), {}, {}))
    return models


def compare(before, after, metric, config=QUICK):
    models = [Scored(name, "", {metric.name: np.array(rows, float)}, {}, {}) for name, rows in
              (("base", before), ("tuned", after))]  # fmt: skip
    return judge(models, [metric], config)[1][0]


@pytest.mark.parametrize("n", [10, 40])
def test_equal_models_are_called_different_in_at_most_five_per_cent(n):
    runs, called = 400, Counter()
    for seed in range(runs):
        _, comparisons = judge(pair(seed, n), ALL, QUICK)
        called.update(c.metric for c in comparisons if c.verdict in ("better", "worse"))
    limit = 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5
    assert all(called[metric.name] / runs <= limit for metric in ALL), called


def test_a_large_difference_is_found_on_every_metric_and_in_the_right_direction():
    _, up = judge(pair(3, 60, gain=0.3), ALL, QUICK)
    assert {c.metric: c.verdict for c in up} == {metric.name: "better" for metric in ALL}
    _, down = judge(list(reversed(pair(3, 60, gain=0.3))), ALL, QUICK)
    assert {c.metric: c.verdict for c in down} == {metric.name: "worse" for metric in ALL}
    for one, other in zip(up, down, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.low <= one.difference <= one.high


def test_intervals_hold_the_truth_as_often_as_they_promise():
    truth, held = 0.1, 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        before = np.stack([random.beta(1, 3, 20), np.ones(20)], axis=1)
        after = before + np.stack([random.gamma(1.0, truth, 20), np.zeros(20)], axis=1)
        found = compare(before, after, MEAN)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 300 <= 0.99


def test_none_against_all_of_32():
    found = compare([(0, 1)] * 32, [(1, 1)] * 32, BINARY)
    assert found.verdict == "better"
    assert (found.baseline_value, found.candidate_value, found.difference) == (0.0, 1.0, 1.0)
    assert 0.75 < found.low < found.high == 1.0
    assert found.p_value < 1e-8
    assert 0.2 < found.smallest_visible < 0.25
    assert found.test == "exact McNemar, 32 gained, 0 lost"
    same = compare([(0.0, 8.0)] * 32, [(8.0, 8.0)] * 32, F1)
    assert same.verdict == "better"
    assert 0.7 < same.low < same.high == 1.0


def test_scores_of_one_sided_models_have_intervals():
    models = [Scored("base", "", {"field_f1": np.array([(0.0, 4.0)] * 32)}, {}, {})]
    summary = judge(models, [F1], QUICK)[0][0]
    assert (summary.value, summary.low) == (0.0, 0.0)
    assert summary.high == pytest.approx(0.109, abs=1e-3)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_the_same_model_differs_by_exactly_nothing(metric):
    counts = pair(0, 20)[0].counts
    models = [Scored("a", "digest", counts, {}, {}), Scored("b", "digest", counts, {}, {})]
    found = judge(models, [metric], QUICK)[1][0]
    assert (found.difference, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "equivalent")
    assert "are the same model" in found.sentence
    assert "exactly 0" in found.sentence


def test_rows_that_do_not_differ_are_equivalent_only_when_there_are_enough():
    margin = Config(bootstrap_samples=200, equivalence_margin=0.02)
    few = compare([(1, 1)] * 30, [(1, 1)] * 30, BINARY, margin)
    assert few.verdict == "cannot tell"
    assert "all 30 rows have the same score, the difference is exactly 0" in few.sentence
    many = compare([(1, 1)] * 300, [(1, 1)] * 300, BINARY, margin)
    assert many.verdict == "equivalent"
    assert "within the margin of 2.0 points" in many.sentence


def test_small_noise_around_nothing_is_equivalent():
    random = np.random.default_rng(0)
    before = np.stack([random.random(200), np.ones(200)], axis=1)
    after = before + np.stack([random.normal(0, 0.02, 200), np.zeros(200)], axis=1)
    assert compare(before, after, MEAN, Config(bootstrap_samples=1000)).verdict == "equivalent"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_too_few_rows_cannot_tell(n):
    found = compare([(0, 1)] * n, [(1, 1)] * n, BINARY)
    assert found.verdict == "cannot tell"
    assert f"{n} {'row is' if n == 1 else 'rows are'} too few for a verdict, which takes 8 or more." in found.sentence
    assert compare([(0.1 * i, 1) for i in range(n)], [(0.9, 1)] * n, MEAN).verdict == "cannot tell"


def test_perplexities_over_different_tokens_are_not_subtracted():
    found = compare([(10.0, 5.0)] * 20, [(8.0, 4.0)] * 20, PERPLEXITY)
    assert (found.difference, found.low, found.p_value, found.verdict) == (None, None, None, "cannot tell")
    assert "split text into different tokens, so their values cannot be subtracted" in found.sentence


def test_smallest_visible_difference_falls_with_the_rows():
    sizes = [20, 80, 320]
    for metric in ALL:
        smallest = [judge(pair(1, n), [metric], QUICK)[1][0].smallest_visible for n in sizes]
        assert smallest[0] > smallest[1] > smallest[2] > 0


def test_a_candidate_without_the_metric_is_not_compared():
    models = [
        Scored("base", "", {"rouge_l": np.ones((20, 2))}, {}, {}),
        Scored("tuned", "", {}, {"rouge_l": "no answers"}, {}),
    ]
    summaries, comparisons = judge(models, [MEAN], QUICK)
    assert comparisons == ()
    assert (summaries[1].value, summaries[1].note) == (None, "no answers")
