"""The verdict is right as often as it promises: simulated models whose true difference is known."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.core import stats
from tunesmith.evaluate import statistics
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Metric
from tunesmith.evaluate.verdict import Scored, judge


def paired_verdicts(n: int, gains: float, losses: float, runs: int, seed: int) -> list[str]:
    """Verdicts of the exact path for answers that are right or wrong, without a margin."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n, [gains, losses, 1 - gains - losses], runs)
    known: dict[tuple[int, int], str] = {}
    for gained, lost, _ in drawn.tolist():
        if (gained, lost) not in known:
            interval = stats.paired_share_interval(gained, lost, n)
            p_value = stats.exact_mcnemar(gained, lost)
            known[gained, lost] = stats.decide(interval, p_value, n=n, margin=0.0, higher_is_better=True)
    return [known[gained, lost] for gained, lost, _ in drawn.tolist()]


def decided(verdicts: list[str]) -> float:
    return sum(verdict in ("better", "worse") for verdict in verdicts) / len(verdicts)


@pytest.mark.parametrize(("n", "expected"), [(155, 0.031), (626, 0.040)])
def test_of_two_equal_models_one_is_rarely_called_better(n: int, expected: float) -> None:
    share = decided(paired_verdicts(n, 0.1, 0.1, 2000, seed=1))
    assert share <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
    # The exact test sits below its level; a verdict needs the interval too, so it may only be rarer.
    assert share <= expected + 3 * (expected * (1 - expected) / 2000) ** 0.5


def test_ten_points_are_found_in_four_of_five_runs_of_170_rows() -> None:
    verdicts = paired_verdicts(170, 0.15, 0.05, 2000, seed=2)
    assert 0.77 <= verdicts.count("better") / 2000 <= 0.85
    assert verdicts.count("worse") == 0


def test_four_rows_never_win() -> None:
    interval = stats.paired_share_interval(4, 0, 4)
    assert stats.decide(interval, stats.exact_mcnemar(4, 0), n=4, margin=0.0, higher_is_better=True) == "cannot tell"


def test_bootstrap_intervals_cover_what_they_promise() -> None:
    """BCa over skewed values: 93 to 97 % of the 95 % intervals hold the true mean."""
    random, held, runs = np.random.default_rng(3), 0, 1000
    for run in range(runs):
        values = random.gamma(2.0, 1.0, (150, 1))
        rows = np.hstack([values, np.ones_like(values)])
        mean = lambda sums: sums[..., 0] / sums[..., 1]  # noqa: E731
        resampled = mean(statistics.bootstrap_sums(rows, 600, run))
        interval = statistics.bca_interval(
            float(values.mean()), resampled, statistics.leave_one_out(rows, mean), statistics.expanded_z(150, 0.95)
        )
        assert interval is not None
        held += interval.low <= 2.0 <= interval.high
    assert 0.93 <= held / runs <= 0.97


def scored(name: str, values: np.ndarray) -> Scored:
    counts = {"token_f1": np.column_stack([values, np.ones(len(values))])}
    return Scored(name, name, counts, {}, {})


METRIC = Metric("token_f1", lambda row: (0.0, 1.0))


def test_rows_of_one_group_are_not_evidence_of_their_own() -> None:
    """Two equal models; ten rows of a customer share their noise. Over rows one looks better, over groups rarely."""
    random = np.random.default_rng(4)
    config = Config(bootstrap_samples=400, equivalence_margin=0.0)
    alone = together = 0
    for _ in range(60):
        before = random.random(200) * 0.2 + 0.4
        after = before + np.repeat(random.normal(0.0, 0.1, 20), 10)
        models = [scored("a", before), scored("b", after)]
        clusters = [f"customer {i // 10}" for i in range(200)]
        [plain] = judge(models, [METRIC], config, "token_f1")[1]
        [grouped] = judge(models, [METRIC], config, "token_f1", clusters)[1]
        alone += plain.verdict in ("better", "worse")
        together += grouped.verdict in ("better", "worse")
        assert grouped.n == 200
        assert grouped.difference == pytest.approx(plain.difference)
    assert alone > 20
    assert together <= 8


def test_fewer_than_eight_groups_give_no_verdict() -> None:
    models = [scored("a", np.full(70, 0.2)), scored("b", np.linspace(0.5, 0.9, 70))]
    config = Config(bootstrap_samples=400)
    assert judge(models, [METRIC], config, "token_f1")[1][0].verdict == "better"
    clusters = [str(i // 10) for i in range(70)]
    assert judge(models, [METRIC], config, "token_f1", clusters)[1][0].verdict == "cannot tell"


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    values = [0.04, 0.001, 0.03, 0.2, 0.011, 0.9]
    assert stats.holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist(), abs=1e-12)
    assert stats.holm([]) == []


def test_exact_tests_and_intervals_are_those_of_scipy_and_statsmodels() -> None:
    from scipy.stats import binomtest
    from statsmodels.stats.proportion import proportion_confint

    for gains, losses in ((9, 1), (15, 5), (33, 17), (0, 6), (61, 39)):
        assert stats.exact_mcnemar(gains, losses) == pytest.approx(binomtest(gains, gains + losses).pvalue, rel=1e-9)
        found = stats.proportion_interval(gains, gains + losses)
        assert tuple(found) == pytest.approx(proportion_confint(gains, gains + losses, method="beta"), abs=1e-9)


def test_secondary_metrics_are_corrected_and_the_deciding_one_is_not() -> None:
    random = np.random.default_rng(5)
    names = [f"m{i}" for i in range(6)]
    metrics = [Metric(name, lambda row: (0.0, 1.0)) for name in names]
    shift = random.normal(0.035, 0.1, 60)
    table = {name: np.column_stack([np.full(60, 0.5), np.ones(60)]) for name in names}
    moved = {name: np.column_stack([0.5 + np.roll(shift, i), np.ones(60)]) for i, name in enumerate(names)}
    models = [Scored("a", "a", table, {}, {}), Scored("b", "b", moved, {}, {})]
    config = Config(bootstrap_samples=2000, equivalence_margin=0.0)
    with_terms = [metric for metric in metrics if metric.name in names]
    plain = {c.metric: c for c in _judged(models, with_terms, config, spared="all")}
    found = {c.metric: c for c in _judged(models, with_terms, config, spared="m0")}
    assert found["m0"].p_value == plain["m0"].p_value
    others = names[1:]
    assert [found[m].p_value for m in others] == pytest.approx(stats.holm([plain[m].p_value for m in others]))


def _judged(models, metrics, config, spared):
    """Comparisons of metrics that have no words of their own."""
    from unittest.mock import patch

    from tunesmith.evaluate import verdict

    with patch.object(verdict.wording, "sentence", lambda *_: ""):
        if spared != "all":
            return judge(models, metrics, config, spared)[1]
        return [judge(models, [metric], config, metric.name)[1][0] for metric in metrics]
