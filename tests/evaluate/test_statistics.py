import numpy as np
import pytest
import scipy.stats

from tunesmith.core import stats
from tunesmith.evaluate import metrics, statistics


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.mark.parametrize("n", [9, 40])
def test_bca_equals_scipy_on_the_same_resamples(random, n):
    values = random.gamma(1.0, 2.0, n)
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="BCa", vectorized=True, axis=-1, rng=np.random.default_rng(1)
    )
    left_out = (values.sum() - values) / (n - 1)
    found = statistics.bca_interval(values.mean(), wanted.bootstrap_distribution, left_out, stats.z_value(0.975))
    assert found == pytest.approx(tuple(wanted.confidence_interval), abs=1e-9)


def test_bca_with_own_resamples_is_close_to_scipy(random):
    values = random.gamma(1.0, 2.0, 50)
    rows = np.stack([values, np.ones(50)], axis=1)
    resampled = metrics.ratio(statistics.bootstrap_sums(rows, 20_000, seed=3))
    left_out = statistics.leave_one_out(rows, metrics.ratio)
    wanted = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1))
    found = statistics.bca_interval(values.mean(), resampled, left_out, stats.z_value(0.975))
    assert found == pytest.approx(tuple(wanted.confidence_interval), abs=0.03)


def test_bca_of_values_without_spread_is_none():
    assert statistics.bca_interval(0.5, np.full(100, 0.5), np.full(10, 0.5), 1.96) is None


def test_few_rows_get_a_wider_interval():
    assert statistics.expanded_z(8, 0.95) > 2.5 > 2.1 > statistics.expanded_z(100, 0.95) > 1.96
    assert statistics.expanded_z(100_000, 0.95) == pytest.approx(1.96, abs=1e-4)


def test_resamples_are_the_same_for_every_column_and_seeded(random):
    rows = random.random((20, 3))
    sums = statistics.bootstrap_sums(np.hstack([rows, 2 * rows]), 500, seed=5)
    assert sums.shape == (500, 6)
    assert np.allclose(2 * sums[:, :3], sums[:, 3:])
    assert np.array_equal(sums, statistics.bootstrap_sums(np.hstack([rows, 2 * rows]), 500, seed=5))
    assert not np.array_equal(sums, statistics.bootstrap_sums(np.hstack([rows, 2 * rows]), 500, seed=6))
    assert sums.mean(axis=0)[:3] == pytest.approx(rows.sum(axis=0), rel=0.05)


def test_work_in_chunks_covers_all_samples(monkeypatch, random):
    monkeypatch.setattr(statistics, "CHUNK", 70)
    assert statistics.bootstrap_sums(random.random((20, 2)), 11, seed=0).shape == (11, 2)
    assert statistics.swap_sums(random.random((20, 2)), 11, seed=0).shape == (11, 2)


def test_swap_test_equals_the_permutation_test_of_scipy(random):
    before, after = random.normal(0, 1, 12), random.normal(0.6, 1, 12)
    exact = scipy.stats.permutation_test(
        (after, before), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", vectorized=True
    )
    rows = [np.stack([values, np.ones(12)], axis=1) for values in (before, after)]
    swapped = statistics.swap_sums(rows[1] - rows[0], 20_000, seed=0)
    sums = [metrics.ratio(rows[1].sum(0) - swapped), metrics.ratio(rows[0].sum(0) + swapped)]
    found = statistics.swap_test(float((after - before).mean()), sums[0] - sums[1])
    assert found == pytest.approx(exact.pvalue, abs=0.01)


def test_smallest_difference_of_a_mean_is_found_four_times_in_five(random):
    n, spread = 40, 0.3
    values = random.normal(0, 1, n)
    values = spread * (values - values.mean()) / values.std(ddof=1)
    left_out = (values.sum() - values) / (n - 1)
    smallest = statistics.smallest_difference(left_out, 0.05)
    drawn = random.normal(smallest, spread, (4000, n))
    found = scipy.stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(stats.POWER, abs=0.03)


def test_smallest_difference_without_spread_is_unknown():
    assert statistics.smallest_difference(np.full(10, 0.5), 0.05) is None
    assert statistics.smallest_difference(np.array([0.5]), 0.05) is None
