"""What a hyper-parameter search may choose from: ranges and lists of the config file, checked, with defaults."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tunesmith.core import yamlfile
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.train.config import READ_BY

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scalar = bool | int | float | str

ADAPTER_KNOBS = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "use_rslora",
    "use_dora",
    "loraplus_lr_ratio",
    "num_virtual_tokens",
    "bottleneck_size",
)
KNOBS = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    *ADAPTER_KNOBS,
)
"""Keys that may be searched: none of them changes what the validation loss means."""

WIDEST = 1024
"""Largest rank that there is."""

DIGITS = 3
"""Significant digits of a value drawn from a range: nobody needs a learning rate of 0.00031287465."""


class Range(Record):
    """All numbers from ``low`` to ``high``; ``log`` spreads them evenly over the powers of ten."""

    low: int | float
    high: int | float
    log: bool | None = Field(default=None, description="Left out: true for learning_rate, else false.")


class SweepConfig(Record):
    """What `tunesmith sweep` searches, and how long."""

    sweep: dict[str, Range | tuple[Scalar, ...]] = Field(
        default={},
        description="Searched keys, each with a list of values or {low, high, log}. Empty: learning rate, rank, epochs "
        "and batch size around their own values.",
    )
    sweep_trials: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Most trials of a sweep. Without it and sweep_minutes: 20."
    )
    sweep_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Longest time of a sweep, in minutes, over all its commands."
    )


@dataclass(frozen=True)
class Knob:
    """One searched key: ``choices`` (sorted where they are numbers), or the range from ``low`` to ``high``."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(json.dumps(choice) for choice in self.choices)
        return f"{self.low:g} to {self.high:g}" + (", logarithmic" if self.log else "")

    @property
    def _ordered(self) -> bool:
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)

    def distribution(self) -> BaseDistribution:
        """The knob as Optuna sees it: a list of numbers becomes positions, so that their order counts."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            if self._ordered:
                return IntDistribution(0, len(self.choices) - 1)
            return CategoricalDistribution([json.dumps(choice) for choice in self.choices])
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value(self, drawn: Any) -> Any:
        """The value that one of Optuna's draws means."""
        if self.choices:
            return self.choices[drawn] if self._ordered else json.loads(drawn)
        return int(drawn) if self.whole else min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    def drawn(self, value: Any) -> Any:
        """The draw that means ``value``; the other way round."""
        if self.choices:
            return self.choices.index(value) if self._ordered else json.dumps(value)
        return value

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is among the candidates."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high and (not self.whole or value % 1 == 0)


def make_space(settings: Settings) -> tuple[Knob, ...]:
    """The knobs that a config file names, or the default ones around the file's own values.

    Args:
        settings: the whole configuration, ``learning_rate`` resolved.

    Raises:
        ConfigError: everything that is wrong with ``sweep``, together.
    """
    own, config = settings.as_dict(), settings.stage("sweep", SweepConfig)
    wanted = config.sweep or _defaults(own)
    where = settings.origins["sweep"] if config.sweep else ""
    problems = [problem for name, item in wanted.items() for problem in _problems(name, item, settings, where)]
    if problems:
        raise yamlfile.together(problems, where)
    return tuple(_knob(name, item, own) for name, item in wanted.items())


