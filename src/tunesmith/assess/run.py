"""Try the arms on the same rows, say what is wrong with their answers, and advise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import fmean

from tunesmith.assess import rules
from tunesmith.assess.config import Config
from tunesmith.assess.instructions import grid, instructions_of, rewritten, with_passages
from tunesmith.assess.plans import Plan, Planned, Shots
from tunesmith.assess.probe import probe
from tunesmith.assess.search import Found, best_plan
from tunesmith.assess.taxonomy import House, Wanted, errors_of, fold, holds, house_of, share, wanted_of
from tunesmith.core.advice import Advice, Arm, AssessedItem, ErrorKind, Probe, Role, Spent
from tunesmith.core.artifacts import Report
from tunesmith.core.costs import PriceList, Range, price_of_answers, price_of_seconds
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.events import Emit, Stage, ignore, ticking
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Example, digest_of
from tunesmith.text.retrieval import Index

Measure = Callable[[Sequence[Sampler], Sequence[Example]], Report]
"""Models on rows → report with a score of every row, as `tunesmith.evaluate.run` gives it."""

SCALES = {"chrf": 100.0, "bleu": 100.0, "ter": 100.0}
"""Metrics that do not go from 0 to 1."""

LOWER_IS_BETTER = frozenset(("ter", "perplexity", "slot_error_rate"))

KINDS: tuple[ErrorKind, ...] = (
    "format",
    "style",
    "terminology",
    "missing knowledge",
    "stale knowledge",
    "reasoning",
    "refusal",
)


@dataclass(frozen=True)
class Rows:
    """The rows of a task: prompts are chosen on ``validation``, arms compared on ``test``; ``digest`` names all."""

    test: Sequence[Example]
    validation: Sequence[Example] = ()
    training: Sequence[Example] = ()
    digest: str = ""

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.test) + len(self.validation) + len(self.training)


@dataclass(frozen=True)
class Bench:
    """What an assessment works with. ``measure`` judges the held-out rows, ``look`` is a quick one for the search."""

    base: Sampler
    rows: Rows
    measure: Measure
    look: Measure
    bigger: Sequence[Sampler] = ()
    tuned: Sequence[Sampler] = ()
    index: Index | None = None
    writer: Sampler | None = None
    prices: PriceList | None = None
    margin: float = 0.02
    seed: int = 0
    emit: Emit = ignore


@dataclass
class _Tried:
    """An arm on its way: who answers, by which plan, what finding it took."""

    role: Role
    sampler: Planned
    spent: Spent = field(default_factory=Spent)


def run(config: Config, bench: Bench, *, created_at: str | None = None) -> Advice:
    """Assess.

    Raises:
        DataError: no held-out rows, or rows that ask nothing.
        ConfigError: the deciding metric does not judge answers.
        EndpointError: an endpoint does not answer; what was answered before is not lost where it is remembered.
    """
    _refuse(bench)
    rows = sorted(bench.rows.test, key=lambda row: row.id)[: config.rows or None]
    house = house_of(rows, bench.rows.training, config.glossary, config.outdated)
    wanted = [wanted_of(row, house) for row in rows]
    shots = Shots(bench.rows.training)
    tried, absent = _arms(config, bench, shots, house)
    bench.emit(Stage(title="measuring the arms", detail=f"{len(tried)} arms on {len(rows)} held-out rows"))
    report = bench.measure([one.sampler for one in tried], rows)
    _require_answers(report)
    limit = _pass_score(config, house)
    judged = [_judged(one, report, wanted, house, limit, bench, config) for one in tried]
    facts = _facts(judged, config, bench, report)
    decision = rules.decide_lever(facts)
    advice = Advice(
        advice_id="",
        created_at=created_at or datetime.now(UTC).isoformat(timespec="seconds"),
        who=config.who,
        dataset_digest=bench.rows.digest,
        rows={"training": len(bench.rows.training), "validation": len(bench.rows.validation), "held out": len(rows)},
        metric=report.primary_metric,
        target=config.target,
        pass_score=limit,
        margin=bench.margin,
        confidence=report.confidence,
        params=report.params,
        arms=(*(arm for arm, _, _ in judged), *absent),
        verdicts=tuple(_verdicts(facts)),
        comparisons=tuple(c for c in report.comparisons if c.metric == report.primary_metric),
        probe=_probed(config, bench, wanted, report),
        corpus=bench.index.digest if bench.index else "",
        recommendation=decision.recommendation,
        rule=decision.rule,
        sentence=decision.sentence,
        would_change=decision.would_change,
        items=_items(report, judged),
        notes=(*report.notes, *_notes(house, limit, report.primary_metric)),
    )
    return advice.model_copy(
        update={"advice_id": digest_of(advice.model_dump(mode="json", exclude={"created_at"}))[:16]}
    )


def _refuse(bench: Bench) -> None:
    if not bench.rows.test:
        raise DataError(
            "there are no held-out rows to assess on",
            rule="levers are compared on rows that none of them has seen",
            fix="raise test_size, or give a data set with split: test",
        )
    document = next((row for row in bench.rows.test if row.is_document), None)
    if document is not None:
        raise DataError(
            "plain text asks nothing, so no prompt can help it",
            where=str(document.source),
            rule="an assessment compares answers to questions",
            fix="give rows with a question and an answer",
        )


def _require_answers(report: Report) -> None:
    if report.primary_metric == "perplexity":
        raise ConfigError(
            "perplexity judges no answers",
            where="primary_metric",
            rule="arms are compared by what they answer",
            fix="set primary_metric: auto, or a metric of answers",
        )


def _facts(judged: Sequence[tuple], config: Config, bench: Bench, report: Report) -> rules.Facts:
    """What the rules look at."""
    right = {arm.name: [flag for flag, _ in found] for arm, found, _ in judged}
    return rules.Facts(
        arms=[arm for arm, _, _ in judged],
        right=right,
        total_rows=bench.rows.total,
        fewest_rows=config.fewest_rows,
        target=config.target,
        margin=bench.margin,
        confidence=report.confidence,
        searched=any(arm.role == "prompt" for arm, _, _ in judged),
        has_corpus=bench.index is not None,
    )


def _pass_score(config: Config, house: House) -> float:
    if config.pass_score != "auto":
        return config.pass_score
    return 0.5 if house.kind == "text" else 1.0


def _arms(config: Config, bench: Bench, shots: Shots, house: House) -> tuple[list[_Tried], list[Arm]]:
    """The arms that can be measured, and those that cannot, with the reason."""
    absent: list[Arm] = []

    def arm(role: Role, sampler: Sampler, plan: Plan, spent: Spent | None = None, name: str = "") -> _Tried:
        named = Planned(sampler, plan, shots, bench.index, name or f"{role}: {sampler.name}")
        return _Tried(role, named, spent or Spent())

    tried = [arm("zero-shot", bench.base, Plan())]
    found = _best_prompt(config, bench, shots, house)
    if found.plan is None:
        reason = _no_search(config, bench)
        absent.append(Arm(role="prompt", name="best prompt", measured=False, reason=reason, spent=found.spent))
    else:
        tried.append(arm("prompt", bench.base, found.plan, found.spent))
    passages = Plan(passages=config.passages)
    if bench.index is None:
        absent.append(Arm(role="retrieval", name="retrieval", measured=False, reason="no corpus was given"))
    else:
        plans = with_passages(found.plan, config.passages)
        best = _search(config, bench, shots, plans, "searching for the best prompt with passages")
        plan = best.plan or passages
        tried.append(arm("retrieval", bench.base, plan, best.spent))
        passages = Plan(passages=plan.passages)
    tried += [arm("bigger", sampler, found.plan or Plan()) for sampler in bench.bigger]
    tried += [arm("tuned", sampler, Plan()) for sampler in bench.tuned]
    if not bench.tuned:
        absent.append(Arm(role="tuned", name="tuned", measured=False, reason="no tuned run was given (--add RUN)"))
    elif bench.index is not None:
        tried += [arm("tuned + retrieval", sampler, passages) for sampler in bench.tuned]
    return _named_apart(tried), absent


def _named_apart(tried: list[_Tried]) -> list[_Tried]:
    seen: Counter[str] = Counter()
    for one in tried:
        seen[one.sampler.name] += 1
        if seen[one.sampler.name] > 1:
            one.sampler.name = f"{one.sampler.name} #{seen[one.sampler.name]}"
    return tried


def _no_search(config: Config, bench: Bench) -> str:
    if not config.prompt_budget:
        return "prompt_budget is 0: no prompt was searched for"
    if not bench.rows.validation:
        return "there are no validation rows to choose a prompt on (val_size)"
    return f"a prompt_budget of {config.prompt_budget} does not pay for one prompt on the first validation rows"


def _best_prompt(config: Config, bench: Bench, shots: Shots, house: House) -> Found:
    instructions = instructions_of(bench.rows.training, house, config.instructions)
    written = 0
    if config.rewrites and config.rewrites < config.prompt_budget and bench.rows.training:
        bench.emit(Stage(title="writing instructions", detail=f"{config.rewrites}"))
        instructions += rewritten(bench.writer or bench.base, bench.rows.training, config, bench.seed)
        written = config.rewrites
    plans = grid(list(dict.fromkeys(instructions)), config.most_shots, bool(bench.rows.training))
    found = _search(config, bench, shots, plans, "searching for the best prompt", written)
    spent = found.spent.model_copy(update={"allowed": config.prompt_budget, "asked": found.spent.asked + written})
    return Found(found.plan, found.score, spent)


def _search(config: Config, bench: Bench, shots: Shots, plans: Sequence[Plan], title: str, written: int = 0) -> Found:
    rows = sorted(bench.rows.validation, key=lambda row: row.id)
    known: dict[Plan, Planned] = {}

    def judge(standing: Sequence[Plan], asked: Sequence[Example]) -> list[tuple[float, float]]:
        for plan in standing:
            known.setdefault(plan, Planned(bench.base, plan, shots, bench.index, f"plan {plans.index(plan)}"))
        report = bench.look([known[plan] for plan in standing], asked)
        values = {s.model: s.value for s in report.summaries if s.metric == report.primary_metric}
        lower = report.primary_metric in LOWER_IS_BETTER
        lengths = [_length(known[plan], asked) for plan in standing]
        scores = [values.get(known[plan].name) for plan in standing]
        missing = float("-inf")
        return [
            (missing if score is None else -score if lower else score, length)
            for score, length in zip(scores, lengths, strict=True)
        ]

    budget = config.prompt_budget - written
    if rows and budget > 0:
        bench.emit(Stage(title=title, detail=f"{len(plans)} prompts, at most {budget} answers on validation rows"))
    return best_plan(plans, rows, judge, budget, bench.seed)


def _length(sampler: Planned, rows: Sequence[Example]) -> float:
    """Mean characters of what the model is told."""
    return fmean(sum(len(m.text) for m in sampler.tell(row.prompt).prompt.messages) for row in rows)


def _judged(
    one: _Tried,
    report: Report,
    wanted: Sequence[Wanted],
    house: House,
    limit: float,
    bench: Bench,
    config: Config,
) -> tuple[Arm, list[tuple[bool, tuple[ErrorKind, ...]]], list[tuple[str, ...]]]:
    """The arm with its numbers, whether each row is right with its errors, and the passages of each row."""
    name, metric = one.sampler.name, report.primary_metric
    answers = one.sampler.sample([row.example.prompt for row in wanted], report.params)
    scores = [item.scores[name].get(metric) for item in report.items]
    found = [
        errors_of(row, answer, house, _closeness(metric, score) / limit)
        for row, answer, score in zip(wanted, answers, scores, strict=True)
    ]
    told = [one.sampler.tell(row.example.prompt) for row in wanted]
    main = Counter(errors[0] for flag, errors in found if not flag)
    n = len(wanted)
    summary = next(s for s in report.summaries if s.model == name and s.metric == metric)
    unknown = [(row, parts.passages) for row, parts in zip(wanted, told, strict=True) if row.unknown]
    hits = sum(all(holds(fold(" ".join(p.text for p in given)), f) for f in row.unknown) for row, given in unknown)
    form = sum(bool(set(errors) & {"format", "style", "terminology", "refusal"}) for _, errors in found)
    right = share(sum(flag for flag, _ in found), n, report.confidence)
    tokens = (fmean(a.prompt_tokens for a in answers), fmean(a.completion_tokens for a in answers))
    seconds = fmean(a.seconds for a in answers) if all(a.seconds for a in answers) else None
    cost, currency = _cost(bench.prices, tokens, seconds)
    arm = Arm(
        role=one.role,
        name=name,
        model=one.sampler.digest,
        plan=one.sampler.plan.words(),
        metric=metric,
        score=summary.value,
        low=summary.low,
        high=summary.high,
        right=right,
        errors={kind: share(main[kind], n, report.confidence) for kind in KINDS},
        form_faults=share(form, n, report.confidence),
        facts_found=share(hits, len(unknown), report.confidence) if one.sampler.plan.passages and unknown else None,
        spent=one.spent,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        seconds=seconds,
        cost_per_1000=cost,
        currency=currency,
        fell_short=_fell_short(right.low >= config.target, right.n - right.count, main),
    )
    return arm, found, [tuple(f"{p.id} {p.source}" for p in parts.passages) for parts in told]


def _closeness(metric: str, score: float | None) -> float:
    if score is None:
        return 0.0
    value = score / SCALES.get(metric, 1.0)
    return 1.0 - value if metric in LOWER_IS_BETTER else value


def _cost(prices: PriceList | None, tokens: tuple[float, float], seconds: float | None) -> tuple[Range | None, str]:
    """Of 1,000 answers: by the token where tokens have a price, else by the machine's seconds."""
    if prices is None:
        return None, ""
    by_tokens = price_of_answers(prices, *tokens) if any(tokens) else None
    by_seconds = price_of_seconds(prices, seconds) if seconds else None
    return by_tokens or by_seconds, prices.currency


