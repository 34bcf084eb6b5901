"""What tuning costs, what it saves, and after how many days the two are equal.

    saving per request  s = (tokens in before − after) · price in · (1 − h · d)
                          + (tokens out before − after) · price out
                          + errors avoided · cost of an error − what serving costs more
    payback in days       = one-off / (requests per day · s − recurring per day); never where that is not positive

h is the share of prompt tokens that the prefix cache answers, d the discount on them: a long guide that is always the
same is cheap already, and leaving h out overstates the case. Every number may be a range; 10,000 seeded draws give the
payback as a median with an 80 % band. Prices have a currency, a source and a date.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tunesmith.core import yamlfile
from tunesmith.core.artifacts import Estimate, RunRecord
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import SCHEMA_VERSION, Record, digest_of

DRAWS = 10_000
STALE_DAYS = 90
"""A price older than this is warned of."""

YEAR = 365
"""Days."""

PRICES = {
    "input_tokens": "a million tokens of prompts",
    "output_tokens": "a million tokens of answers",
    "machine_hour": "an hour of the machine that trains and serves",
    "person_hour": "an hour of the people who prepare, judge and correct",
    "kwh": "a kilowatt-hour",
}
"""Name of a price → what is bought for it."""


class Range(Record):
    """A number that is not known exactly: lowest, likeliest, highest. A single number is a range without width."""

    low: float
    mid: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.mid <= self.high):
            raise ValueError(f"a range goes up, {self.low:g} ≤ {self.mid:g} ≤ {self.high:g} does not hold")
        return self

    @property
    def known(self) -> bool:
        """Whether it has no width."""
        return self.low == self.high

    def draw(self, chance: random.Random) -> float:
        """A value from the triangle over the range."""
        return self.mid if self.known else chance.triangular(self.low, self.high, self.mid)

    def times(self, factor: float) -> Range:
        """The range in another unit; ``factor`` is not negative."""
        return Range(low=self.low * factor, mid=self.mid * factor, high=self.high * factor)


def _as_range(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"low": value, "mid": value, "high": value}
    if isinstance(value, list | tuple) and len(value) in (2, 3) and all(isinstance(v, int | float) for v in value):
        mid = (value[0] + value[1]) / 2 if len(value) == 2 else value[1]
        return {"low": value[0], "mid": mid, "high": value[-1]}
    return value


Spread = Annotated[Range, BeforeValidator(_as_range)]
"""A range as people write it: 3, [2, 4] or [2, 3, 5]."""

NOTHING = Range(low=0, mid=0, high=0)


class Price(Record):
    """What is paid for a unit, who says so, and when."""

    value: Spread
    source: str = Field(min_length=1)
    date: date


class PriceList(Record):
    """Prices in one currency."""

    currency: str = Field(min_length=1)
    prices: Mapping[str, Price]

    @model_validator(mode="after")
    def _known_names(self) -> PriceList:
        for name in self.prices:
            if name not in PRICES:
                raise ValueError(f"there is no price {name!r}; prices are {', '.join(PRICES)}")
        return self

    def of(self, name: str) -> Range | None:
        """A price; None where the list has none."""
        return self.prices[name].value if name in self.prices else None

    def warnings(self, today: date) -> list[str]:
        """Prices that may no longer hold."""
        return [
            f"the price of {PRICES[name]} is {(today - price.date).days} days old ({price.source}, {price.date}): "
            f"look it up again"
            for name, price in self.prices.items()
            if (today - price.date).days > STALE_DAYS
        ]


class Usage(Record):
    """An average request: tokens, and machine seconds where the machine is one's own."""

    prompt_tokens: Spread = NOTHING
    completion_tokens: Spread = NOTHING
    seconds: Spread | None = None


class OneOff(Record):
    """What tuning takes once. ``trials``: how many trainings there are, the failed ones included."""

    machine_hours: Spread = NOTHING
    trials: Spread = Range(low=1, mid=1, high=1)
    person_hours: Spread = NOTHING
    watts: Spread = NOTHING
    other: Spread = NOTHING


