"""What tuning costs and when it has paid for itself: the formula, its uncertainty, and prices that can be traced."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.artifacts import Estimate
from tunesmith.core.costs import (
    CostCase,
    PriceList,
    Range,
    hours_of,
    load_case,
    load_prices,
    payback,
    price_of_answers,
    price_of_seconds,
    requests_for,
)
from tunesmith.core.errors import ConfigError

TODAY = date(2026, 11, 30)
PRICE = {"source": "offer of the provider", "date": "2026-11-01"}


def case(**values: Any) -> CostCase:
    """2,000 examples, 200 euro, a guide of 500 tokens removed; the guide is 40 % of the prompt."""
    common: dict[str, Any] = {
        "prices": {"currency": "EUR", "prices": {"input_tokens": {"value": 0.5, **PRICE}}},
        "requests_per_day": 1,
        "before": {"prompt_tokens": 1250},
        "after": {"prompt_tokens": 750},
        "one_off": {"other": 200},
        "examples": 2000,
    }
    return CostCase.model_validate(common | values)


def implied() -> float:
    """The volume at which the example pays back in two weeks."""
    found = requests_for(case(), 14)
    assert found is not None
    return found


def test_the_golden_example_pays_back_in_14_days() -> None:
    volume = implied()
    before, after = (volume * tokens * 0.5 / 1e6 for tokens in (1250, 750))
    assert after == pytest.approx(0.6 * before)  # 40 % cheaper requests
    assert before == pytest.approx(35.7, abs=0.02)  # what is spent a day before
    found = payback(case(requests_per_day=volume), today=TODAY)
    assert found.middle == pytest.approx(14.0, rel=1e-12)
    assert (found.median, found.low, found.high) == pytest.approx((14.0, 14.0, 14.0), rel=1e-12)
    assert found.probability == 1
    assert found.tornado == ()


def test_a_prefix_cache_lengthens_it_by_the_exact_factor() -> None:
    cached = case(requests_per_day=implied(), cache_hit_rate=0.9, cache_discount=0.9)
    assert payback(cached).middle == pytest.approx(14.0 / (1 - 0.81), rel=1e-12)


def test_what_never_pays_back_says_never() -> None:
    for never in (
        case(requests_per_day=0),
        case(after={"prompt_tokens": 1300}),
        case(requests_per_day=implied(), recurring={"hosting_per_day": 20}),
    ):
        found = payback(never)
        assert (found.middle, found.median, found.probability, found.never) == (None, None, 0, 1)
    assert payback(case(after={"prompt_tokens": 1250})).break_even_requests is None


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 1e4), st.floats(0.1, 1e3), st.floats(1, 1e7), st.floats(1, 1e6), st.floats(0, 100), st.booleans())
def test_payback_grows_with_cost_and_falls_with_volume(
    spent: float, more: float, volume: float, extra: float, hosting: float, saves: bool
) -> None:
    def days(spent: float, volume: float) -> float:
        after = {"prompt_tokens": 750 if saves else 1400}
        recurring = {"hosting_per_day": hosting}
        one = case(requests_per_day=volume, one_off={"other": spent}, after=after, recurring=recurring)
        found = payback(one, draws=1).middle
        return float("inf") if found is None else found

    assert days(spent + more, volume) >= days(spent, volume)
    assert days(spent, volume + extra) <= days(spent, volume)


def test_uncertain_numbers_give_a_band_a_probability_and_a_tornado() -> None:
    volume = implied()
    found = payback(
        case(
            requests_per_day=[volume / 40, volume / 20, volume],
            one_off={"other": [150, 200, 250]},
            recurring={"retunes_per_year": [1, 2], "retune": 100},
        ),
        today=TODAY,
    )
    assert found.draws == 10_000
    assert found.low is not None
    assert found.median is not None
    assert found.low < found.median
    assert 0 < found.probability < 1
    assert [swing.name for swing in found.tornado] == [
        "requests_per_day",
        "recurring.retunes_per_year",
        "one_off.other",
    ]
    again = payback(
        case(
            requests_per_day=[volume / 40, volume / 20, volume],
            one_off={"other": [150, 200, 250]},
            recurring={"retunes_per_year": [1, 2], "retune": 100},
        ),
        today=TODAY,
    )
    assert again == found


def test_the_median_of_the_draws_is_that_of_the_triangle() -> None:
    found = payback(case(requests_per_day=implied(), one_off={"other": [100, 200, 300]}), today=TODAY)
    assert found.median == pytest.approx(14.0, rel=0.01)
    assert found.low == pytest.approx(14 * (100 + (0.1 * 200 * 100) ** 0.5) / 200, rel=0.02)


def test_all_parts_add_up_by_hand() -> None:
    everything = case(
        prices={
            "currency": "EUR",
            "prices": {
                "input_tokens": {"value": 1, **PRICE},
                "output_tokens": {"value": 4, **PRICE},
                "machine_hour": {"value": 2, **PRICE},
                "person_hour": {"value": 60, **PRICE},
                "kwh": {"value": 0.25, **PRICE},
            },
        },
        requests_per_day=1000,
        before={"prompt_tokens": 1000, "completion_tokens": 200},
        after={"prompt_tokens": 500, "completion_tokens": 150},
        cache_hit_rate=0.5,
        cache_discount=0.8,
        extra_per_request=0.0001,
        one_off={"machine_hours": 3, "trials": 4, "person_hours": 5, "watts": 400, "other": 10},
        quality={"errors_avoided": 0.02, "minutes_to_correct": 3},
        recurring={
            "hosting_per_day": 7,
            "retunes_per_year": 2,
            "retune": 73,
            "reevaluations_per_year": 4,
            "reevaluation": 36.5,
            "deletions_per_year": 1,
            "deletion": 36.5,
        },
    )
    found = payback(everything, today=TODAY)
    spent = 3 * 4 * 2 + 3 * 4 * 0.4 * 0.25 + 5 * 60 + 10
    saved = 500e-6 * (1 - 0.4) + 50 * 4e-6 + 0.02 * 3 - 0.0001
    daily = 7 + (2 * 73 + 4 * 36.5 + 36.5) / 365
    assert found.one_off.mid == pytest.approx(spent)
    assert found.saving_per_1000.mid == pytest.approx(1000 * saved)
    assert found.recurring_per_day == pytest.approx(daily)
    assert found.middle == pytest.approx(spent / (1000 * saved - daily))
    assert found.break_even_requests == pytest.approx((spent / 365 + daily) / saved)


def test_ones_own_machine_is_charged_by_its_seconds() -> None:
    prices = {"currency": "EUR", "prices": {"machine_hour": {"value": 3.6, **PRICE}}}
    own = case(prices=prices, charged_by="machine", before={"seconds": 2}, after={"seconds": 1}, requests_per_day=1000)
    assert payback(own).middle == pytest.approx(200 / (1000 * 0.001))


def test_old_prices_are_warned_of() -> None:
    old = {"currency": "EUR", "prices": {"input_tokens": {"value": 1, "source": "list", "date": "2026-08-31"}}}
    (warning,) = payback(case(prices=old), today=TODAY).warnings
    assert warning.startswith("the price of a million tokens of prompts is 91 days old (list, 2026-08-31)")
    assert payback(case(), today=TODAY).warnings == ()


def test_prices_of_answers() -> None:
    prices = PriceList.model_validate(
        {
            "currency": "EUR",
            "prices": {"input_tokens": {"value": [1, 2, 3], **PRICE}, "output_tokens": {"value": 10, **PRICE}},
        }
    )
    assert price_of_answers(prices, 500, 100) == Range(low=1.5, mid=2.0, high=2.5)
    assert price_of_seconds(prices, 1.0) is None
    hours = hours_of(
        Estimate(
            steps=1,
            tokens=1,
            target_tokens=1,
            flops=1,
            seconds=(1800, 5400),
            peak_memory_bytes=(1, 2),
            tokens_per_second=1,
        )
    )
    assert hours == Range(low=0.5, mid=1.0, high=1.5)


def test_a_file_is_read_with_its_price_file_and_what_was_measured(tmp_path: Path) -> None:
    prices = {"currency": "EUR", "prices": {"input_tokens": {"value": 0.5, **PRICE}}}
    (tmp_path / "prices.yaml").write_text(json.dumps(prices), encoding="utf-8")
    file = tmp_path / "cost.yaml"
    file.write_text(
        "prices: prices.yaml\nrequests_per_day: [10, 20, 40]\nafter: {prompt_tokens: 750}\n", encoding="utf-8"
    )
    measured = {"before": {"prompt_tokens": 1250}, "after": {"prompt_tokens": 900, "completion_tokens": 0}}
    found = load_case(file, measured)
    assert found.after.prompt_tokens.mid == 750  # the file stands
    assert found.before.prompt_tokens.mid == 1250
    assert found.requests_per_day == Range(low=10, mid=20, high=40)
    assert load_prices(tmp_path / "prices.yaml").currency == "EUR"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "the file holds no keys"),
        ("requests_per_day: 5", "Field required"),
        ("requests_per_day: [3, 2]", "a range goes up"),
        ("requests_per_day: -1", "requests_per_day is not negative"),
        ("cache_hit_rate: 1.5", "cache_hit_rate is a share between 0 and 1"),
        ("charged_by: machine", "no price of an hour of the machine that trains and serves (machine_hour)"),
        (
            "prices: {currency: EUR, prices: {gold: {value: 1, source: x, date: 2026-11-01}}}",
            "there is no price 'gold'",
        ),
        ("prices: {currency: EUR, prices: {kwh: {value: 1, date: 2026-11-01}}}", "source: Field required"),
        ("surprise: 1", "surprise: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_computed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "cost.yaml"
    file.write_text(text, encoding="utf-8")
    filled = {} if said in ("the file holds no keys", "Field required") else case().model_dump(mode="json")
    with pytest.raises(ConfigError) as caught:
        load_case(file, filled)
    assert said in str(caught.value)
    assert "fix" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read: No such file"):
        load_case(tmp_path / "none.yaml")
