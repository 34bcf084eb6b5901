"""Measures that are asked for: own functions, grader objects, assertions, facts, labels by choice, cost.

Each gives a column of counts for each model, like the metrics of the table, so that scores, intervals and tests follow
from the same sums. A row that could not be graded is left out for every model and said so; with too many of them the
metric counts as not measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.core.errors import ConfigError
from tunesmith.core.events import Emit, ticking
from tunesmith.core.foreign import Foreign
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Completion, Example, Grammar, Message, Prompt, Reply, SamplingParams
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.metrics import Array, Metric, ratio
from tunesmith.evaluate.options import Prices, load_graders, read_source
from tunesmith.evaluate.rows import Wanted
from tunesmith.text import graders
from tunesmith.text.graders import Demand, ModelRequest, Sample

if TYPE_CHECKING:
    from tunesmith.evaluate.verdict import Scored

MOST_FAILED = 0.1
"""Share of rows that may go ungraded; with more, what is left is another set of rows."""

MOST_PAIRS = 50_000
"""Rows times labels up to which labels are chosen by their scores."""

NOT_OPENED = "models that grade are asked by tunesmith eval and compare only"

REFERENCES = ("reference", "reference_answer", "answer", "completion", "expected", "ideal", "label")
"""Fields under which graders find the wanted answer."""

Column = list[tuple[float, ...] | None]
"""Counts of each row; None: it could not be graded."""


@dataclass(frozen=True)
class Setting:
    """What is measured on: the rows, and what each model said. ``judges``: samplers by the names in graders."""

    config: Config
    wanted: Wanted
    examples: Sequence[Example]
    samplers: Sequence[Sampler]
    answers: Sequence[Sequence[Completion]]
    judges: Mapping[str, Sampler]
    emit: Emit
    can_ask: bool = True
    """Whether whoever evaluates opens judging models at all."""


@dataclass
class Found:
    """A metric with its columns, one for each model; or the reason why there are none."""

    metric: Metric
    columns: list[Column] = field(default_factory=list)
    missing: str = ""
    why: str = ""
    """The first failure, in words."""


def measure(setting: Setting) -> list[Found]:
    """Everything that the configuration asks for beyond the table.

    Raises:
        ConfigError: a metric that does not fit the rows, a variable that the rows do not have, a function that is not
        there.
    """
    config = setting.config
    found = [each for spec in config.metrics if ":" in spec for each in _own(spec, setting)]
    for place, document in enumerate(load_graders(config.graders)):
        found += _grader(document, f"graders.{place}", setting)
    found += _assertions(setting) if config.assertions else []
    found += _slots(setting) if config.slot_lexicon else []
    found += _labels(setting)
    found += [_cost(setting, config.token_prices)] if config.token_prices else []
    return found


def combine(scored: Sequence[Scored], found: Sequence[Found]) -> tuple[list[Scored], list[Metric], list[str]]:
    """The models with the new columns, the new metrics, and notes on rows that were left out."""
    metrics, notes = [], []
    counts: list[dict[str, Array]] = [dict(model.counts) for model in scored]
    missing: list[dict[str, str]] = [dict(model.missing) for model in scored]
    for each in found:
        metric, name = each.metric, each.metric.name
        failed = (
            [any(column[i] is None for column in each.columns) for i in range(len(each.columns[0]))]
            if (each.columns)
            else []
        )
        reason = each.missing
        if failed and sum(failed) > MOST_FAILED * len(failed):
            reason = f"{sum(failed)} of {len(failed)} rows could not be graded; the first: {each.why}"
        elif any(failed):
            notes.append(f"{sum(failed)} of {len(failed)} rows are left out of {name}: {each.why}")
            metric = replace(metric, binary=False)
        metrics.append(metric)
        for model, column in enumerate(each.columns or [[] for _ in scored]):
            if reason:
                missing[model][name] = reason
                continue
            width = max(len(row) for row in column if row is not None)
            rows = [(0.0,) * width if out or row is None else row for row, out in zip(column, failed, strict=True)]
            counts[model][name] = np.array(rows, float)
    whole = [replace(m, counts=c, missing=n) for m, c, n in zip(scored, counts, missing, strict=True)]
    return whole, metrics, notes


def item_of(example: Example) -> dict[str, Any]:
    """A row as graders see it: question and wanted answer under the usual names, and the fields of a JSON question."""
    question = next((m.text for m in reversed(example.messages) if m.role == "user"), "")
    reference = example.target.text
    names = {
        **dict.fromkeys(("question", "prompt", "input"), question),
        **dict.fromkeys(REFERENCES, reference),
        "messages": [{"role": m.role, "content": m.text} for m in example.messages],
        "id": example.id,
    }
    parsed = {name: _json(text) for name, text in (("question_json", question), ("reference_json", reference))}
    fields = parsed["question_json"] if isinstance(parsed["question_json"], dict) else {}
    return {**fields, **names, **{name: value for name, value in parsed.items() if value is not None}}


def _json(text: str) -> object:
    try:
        return graders.parse_json(text)
    except ValueError:
        return None


def _own(spec: str, setting: Setting) -> list[Found]:
    """A function of the user's own, in a confined process that may read the folder of its file."""
    path, _, name = spec.rpartition(":")
    source = read_source(spec)
    with Foreign(source, name, where=Path(path).name, folders=[Path(path).parent]) as function:
        if function.broken:
            raise ConfigError(
                f"the metric cannot be called: {function.broken.detail}",
                where=f"metrics: {spec}",
                rule="a metric is FILE.py:FUNCTION with def FUNCTION(answer, reference) -> number; it runs confined, "
                "without network and without other files than those of its folder",
                fix="correct the file; arguments are any of answer, reference, question, item",
            )
        unknown = [p for p in function.facts.parameters if p not in ("answer", "reference", "question", "item")]
        if unknown:
            raise ConfigError(
                f"the metric asks for {unknown[0]!r}",
                where=f"metrics: {spec}",
                rule="arguments of a metric are any of answer, reference, question, item",
                fix="rename the argument",
            )
        traits = function.facts.attributes
        scale = traits.get("scale", 1.0)
        metric = Metric(
            f"own:{name}",
            uncounted,
            higher_is_better=bool(traits.get("higher_is_better", True)),
            scale=float(scale) if isinstance(scale, int | float) else None,
        )
        found = Found(metric)
        for number, answers in enumerate(setting.answers):
            tick = ticking(setting.emit, f"{name} of {setting.samplers[number].name}")
            column: Column = []
            for i, (example, answer) in enumerate(zip(setting.examples, answers, strict=True)):
                column.append(_called(function, item_of(example), answer.text, found))
                tick(i + 1, len(answers))
            found.columns.append(column)
    return [found]


