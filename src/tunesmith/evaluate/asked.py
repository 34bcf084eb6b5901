"""What a configuration asks for beyond the table of metrics: which names that gives, and measuring it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.core.artifacts import JudgeAudit, Verdict
from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Emit
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Completion, Example
from tunesmith.core.registry import nearest
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.options import load_graders, read_source
from tunesmith.evaluate.rows import Wanted
from tunesmith.text import graders

if TYPE_CHECKING:
    from tunesmith.evaluate.metrics import Metric
    from tunesmith.evaluate.verdict import Scored

LABELS = ("label_choice", "label_scores")
SLOTS = ("slot_error_rate", "slots_missing", "slots_wrong", "slots_invented")


@dataclass(frozen=True)
class Further:
    """The models with all their columns, the metrics that came on top, and what to say about them."""

    scored: list[Scored]
    metrics: tuple[Metric, ...] = ()
    notes: tuple[str, ...] = ()
    audits: tuple[JudgeAudit, ...] = ()

    def decided(self, primary: str, verdict: Verdict | None, sentence: str) -> tuple[Verdict | None, str]:
        """The verdict, which a judge that is advisory only does not give."""
        faults = [fault for audit in self.audits for fault in audit.faults]
        if primary != "judge" or not faults:
            return verdict, sentence
        return "cannot tell", f"Cannot tell: the judge decides and is advisory only ({faults[0]})."


def declared(config: Config) -> tuple[str, ...]:
    """Names of the metrics that the configuration adds.

    Raises:
        ConfigError: two of them are called the same.
    """
    names = [f"own:{spec.rpartition(':')[2]}" for spec in config.metrics if ":" in spec]
    names += [f"grader:{document.get('name', '')}" for document in load_graders(config.graders)]
    names += [f"assert:{assertion.title}" for assertion in config.assertions]
    names += ["assertions"] if len(config.assertions) > 1 else []
    names += SLOTS if config.slot_lexicon else ()
    names += [name for name in LABELS if name in config.metrics]
    names += ["cost"] if config.token_prices else []
    names += ["judge"] if config.judge else []
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(
            f"two metrics are called {twice[0]}",
            where="metrics, graders, assertions",
            rule="each has a name of its own, by which the report and primary_metric call it",
            fix="rename one of them",
        )
    return tuple(names)


def require_documents(config: Config) -> None:
    """Refuse graders, assertions, lexicons and files of functions that cannot be read, before a model is in memory.

    Raises:
        ConfigError: names the file, and the field in it.
    """
    for place, document in enumerate(load_graders(config.graders)):
        graders.load_grader(document, f"graders.{place}")
    for place, assertion in enumerate(config.assertions):
        graders.require_assertion(assertion, f"assertions.{place}")
    if config.slot_lexicon not in (None, "verbatim"):
        graders.load_lexicon(str(config.slot_lexicon))
    for spec in config.metrics:
        if ":" in spec:
            read_source(spec)


def require_metrics(config: Config, wanted: Wanted) -> None:
    """Refuse names in ``metrics`` that there are not, or that do not fit the rows.

    Raises:
        ConfigError: says why, and what could be measured.
    """
    from tunesmith.evaluate.metrics import ALL, ASKED, extra_metrics, metrics_for

    declared(config)
    table = {m.name: m for m in (*metrics_for(wanted), *extra_metrics(ASKED, wanted))}
    for name in config.metrics:
        if ":" in name or name in LABELS:
            continue
        reason = table[name].unfit(wanted) if name in table else ""
        if name not in table or reason:
            near = nearest(name, (*ALL, *LABELS))
            fitting = [m for m in table if not table[m].unfit(wanted)]
            raise ConfigError(
                f"{name!r} does not fit these rows: {reason}"
                if reason
                else f"there is no metric {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                where="metrics",
                rule="a metric that is asked for fits the wanted answers, or is FILE.py:FUNCTION",
                fix=f"leave it out, or use one of: {', '.join(fitting)}",
            )


def further(
    config: Config,
    wanted: Wanted,
    examples: Sequence[Example],
    samplers: Sequence[Sampler],
    answers: Sequence[Sequence[Completion | None]],
    judges: Mapping[str, Sampler] | None,
    scored: list[Scored],
    emit: Emit,
) -> Further:
    """Measure what the configuration adds.

    Raises:
        ConfigError: see `tunesmith.evaluate.measures.measure`.
    """
    if not declared(config):
        return Further(scored)
    from tunesmith.evaluate.judging import judged, sentence
    from tunesmith.evaluate.measures import NOT_OPENED, Found, Setting, combine, measure, uncounted
    from tunesmith.evaluate.metrics import Metric

    given = [[answer for answer in column if answer is not None] for column in answers]
    if wanted.kind == "document":
        raise ConfigError(
            "plain texts ask nothing, so there is no answer to grade",
            where="metrics, graders, assertions",
            rule="these need rows with a question",
            fix="leave them out for plain texts",
        )
    can_ask, judges = judges is not None, judges or {}
    by_name = {name: judges[model] for name, model in config.grader_models.items() if model in judges}
    setting = Setting(config, wanted, examples, samplers, given, by_name, emit, can_ask)
    found, audits = measure(setting), []
    if config.judge and (len(samplers) < 2 or not can_ask):
        alone = "a judge compares, and there is one model"
        found.append(Found(Metric("judge", uncounted), missing=NOT_OPENED if len(samplers) > 1 else alone))
    elif config.judge:
        if config.judge.model not in judges:
            raise ConfigError(
                f"no model answers for the judge {config.judge.model!r}",
                where="judge.model",
                rule="whoever evaluates opens the judge beside the models",
                fix="use tunesmith compare, or give judges={name: sampler}",
            )
        preference, audits = judged(setting, judges[config.judge.model])
        found.append(preference)
    whole, metrics, notes = combine(scored, found)
    prices = config.token_prices
    if prices:
        notes.append(f"Costs are in {prices.currency}, from {prices.source} of {prices.date}.")
    return Further(whole, tuple(metrics), (*notes, *map(sentence, audits)), tuple(audits))