def _fell_short(reached: bool, wrong: int, main: Counter[ErrorKind]) -> str:
    if reached:
        return ""
    if not wrong:
        return "no answer is wrong, and too few rows show that it stays so"
    listed = ", ".join(f"{count} {kind}" for kind, count in main.most_common())
    return f"{wrong} answers are wrong: {listed}"


def _verdicts(facts: rules.Facts) -> list:
    first, *others = facts.arms
    found = [rules.compare(facts, first, arm) for arm in others]
    best = rules.best(facts.arms, ("zero-shot", "prompt", "retrieval", "bigger"))
    if best is not None and best is not first:
        tuned = [arm for arm in facts.arms if arm.role in ("tuned", "tuned + retrieval")]
        found += [rules.compare(facts, best, arm) for arm in tuned]
    return found


def _probed(config: Config, bench: Bench, wanted: Sequence[Wanted], report: Report) -> Probe | None:
    if not config.probe_rows:
        return None
    bench.emit(Stage(title="probing what the base knows", detail=f"{config.probe_samples} answers a row"))
    rows = [row for row in wanted if row.unknown][: config.probe_rows]
    tell = ticking(bench.emit, "probing")
    return probe(bench.base, rows, report.params, config.probe_samples, report.confidence, tell)


def _items(report: Report, judged: Sequence[tuple]) -> tuple[AssessedItem, ...]:
    return tuple(
        AssessedItem(
            example_id=item.example_id,
            source=item.source,
            prompt=item.prompt,
            reference=item.reference,
            answers=item.answers,
            scores={arm.name: item.scores[arm.name].get(report.primary_metric) for arm, _, _ in judged},
            right={arm.name: found[i][0] for arm, found, _ in judged},
            errors={arm.name: found[i][1] for arm, found, _ in judged},
            sources={arm.name: given[i] for arm, _, given in judged if given[i]},
        )
        for i, item in enumerate(report.items)
    )


def _notes(house: House, limit: float, metric: str) -> tuple[str, ...]:
    kinds = {"json": "JSON", "label": "labels", "short": "short answers", "text": "free text"}
    return (f"Wanted answers are {kinds[house.kind]}; an answer is right from {limit:g} of the scale of {metric}.",)