class Recurring(Record):
    """What comes again: each of the three costs its money so many times a year; hosting is what it costs more a day."""

    hosting_per_day: Spread = NOTHING
    retunes_per_year: Spread = NOTHING
    retune: Spread = NOTHING
    reevaluations_per_year: Spread = NOTHING
    reevaluation: Spread = NOTHING
    deletions_per_year: Spread = NOTHING
    deletion: Spread = NOTHING


class Quality(Record):
    """Errors that no longer happen, as a share of requests (negative: new ones), and what correcting one takes."""

    errors_avoided: Spread = NOTHING
    minutes_to_correct: Spread = NOTHING


class CostCase(Record):
    """Everything that the payback depends on."""

    schema_version: int = SCHEMA_VERSION
    prices: PriceList
    charged_by: Literal["tokens", "machine"] = "tokens"
    requests_per_day: Spread
    before: Usage
    after: Usage
    cache_hit_rate: Spread = NOTHING
    cache_discount: Spread = NOTHING
    extra_per_request: Spread = NOTHING
    one_off: OneOff = OneOff()
    recurring: Recurring = Recurring()
    quality: Quality = Quality()
    horizon_days: float = Field(default=YEAR, gt=0)
    examples: int = 0

    @model_validator(mode="after")
    def _can_be_computed(self) -> CostCase:
        for name in ("cache_hit_rate", "cache_discount"):
            share: Range = vars(self)[name]
            if share.low < 0 or share.high > 1:
                raise ValueError(f"{name} is a share between 0 and 1")
        if self.requests_per_day.low < 0:
            raise ValueError("requests_per_day is not negative")
        needed = {"input_tokens", "output_tokens"} if self.charged_by == "tokens" else {"machine_hour"}
        needed -= {"output_tokens"} if self.before.completion_tokens == self.after.completion_tokens else set()
        needed |= {"machine_hour"} if self.one_off.machine_hours.high else set()
        needed |= {"person_hour"} if self.one_off.person_hours.high or self.quality.errors_avoided != NOTHING else set()
        needed |= {"kwh"} if self.one_off.watts.high else set()
        missing = sorted(needed - set(self.prices.prices))
        if missing:
            raise ValueError(f"prices: no price of {', '.join(f'{PRICES[name]} ({name})' for name in missing)}")
        if self.charged_by == "machine" and (self.before.seconds is None or self.after.seconds is None):
            raise ValueError("charged_by: machine needs seconds of a request before and after")
        return self


class Swing(Record):
    """One uncertain number: the payback in days at its two ends, all others at their middle; None is never."""

    name: str
    low: float
    high: float
    at_low: float | None
    at_high: float | None


class Payback(Record):
    """When tuning has paid for itself, in days; None is never."""

    schema_version: int = SCHEMA_VERSION
    payback_id: str
    currency: str
    middle: float | None
    """At the middle of every range."""
    median: float | None
    low: float | None
    high: float | None
    """Ends of the 80 % band of the draws."""
    probability: float
    """Share of the draws that pay back within the horizon."""
    never: float
    """Share of the draws that never pay back."""
    horizon_days: float
    one_off: Range
    saving_per_1000: Range
    """Money per 1,000 requests: the 10 %, 50 % and 90 % points of the draws."""
    recurring_per_day: float
    break_even_requests: float | None
    """Requests a day from which it pays back within the horizon; None: at no volume."""
    tornado: tuple[Swing, ...]
    draws: int
    seed: int
    warnings: tuple[str, ...]


def load_prices(path: Path) -> PriceList:
    """Read a price file.

    Raises:
        ConfigError: not there, no YAML, a price without source or date, an unknown name.
    """
    return PriceList.model_validate(_checked(PriceList, _read(path), path))