def _called(function: Foreign, item: Mapping[str, Any], answer: str, found: Found) -> tuple[float, ...] | None:
    known = {"answer": answer, "reference": item["reference"], "question": item["question"], "item": item}
    outcome = function.call(**{name: known[name] for name in function.facts.parameters})
    value = outcome.value
    if not outcome.fault and isinstance(value, int | float) and math.isfinite(value):
        return float(value), 1.0
    found.why = found.why or outcome.detail or f"it returned {json.dumps(value)[:60]}, not a finite number"
    return None


def uncounted(_row: object) -> Sequence[float]:
    """Stands where a metric of the table counts a row."""
    raise AssertionError("its columns are measured, not counted row by row")


def _grader(document: Mapping[str, Any], where: str, setting: Setting) -> list[Found]:
    grader = graders.load_grader(document, where)
    items = [item_of(example) for example in setting.examples]
    _require_variables(grader, items[0], where)
    unserved = sorted(graders.models_of(grader) - setting.judges.keys())
    if unserved and not setting.can_ask:
        return [Found(Metric(f"grader:{grader.name}", uncounted), missing=NOT_OPENED)]
    if unserved:
        raise ConfigError(
            f"no model answers for {unserved[0]!r}",
            where=f"{where}.model",
            rule="grader_models says which model stands for the name that a grader uses",
            fix=f"grader_models: {{{unserved[0]}: MODEL}}, where MODEL is a model here or MODEL@http://host/v1",
        )
    share = grader.type in ("string_check", "text_similarity", "label_model")
    scale = 1.0 if share else grader.range[1] if grader.type == "score_model" else None
    binary = grader.type in ("string_check", "label_model")
    metric = Metric(f"grader:{grader.name}", uncounted, binary=binary, scale=scale)
    found = Found(metric)
    for answers in setting.answers:
        pairs = [(item, Sample(output_text=a.text)) for item, a in zip(items, answers, strict=True)]
        results = graders.grade_all(grader, pairs, _caller(setting.judges))
        bad = next((r for r in results if r.errors.any and not r.errors.of_the_answer), None)
        found.why = found.why or (bad.explanation if bad else "")
        found.columns.append(
            [None if r.errors.any and not r.errors.of_the_answer else (r.reward, 1.0) for r in results]
        )
    return [found]


