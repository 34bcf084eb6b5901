import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy.stats import binomtest

from tunesmith.core import stats
from tunesmith.core.stats import Interval


@pytest.mark.parametrize(("successes", "n"), [(0, 32), (32, 32), (1, 8), (17, 40), (990, 1000), (5000, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_proportion_interval_equals_scipy(successes, n, confidence):
    wanted = binomtest(successes, n).proportion_ci(confidence, method="exact")
    assert stats.proportion_interval(successes, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_one_sided_samples_have_wide_intervals():
    assert stats.proportion_interval(0, 32).high == pytest.approx(0.109, abs=1e-3)
    assert stats.proportion_interval(0, 300).high == pytest.approx(0.0122, abs=1e-4)
    low, high = stats.paired_share_interval(32, 0, 32)
    assert 0.75 < low < 0.8
    assert high == 1.0
    assert stats.paired_share_interval(0, 32, 32) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (6, 0), (15, 5), (61, 39), (400, 350), (5200, 4800)])
def test_mcnemar_equals_the_binomial_test(gains, losses):
    wanted = binomtest(gains, gains + losses).pvalue if gains + losses else 1.0
    assert stats.exact_mcnemar(gains, losses) == pytest.approx(wanted, rel=1e-9)


def test_mcnemar_needs_six_rows_that_all_go_one_way():
    assert stats.exact_mcnemar(5, 0) > 0.05 > stats.exact_mcnemar(6, 0)


def score_statistic(difference, gains, losses, n):
    """The same statistic with the restricted likelihood maximised numerically."""

    def unlikely(share_lost):
        cells = [
            (gains, share_lost + difference),
            (losses, share_lost),
            (n - gains - losses, 1 - 2 * share_lost - difference),
        ]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    variance = (2 * share + difference * (1 - difference)) * n
    return (gains - losses - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("gains", "losses", "n"), [(15, 5, 155), (3, 9, 40), (0, 1, 44), (20, 20, 60)])
def test_paired_interval_ends_where_the_score_statistic_reaches_the_quantile(gains, losses, n):
    low, high = stats._tango(gains, losses, n, 0.95)
    assert score_statistic(low, gains, losses, n) == pytest.approx(1.959964, abs=1e-4)
    assert score_statistic(high, gains, losses, n) == pytest.approx(-1.959964, abs=1e-4)


@given(n=st.integers(1, 60), data=st.data())
def test_paired_interval_agrees_with_the_exact_test(n, data):
    gains = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - gains))
    interval = stats.paired_share_interval(gains, losses, n)
    assert interval.low <= (gains - losses) / n <= interval.high
    assert -1 <= interval.low <= interval.high <= 1
    assert interval.excludes_zero == (stats.exact_mcnemar(gains, losses) < 0.05)
    mirrored = stats.paired_share_interval(losses, gains, n)
    assert mirrored == pytest.approx((-interval.high, -interval.low), abs=1e-9)


def test_the_smallest_visible_difference_is_that_of_the_published_numbers_of_rows():
    table = {0.1: (76, 312, 870, 1960), 0.2: (155, 626, 1742, 3922), 0.3: (233, 940, 2614, 5884)}
    for discordant, rows in table.items():
        for difference, n in zip((0.1, 0.05, 0.03, 0.02), rows, strict=True):
            found = stats.smallest_share_difference(n, discordant - difference)
            assert found == pytest.approx(difference, rel=0.02)


def test_fewer_rows_and_more_noise_hide_more():
    smallest = stats.smallest_share_difference(400, 0.1)
    assert stats.smallest_share_difference(100, 0.1) > smallest > stats.smallest_share_difference(400, 0.0)
    assert stats.smallest_share_difference(3, 0.0) is None
    assert stats.smallest_share_difference(0, 0.0) is None


@pytest.mark.parametrize(
    ("interval", "p_value", "n", "higher", "verdict"),
    [
        ((0.03, 0.2), 0.001, 100, True, "better"),
        ((0.03, 0.2), 0.001, 100, False, "worse"),
        ((-0.2, -0.03), 0.001, 100, True, "worse"),
        ((-0.2, -0.03), 0.001, 100, False, "better"),
        ((-0.01, 0.2), 0.2, 100, True, "cannot tell"),
        ((0.03, 0.2), 0.07, 100, True, "cannot tell"),
        ((0.03, 0.2), 0.001, 7, True, "cannot tell"),
        ((-0.015, 0.02), 0.9, 100, True, "equivalent"),
        ((0.005, 0.015), 0.001, 100, True, "equivalent"),
        ((-0.015, 0.021), 0.9, 100, True, "cannot tell"),
    ],
)
def test_verdict_rule(interval, p_value, n, higher, verdict):
    assert stats.decide(Interval(*interval), p_value, n=n, margin=0.02, higher_is_better=higher) == verdict


def test_without_a_margin_only_an_exact_zero_is_equivalent():
    assert stats.decide(Interval(0, 0), 1.0, n=20, margin=0, higher_is_better=True) == "equivalent"
    assert stats.decide(Interval(-1e-9, 1e-9), 1.0, n=20, margin=0, higher_is_better=True) == "cannot tell"


def test_interval_of_rows_without_spread():
    assert stats.constant_interval(0.0, 32, 0.0, 1.0) == pytest.approx((0.0, 0.109), abs=1e-3)
    assert stats.constant_interval(100.0, 32, 0.0, 100.0) == pytest.approx((89.1, 100.0), abs=0.1)
    assert stats.constant_interval(0.0, 32, -1.0, 1.0) == pytest.approx((-0.109, 0.109), abs=1e-3)


@pytest.mark.parametrize(
    ("n", "gained", "lost", "called"), [(170, 0.15, 0.05, 0.81), (155, 0.15, 0.05, 0.76), (155, 0.10, 0.10, 0.031)]
)
def test_power_and_false_alarms_of_the_verdict_on_shares(n, gained, lost, called):
    draws = np.random.default_rng(0).multinomial(n, [gained, lost, 1 - gained - lost], 2000)
    verdicts = {
        (gains, losses): stats.decide(
            stats.paired_share_interval(gains, losses, n),
            stats.exact_mcnemar(gains, losses),
            n=n,
            margin=0.02,
            higher_is_better=True,
        )
        for gains, losses in {(int(gains), int(losses)) for gains, losses, _ in draws}
    }
    found = sum(verdicts[int(gains), int(losses)] in ("better", "worse") for gains, losses, _ in draws)
    assert found / 2000 == pytest.approx(called, abs=0.04 if called > 0.5 else 0.015)