def load_case(path: Path, filled: Mapping[str, Any] | None = None) -> CostCase:
    """Read a cost file; ``prices`` may be the path of a price file, counted from its folder.

    Args:
        filled: values that were measured, laid under those of the file: what the file says stands.

    Raises:
        ConfigError: as `load_prices`; a number that is missing or impossible.
    """
    values = _laid_over(dict(filled or {}), _read(path))
    if isinstance(values.get("prices"), str):
        values["prices"] = load_prices(path.parent / Path(values["prices"]).expanduser()).model_dump(mode="json")
    return CostCase.model_validate(_checked(CostCase, values, path))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yamlfile.parse(path.read_text(encoding="utf-8"), str(path)).value
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            rule="costs and prices stand in YAML files",
            fix="correct the path; the guide of `tunesmith cost` shows a file",
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(
            "the file holds no keys", where=str(path), rule="it is a YAML mapping", fix="write key: value, one a line"
        )
    return value


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in above.items():
        known = below.get(key)
        below[key] = _laid_over(dict(known), value) if isinstance(known, dict) and isinstance(value, dict) else value
    return below


def _checked(kind: type[Record], values: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The values themselves, or an error that names the first that is wrong."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(step) for step in first["loc"])
        raise ConfigError(
            f"{name or 'the file'}: {first['msg'].removeprefix('Value error, ')}",
            where=str(path),
            rule="numbers are 3, [2, 4] or [2, 3, 5] (lowest, likeliest, highest); a price has value, source and date",
            fix="correct this value; the guide of `tunesmith cost` explains each of them",
        ) from error
    return values


def inputs(case: CostCase) -> dict[str, Range]:
    """Every number of a case by its name in the file."""
    found = {f"prices.{name}": price.value for name, price in case.prices.prices.items()}
    for name in ("requests_per_day", "cache_hit_rate", "cache_discount", "extra_per_request"):
        found[name] = vars(case)[name]
    for group in ("before", "after", "one_off", "recurring", "quality"):
        part = vars(case)[group]
        found |= {f"{group}.{name}": value for name, value in vars(part).items() if isinstance(value, Range)}
    return found


def one_off(case: CostCase, at: Mapping[str, float]) -> float:
    """Money that is spent once: every trial takes its machine hours and energy."""
    hours = at["one_off.machine_hours"] * at["one_off.trials"]
    energy = hours * at["one_off.watts"] / 1000
    return (
        hours * at.get("prices.machine_hour", 0.0)
        + energy * at.get("prices.kwh", 0.0)
        + at["one_off.person_hours"] * at.get("prices.person_hour", 0.0)
        + at["one_off.other"]
    )


def saving_per_request(case: CostCase, at: Mapping[str, float]) -> float:
    """Money that a request costs less after tuning."""
    if case.charged_by == "tokens":
        kept = 1.0 - at["cache_hit_rate"] * at["cache_discount"]
        tokens_in = at["before.prompt_tokens"] - at["after.prompt_tokens"]
        tokens_out = at["before.completion_tokens"] - at["after.completion_tokens"]
        saved = tokens_in * at["prices.input_tokens"] * kept + tokens_out * at.get("prices.output_tokens", 0.0)
        saved /= 1e6
    else:
        saved = (at["before.seconds"] - at["after.seconds"]) * at["prices.machine_hour"] / 3600
    error = at["quality.minutes_to_correct"] / 60 * at.get("prices.person_hour", 0.0)
    return saved + at["quality.errors_avoided"] * error - at["extra_per_request"]


def recurring_per_day(at: Mapping[str, float]) -> float:
    """Money that tuning costs every day from then on."""
    yearly = (
        at["recurring.retunes_per_year"] * at["recurring.retune"]
        + at["recurring.reevaluations_per_year"] * at["recurring.reevaluation"]
        + at["recurring.deletions_per_year"] * at["recurring.deletion"]
    )
    return at["recurring.hosting_per_day"] + yearly / YEAR


def payback_days(case: CostCase, at: Mapping[str, float]) -> float:
    """Days until the savings have paid the one-off cost; infinite where they never do."""
    gained = at["requests_per_day"] * saving_per_request(case, at) - recurring_per_day(at)
    spent = one_off(case, at)
    if gained > 0:
        return spent / gained
    return math.inf


def requests_for(case: CostCase, days: float) -> float | None:
    """Requests a day at which the middle case pays back in so many days; None where none are enough."""
    at = {name: value.mid for name, value in inputs(case).items()}
    saved = saving_per_request(case, at)
    return (one_off(case, at) / days + recurring_per_day(at)) / saved if saved > 0 else None


def payback(case: CostCase, *, draws: int = DRAWS, seed: int = 0, today: date | None = None) -> Payback:
    """The payback with its uncertainty.

    Args:
        draws: how often every range is drawn from, independently.
        today: day that the age of prices counts to; now when absent.
    """
    numbers = inputs(case)
    middle = {name: value.mid for name, value in numbers.items()}
    chance = random.Random(seed)
    drawn = [{name: value.draw(chance) for name, value in numbers.items()} for _ in range(draws)]
    days = sorted(payback_days(case, at) for at in drawn)
    savings = sorted(1000 * saving_per_request(case, at) for at in drawn)
    spent = sorted(one_off(case, at) for at in drawn)
    return Payback(
        payback_id=digest_of([case.model_dump(mode="json"), draws, seed])[:16],
        currency=case.prices.currency,
        middle=_finite(payback_days(case, middle)),
        median=_finite(_point(days, 0.5)),
        low=_finite(_point(days, 0.1)),
        high=_finite(_point(days, 0.9)),
        probability=sum(value <= case.horizon_days for value in days) / draws,
        never=sum(math.isinf(value) for value in days) / draws,
        horizon_days=case.horizon_days,
        one_off=_band(spent),
        saving_per_1000=_band(savings),
        recurring_per_day=recurring_per_day(middle),
        break_even_requests=requests_for(case, case.horizon_days),
        tornado=_tornado(case, numbers, middle),
        draws=draws,
        seed=seed,
        warnings=tuple(case.prices.warnings(today or date.today())),
    )


def _tornado(case: CostCase, numbers: Mapping[str, Range], middle: Mapping[str, float]) -> tuple[Swing, ...]:
    """The uncertain numbers, those that move the payback most first."""
    found = []
    for name, value in numbers.items():
        if not value.known:
            ends = [payback_days(case, {**middle, name: end}) for end in (value.low, value.high)]
            width = 0.0 if ends[0] == ends[1] else abs(ends[0] - ends[1])
            swing = Swing(name=name, low=value.low, high=value.high, at_low=_finite(ends[0]), at_high=_finite(ends[1]))
            found.append((width, swing))
    return tuple(swing for _, swing in sorted(found, key=lambda item: (-item[0], item[1].name)))


def _point(ordered: list[float], share: float) -> float:
    """The value below which a share of the draws lies (nearest rank: infinities cannot be averaged)."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def _band(ordered: list[float]) -> Range:
    return Range(low=_point(ordered, 0.1), mid=_point(ordered, 0.5), high=_point(ordered, 0.9))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def hours_of(estimate: Estimate) -> Range:
    """Machine hours of a run before it, from the measured range of its estimate."""
    low, high = sorted(estimate.seconds)
    return Range(low=low / 3600, mid=(low + high) / 7200, high=high / 3600)


def hours_after(run: RunRecord) -> Range:
    """Machine hours that a run took."""
    return Range(low=run.seconds / 3600, mid=run.seconds / 3600, high=run.seconds / 3600)


def price_of_answers(
    prices: PriceList, prompt_tokens: float, completion_tokens: float, count: int = 1000
) -> Range | None:
    """What so many answers cost by the token; None where the list has no price of tokens."""
    asked, answered = prices.of("input_tokens"), prices.of("output_tokens")
    if asked is None or answered is None:
        return None
    parts = [asked.times(count * prompt_tokens / 1e6), answered.times(count * completion_tokens / 1e6)]
    return Range(low=sum(p.low for p in parts), mid=sum(p.mid for p in parts), high=sum(p.high for p in parts))


def price_of_seconds(prices: PriceList, seconds: float, count: int = 1000) -> Range | None:
    """What so many answers cost on one's own machine, at measured seconds each; None without its price."""
    hour = prices.of("machine_hour")
    return None if hour is None else hour.times(count * seconds / 3600)
