"""More data, flat, cannot tell: on curves whose truth is known, and how often chance alone says "more"."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tunesmith.core.stats import crossed, student_t
from tunesmith.curate import Growth, judge_growth

SHARES = (0.25, 0.5, 1.0)


def simulated(
    truth: Callable[[float], float], rng: random.Random, rows: int = 60, seeds: int = 3, by_seed: float = 0.01
) -> list[list[list[float]]]:
    """Losses of rows of unlike difficulty; each training is off by chance as a whole and on every row."""
    difficulty = [rng.gauss(0, 0.5) for _ in range(rows)]
    found = []
    for share in SHARES:
        some = []
        for _ in range(seeds):
            off = rng.gauss(0, by_seed)
            some.append([truth(share) + d + off + rng.gauss(0, 0.05) for d in difficulty])
        found.append(some)
    return found


def judged(truth: Callable[[float], float], seed: int = 0, **named: float) -> Growth:
    return judge_growth(SHARES, simulated(truth, random.Random(seed), **named))  # type: ignore[arg-type]


def test_a_slope_is_seen() -> None:
    growth = judged(lambda share: 1 + 0.5 * share**-0.5)
    assert growth.answer == "more data will likely help"
    assert growth.interval is not None
    assert growth.interval.low < 0.5 * (2**0.5 - 1) < growth.interval.high
    assert growth.sentence.startswith(
        "More data will likely help: from 50 % to 100 % of the rows the validation loss fell"
    )
    assert [point.share for point in growth.curve] == list(SHARES)


def test_a_plateau_is_flat() -> None:
    growth = judged(lambda share: 1.5 if share >= 0.5 else 2.0, by_seed=0.002)
    assert growth.answer == "flat"
    assert growth.sentence.startswith("Flat: from 50 % to 100 %")
    assert "More rows like these will hardly help" in growth.sentence
    assert growth.expected is None


def test_a_rising_loss_is_flat_and_said() -> None:
    growth = judged(lambda share: 1.0 + 0.5 * share, by_seed=0.002)
    assert growth.answer == "flat"
    assert "the validation loss rose by" in growth.sentence
    assert "The loss even rose" in growth.sentence


def test_much_chance_is_cannot_tell() -> None:
    growth = judged(lambda share: 1.5 - 0.05 * share, by_seed=0.2)
    assert growth.answer == "cannot tell"
    assert growth.smallest_visible is not None
    assert growth.smallest_visible > 0.05
    assert f"less than about {growth.smallest_visible:.4f} is not visible" in growth.sentence


def test_too_few_rows_or_seeds_is_cannot_tell() -> None:
    few = judged(lambda share: 3 - 2 * share, rows=7)
    assert few.answer == "cannot tell"
    assert "7 validation rows are too few, 8 are the least" in few.sentence
    one = judged(lambda share: 3 - 2 * share, seeds=1)
    assert one.answer == "cannot tell"
    assert "one seed does not show" in one.sentence
    assert one.interval is None


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("rows", [10, 60])
@pytest.mark.parametrize("by_seed", [0.0, 0.005, 0.05])
def test_chance_alone_says_more_in_at_most_5_percent(rows: int, by_seed: float, seeds: int) -> None:
    rng = random.Random(f"{rows} {by_seed} {seeds}")
    times = 250
    answers = [judge_growth(SHARES, simulated(lambda _: 1.0, rng, rows, seeds, by_seed)).answer for _ in range(times)]
    more = answers.count("more data will likely help")
    error = 2 * (0.05 * 0.95 / times) ** 0.5
    assert more / times <= 0.05 + error


def test_the_interval_holds_the_truth() -> None:
    truth, rng, times = 0.5 * (2**0.5 - 1), random.Random(5), 250
    inside = expected = said = 0
    for _ in range(times):
        growth = judge_growth(SHARES, simulated(lambda share: 1 + 0.5 * share**-0.5, rng))
        assert growth.interval is not None
        inside += growth.interval.low <= truth <= growth.interval.high
        if growth.expected is not None:
            said += 1
            expected += growth.expected.low <= 0.5 * (1 - 0.5**0.5) <= growth.expected.high
    assert inside / times >= 0.92
    assert said > 0.9 * times
    assert expected / said >= 0.92


def test_trainings_that_were_not_done_are_named() -> None:
    found = simulated(lambda share: 1 + 0.5 * share**-0.5, random.Random(0))
    assert "were not done" not in judge_growth(SHARES, found, still_falling=0.01).sentence
    sentence = judge_growth(SHARES, found, still_falling=0.1).sentence
    assert "But the trainings on 50 % were not done: their loss still fell by 0.1000 at the end" in sentence


def test_no_guess_of_more_than_is_left() -> None:
    growth = judged(lambda share: {0.25: 3.0, 0.5: 1.5, 1.0: 0.3}[share])
    assert growth.answer == "more data will likely help"
    assert growth.expected is None


def test_no_guess_where_the_curve_does_not_flatten() -> None:
    growth = judged(lambda share: 3 - share)
    assert growth.answer == "more data will likely help"
    assert growth.expected is None
    assert "How much more the next rows give is not visible" in growth.sentence


def test_student_t_is_that_of_scipy() -> None:
    from scipy.special import stdtrit

    for freedom in (1.0, 2.0, 2.7, 9.0, 120.5):
        for probability in (0.5, 0.8, 0.975, 0.9917, 0.025):
            assert student_t(probability, freedom) == pytest.approx(stdtrit(freedom, probability), rel=1e-9, abs=1e-9)


def test_the_spread_needs_two_seeds_and_two_rows() -> None:
    with pytest.raises(ValueError, match="1 seeds and 2 rows: a spread needs two of each"):
        crossed([[1.0, 2.0]])
    alike = crossed([[1.0, 1.0], [1.0, 1.0]])
    assert alike.interval() == (1.0, 1.0)