def _require_variables(grader: graders.Grader, item: Mapping[str, Any], where: str) -> None:
    """Refuse variables that the rows do not have, before any model is asked."""
    for place, template in graders.templates(grader):
        for space, path in graders.variables(template):
            if space == "item" and path and path[0] not in item:
                raise ConfigError(
                    f"the rows have no field {path[0]!r}",
                    where=f"{where}.{place}",
                    rule=f"fields of a row are {', '.join(item)}",
                    fix="rename the variable; a question that is a JSON object gives its fields too",
                    code="invalid_variable_error",
                )


def _caller(judges: Mapping[str, Sampler]) -> graders.ModelCaller:
    """Asks the models that graders name, all prompts with equal settings together."""

    def ask(requests: Sequence[ModelRequest]) -> list[Completion]:
        found: dict[int, Completion] = {}
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(request.model + request.params.model_dump_json(), []).append(i)
        for places in groups.values():
            first = requests[places[0]]
            prompts = [Prompt(messages=requests[i].messages) for i in places]
            found.update(zip(places, judges[first.model].sample(prompts, first.params), strict=True))
        return [found[i] for i in range(len(requests))]

    return ask


def _assertions(setting: Setting) -> list[Found]:
    demands = setting.config.assertions
    for place, assertion in enumerate(demands):
        graders.require_assertion(assertion, f"assertions.{place}")
    each = [Found(Metric(f"assert:{a.title}", uncounted, binary=True)) for a in demands]
    whole = Found(Metric("assertions", uncounted, binary=True))
    items = [item_of(example) for example in setting.examples]
    for answers in setting.answers:
        met = [
            [graders.meets(assertion, _demand(item, answer, setting.config.token_prices)) for assertion in demands]
            for item, answer in zip(items, answers, strict=True)
        ]
        for k, found in enumerate(each):
            found.columns.append([_flag(row[k]) for row in met])
            found.why = "not measured: cost needs token_prices, latency a model that tells its time"
        whole.columns.append([_flag(None if None in row else all(row)) for row in met])
        whole.why = each[0].why
    return [*each, *([whole] if len(demands) > 1 else [])]


def _demand(item: Mapping[str, Any], answer: Completion, prices: Prices | None) -> Demand:
    cost = None if prices is None else prices.of(answer)
    return Demand(item, Sample(output_text=answer.text), answer.seconds or None, cost)


def _flag(met: bool | None) -> tuple[float, float] | None:
    return None if met is None else (float(met), 1.0)