def _defaults(own: Mapping[str, Any]) -> dict[str, Range | tuple[Scalar, ...]]:
    rate, rank, rows = own["learning_rate"], own["lora_r"], own["per_device_train_batch_size"]
    found: dict[str, Range | tuple[Scalar, ...]] = {"learning_rate": Range(low=rate / 10, high=rate * 5, log=True)}
    if "lora" in own["method"]:
        found["lora_r"] = tuple(sorted({max(1, rank // 4), max(1, rank // 2), rank, min(2 * rank, WIDEST)}))
    if not own["max_steps"]:
        found["num_train_epochs"] = tuple(sorted({1.0, 2.0, 3.0, float(own["num_train_epochs"])}))
    found["per_device_train_batch_size"] = tuple(sorted({max(1, rows // 2), rows, 2 * rows}))
    return {name: item for name, item in found.items() if isinstance(item, Range) or len(item) > 1}


def _knob(name: str, item: Range | tuple[Scalar, ...], own: Mapping[str, Any]) -> Knob:
    if isinstance(item, Range):
        log = item.log if item.log is not None else name == "learning_rate"
        return Knob(name, low=item.low, high=item.high, log=log, whole=_is_whole(own[name]))
    distinct = tuple(dict.fromkeys(item))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    return Knob(name, choices=tuple(sorted(distinct, key=float)) if numbers else distinct)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _problems(name: str, item: Range | tuple[Scalar, ...], settings: Settings, where: str) -> Iterator[ConfigError]:
    own = settings.as_dict()
    if name not in KNOBS:
        yield _not_a_knob(name, own, where)
        return
    readers = READ_BY.get(name, ("lora", "qlora"))
    if name in ADAPTER_KNOBS and own["method"] not in readers:
        yield ConfigError(
            f"sweep searches {name}, which method: {own['method']} does not read",
            where=where,
            rule="every searched key changes the training",
            fix=f"take {name} out of sweep, or set method: {readers[0]}",
        )
    if name == "num_train_epochs" and (own["max_steps"] or "max_steps" in own["sweep"]):
        yield ConfigError(
            "sweep searches num_train_epochs, and max_steps overrides it",
            where=where,
            rule="every searched key changes the training",
            fix="set max_steps: 0, or take num_train_epochs out of sweep",
        )
    shape = _shape_problem(name, item, where)
    if shape is not None:
        yield shape
        return
    for value in (item.low, item.high) if isinstance(item, Range) else dict.fromkeys(item):
        problem = _value_problem(name, value, settings, where)
        if problem is not None:
            yield problem


def _not_a_knob(name: str, own: Mapping[str, Any], where: str) -> ConfigError:
    if name in own:
        return ConfigError(
            f"{name} cannot be searched",
            where=where,
            rule=f"trials must stay comparable by their validation loss; searched are: {', '.join(KNOBS)}",
            fix=f"take it out of sweep, and set {name} as a key of its own",
        )
    close = nearest(name, KNOBS)
    return ConfigError(
        f"unknown key {name!r} in sweep",
        where=where,
        rule=f"searched are: {', '.join(KNOBS)}",
        fix=f"did you mean {close[0]!r}?" if close else "remove it",
    )


def _shape_problem(name: str, item: Range | tuple[Scalar, ...], where: str) -> ConfigError | None:
    if not isinstance(item, Range):
        if len(set(item)) > 1:
            return None
        return ConfigError(
            f"sweep.{name} has nothing to choose from: {json.dumps(list(item))}",
            where=where,
            rule="a list names at least two different values",
            fix=f"add values, or set {name} as a key of its own",
        )
    if not item.low < item.high:
        return ConfigError(
            f"the range of sweep.{name} is empty: low is {item.low:g}, high is {item.high:g}",
            where=where,
            rule="low is less than high",
            fix="exchange the two" if item.low > item.high else f"set {name} as a key of its own",
        )
    if item.log and item.low <= 0:
        return ConfigError(
            f"sweep.{name} is logarithmic and begins at {item.low:g}",
            where=where,
            rule="a logarithmic range begins above 0",
            fix="raise low, or set log: false",
        )
    return None


def _value_problem(name: str, value: Scalar, settings: Settings, where: str) -> ConfigError | None:
    if value == "auto" or (isinstance(value, float) and not math.isfinite(value)):
        return ConfigError(
            f"sweep.{name} holds {value}",
            where=where,
            rule="a trial needs a value that can be trained with",
            fix="name the values themselves",
        )
    try:
        settings.resolve(name, value, "sweep")
    except ConfigError as error:
        return ConfigError(f"sweep: {error.what}", where=where, rule=error.rule, fix="correct it in sweep")
    return None