def _slots(setting: Setting) -> list[Found]:
    """Slot error rate and its three parts."""
    path = setting.config.slot_lexicon
    lexicon = graders.Lexicon() if path in (None, "verbatim") else graders.load_lexicon(path)
    read = [graders.read_facts(str(item_of(example)["question"])) for example in setting.examples]
    facts = [found for found in read if found]
    parts: tuple[tuple[str, Callable[[graders.SlotCounts], int]], ...] = (
        ("slot_error_rate", lambda c: c.errors),
        ("slots_missing", lambda c: len(c.missing)),
        ("slots_wrong", lambda c: len(c.wrong)),
        ("slots_invented", lambda c: len(c.invented)),
    )
    found = [Found(Metric(name, uncounted, higher_is_better=False)) for name, _ in parts]
    if len(facts) < len(read):
        raise ConfigError(
            f"{len(read) - len(facts)} of {len(read)} questions state no facts",
            where=str(setting.examples[[bool(f) for f in read].index(False)].source),
            rule="facts stand in the question, as name[value], name[value] or as a JSON object",
            fix="leave slot_lexicon out for these rows",
        )
    checker = graders.SlotChecker(lexicon, facts)
    if checker.unsayable:
        raise ConfigError(
            f"nobody says the values of {', '.join(checker.unsayable)} verbatim",
            where="slot_lexicon",
            rule="values such as yes and no need phrases in a lexicon",
            fix="write a lexicon (docs/guides/metrics.md), or put these slots under its ignore",
        )
    for answers in setting.answers:
        counts = [checker.check(f, answer.text) for f, answer in zip(facts, answers, strict=True)]
        for (_, value), each in zip(parts, found, strict=True):
            each.columns.append([(float(value(c)), float(c.wanted)) for c in counts])
    return found


def _labels(setting: Setting) -> list[Found]:
    """Accuracy when the model may only choose, by a grammar or by the scores of the labels."""
    names = [name for name in ("label_choice", "label_scores") if name in setting.config.metrics]
    if not names:
        return []
    references = [text.strip() for text in setting.wanted.texts]
    labels = tuple(dict.fromkeys(setting.config.labels)) or tuple(sorted(set(references)))
    if setting.wanted.kind != "label":
        raise ConfigError(
            f"{names[0]!r} does not fit these rows: the wanted answers are {setting.wanted.kind}, not labels",
            where="metrics",
            rule="labels are wanted answers of a few words",
            fix="leave it out, or give rows whose answers are labels",
        )
    strange = sorted(set(references) - set(labels))
    if strange:
        raise ConfigError(
            f"the wanted answer {strange[0]!r} is none of the labels",
            where="labels",
            rule="labels holds every label that can be right",
            fix="add it, or leave labels out: then the labels are those of the rows",
        )
    ways = {"label_choice": _choose, "label_scores": _likeliest}
    found = []
    for name in names:
        each = Found(Metric(name, uncounted, binary=True))
        for sampler in setting.samplers:
            given = ways[name](sampler, labels, setting)
            each.columns.append([(float(g == r), 1.0) for g, r in zip(given, references, strict=True)])
        found.append(each)
    return found


def _choose(sampler: Sampler, labels: tuple[str, ...], setting: Setting) -> list[str]:
    params = SamplingParams(
        max_tokens=8 + 2 * max(len(label) for label in labels), grammar=Grammar(kind="choice", choices=labels)
    )
    prompts = [example.prompt for example in setting.examples]
    tick = ticking(setting.emit, f"choosing labels with {sampler.name}")
    return [answer.text.strip() for answer in sampler.sample(prompts, params, tick)]


def _likeliest(sampler: Sampler, labels: tuple[str, ...], setting: Setting) -> list[str]:
    rows = setting.examples
    if len(rows) * len(labels) > MOST_PAIRS:
        raise ConfigError(
            f"{len(rows)} rows times {len(labels)} labels are {len(rows) * len(labels):,} scores",
            where="metrics: label_scores",
            rule=f"at most {MOST_PAIRS:,} are taken: each label is scored for each row",
            fix="use label_choice, which answers once for each row, or fewer rows",
        )
    targets = [Reply(message=Message.model_validate({"role": "assistant", "content": label})) for label in labels]
    fresh = [Example(messages=row.messages, target=t, tools=row.tools) for row in rows for t in targets]
    scores = sampler.score(fresh, ticking(setting.emit, f"scoring labels with {sampler.name}"))
    totals = [score.total if score.logprobs else -math.inf for score in scores]
    width = len(labels)
    return [
        max(zip(totals[i : i + width], labels, strict=True), key=lambda pair: pair[0])[1]
        for i in range(0, len(totals), width)
    ]


def _cost(setting: Setting, prices: Prices) -> Found:
    metric = Metric("cost", uncounted, lambda sums: 1000.0 * ratio(sums), higher_is_better=False, scale=None)
    return Found(metric, [[(prices.of(answer), 1.0) for answer in answers] for answers in setting.answers])
