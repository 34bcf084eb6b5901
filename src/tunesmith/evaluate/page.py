"""The report as one HTML page that needs no network: what a team lead reads before saying yes or no."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.artifacts import Comparison, DatasetCard, ItemResult, Report, RunRecord
from tunesmith.core.records import Finding
from tunesmith.evaluate import evidence, plots, wording
from tunesmith.evaluate.template import TEMPLATE
from tunesmith.text.page import chip, fill

WORST_ROWS = 10
MOST_FINDINGS = 20
LONGEST_TEXT = 1_500
LONGEST_VALUE = 300

ALIKE = 0.35
"""Share of common words from which an answer is close enough to the wanted one to mark the differences."""

# After the primary metric, the first two of these that were measured are shown on top.
DECIDING = ("schema_valid", "json_valid", "all_fields_f1", "bleu", "perplexity", "stop_rate", "answer_tokens")


def to_html(report: Report, run: RunRecord | None = None, dataset: DatasetCard | None = None) -> str:
    """The page as one string. Without ``run`` it has no loss curves and checks, without ``dataset`` no data section."""
    decisive = wording.comparisons_of(report, report.primary_metric)
    if decisive:
        headline = wording.headline(decisive[0])
        first = decisive[0].sentence.removeprefix(f"{headline}: ")
        sentences = [first[:1].upper() + first[1:], *(c.sentence for c in decisive[1:])]
    else:
        headline, _, rest = report.sentence.partition(". ")
        sentences = [rest] if rest else []
    sections = {
        "headline": headline,
        "verdict": chip(report.verdict or "no verdict"),
        "evidence": sentences,
        "created_at": report.created_at.replace("T", " ").replace("+00:00", " UTC"),
        "rows": len(report.items),
        "comparing": len(report.models) > 1,
        "confidence": wording.percent(report.confidence),
        "names": [model.name for model in report.models],
        "primary": wording.term(report.primary_metric).title,
        "meaning": wording.term(report.primary_metric).meaning,
        "judged": _judged(report),
        "cards": _cards(report),
        "not_measured": [{"reason": r, "metrics": ", ".join(names)} for r, names in wording.not_measured(report)],
        "run": None if run is None else _run(run),
        "dataset": None if dataset is None else _dataset(dataset),
        "facts": _facts(report, run),
        "config": [] if run is None else _config(run),
        "notes": report.notes,
        "report_id": report.report_id,
        **_tables(report),
        **_rows(report),
        **evidence.sections(report),
    }
    return fill(TEMPLATE, sections)


def _judged(report: Report) -> str:
    """The model that is under judgement: the first candidate, or the only model."""
    return report.models[min(1, len(report.models) - 1)].name


def _cards(report: Report) -> list[dict[str, Any]]:
    scores = wording.measured(report)
    doubled = {"json_valid"} if "schema_valid" in scores else set()
    chosen = [report.primary_metric, *(m for m in DECIDING if m != report.primary_metric and m not in doubled)]
    cards = []
    for metric in [m for m in chosen if m in scores][:3]:
        values = {s.model: s for s in scores[metric]}
        found = wording.comparisons_of(report, metric)
        after = values[_judged(report)]
        card: dict[str, Any] = {
            "title": wording.term(metric).title,
            "before": "",
            "after": wording.value_text(metric, after.value),
            "verdict": None,
            "note": wording.range_text(metric, after.low, after.high),
            "bars": [],
        }
        shown = [after.value]
        if found:
            first = found[0]
            change = wording.difference_text(metric, first.difference)
            card["note"] = f"{change} ({wording.difference_range_text(metric, first.low, first.high) or 'no interval'})"
            card["before"] = wording.value_text(metric, first.baseline_value)
            card["verdict"] = chip(first.verdict)
            card["after"] = wording.value_text(metric, first.candidate_value)
            shown = [first.baseline_value, first.candidate_value]
        full = {"share": 1.0, "score": 100.0}.get(wording.term(metric).unit)
        kinds = ["before", "after"] if found else ["after"]
        if full:
            pairs = zip(kinds, shown, strict=True)
            card["bars"] = [{"kind": kind, "width": f"{100 * (value or 0.0) / full:.1f}"} for kind, value in pairs]
        cards.append(card)
    return cards


def _tables(report: Report) -> dict[str, Any]:
    reach = _reach(report.comparisons)
    rows: list[dict[str, Any]] = []
    for metric, summaries in wording.measured(report).items():
        cells = [
            {
                "name": s.model,
                "value": wording.value_text(metric, s.value),
                "range": wording.range_text(metric, s.low, s.high),
            }
            for s in summaries
        ]
        changes = [_change(c, reach) for c in wording.comparisons_of(report, metric)]
        term = wording.term(metric)
        rows.append(
            {
                "metric": metric,
                "title": term.title,
                "meaning": term.meaning,
                "cells": cells,
                "changes": changes,
                "primary": metric == report.primary_metric,
            }
        )
    fields = [
        {**row, "title": row["metric"].removeprefix(wording.FIELD), "meaning": ""}
        for row in rows
        if row["metric"].startswith(wording.FIELD)
    ]
    table = [row for row in rows if row["primary"] or not row["metric"].startswith(wording.FIELD)]
    return {"table": table, "fields": fields, "many": len(report.models) > 2}


def _change(found: Comparison, reach: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    from markupsafe import Markup

    metric, plot = found.metric, ""
    if found.low is not None and found.high is not None and found.difference is not None:
        kind = chip(found.verdict)["kind"]
        plot = plots.interval_bar(found.low, found.high, found.difference, reach[wording.term(metric).unit], kind)
    return {
        "candidate": found.candidate,
        "value": wording.difference_text(metric, found.difference),
        "range": wording.difference_range_text(metric, found.low, found.high),
        "plot": Markup(plot),
        "smallest": wording.difference_text(metric, found.smallest_visible, sign=False),
        "p_value": "" if found.p_value is None else wording.p_text(found.p_value),
        "verdict": chip(found.verdict),
    }


def _reach(comparisons: Sequence[Comparison]) -> dict[str, tuple[float, float]]:
    """Ends of the interval plots for each unit, so that lines of the same unit can be compared by eye."""
    reach: dict[str, tuple[float, float]] = {}
    for found in comparisons:
        unit = wording.term(found.metric).unit
        ends = [end for end in (found.low, found.high) if end is not None]
        low, high = reach.get(unit, (0.0, 0.0))
        reach[unit] = (min(low, *ends), max(high, *ends)) if ends else (low, high)
    return reach


def _rows(report: Report) -> dict[str, Any]:
    """Examples and worst rows, by the score of the judged model on the primary metric."""
    metric, judged = report.primary_metric, _judged(report)
    lower_is_better = wording.lower_is_better(metric)
    scored = [(item.scores[judged].get(metric), i) for i, item in enumerate(report.items)]
    ranked = sorted((value if lower_is_better else -value, i) for value, i in scored if value is not None)
    order = [i for _, i in ranked]
    spots = {"A good answer": 0.1, "A typical answer": 0.5, "A poor answer": 0.9}
    picked = {round(share * (len(order) - 1)): title for title, share in reversed(spots.items())} if order else {}
    examples = [_item(report, report.items[order[spot]], picked[spot]) for spot in sorted(picked)]
    best = {"share": -1.0, "score": -100.0}.get(wording.term(metric).unit)
    worst = [i for value, i in reversed(ranked) if best is None or value > best + 1e-9][:WORST_ROWS]
    shared = _shared_start([item.prompt for item in report.items])
    return {
        "ranked": bool(ranked),
        "examples": examples,
        "worst": [_item(report, report.items[i], _first_words(report.items[i].prompt[shared:])) for i in worst],
    }


def _item(report: Report, item: ItemResult, title: str) -> dict[str, Any]:
    metric = report.primary_metric
    voices = []
    for place, model in enumerate(report.models):
        score = wording.value_text(metric, item.scores[model.name].get(metric))
        if model.name not in item.answers:  # a plain text, which nobody answered
            voices.append({"name": model.name, "kind": "after" if place else "before", "pieces": [], "score": score})
            continue
        cut = item.finish_reasons[model.name] != "stop"
        kind = "before" if place == 0 and len(report.models) > 1 else "after"
        pieces = _pieces(item.answers[model.name], item.reference)
        voices.append({"name": model.name, "kind": kind, "pieces": pieces, "score": f"{score} · cut" if cut else score})
    return {
        "title": title,
        "anchor": evidence.anchor(item.example_id),
        "question": _clip(item.prompt),
        "wanted": _clip(_layout(item.reference)),
        "source": item.source,
        "voices": voices,
        "score": wording.value_text(metric, item.scores[_judged(report)].get(metric)),
    }


def _pieces(answer: str, reference: str) -> list[dict[str, Any]]:
    """The answer in pieces, those marked that the reference does not have; none when the two have little in common."""
    text = _clip(_layout(answer)) or "(empty)"
    given, wanted = (re.findall(r"\s+|\w+|[^\w\s]", part) for part in (text, _clip(_layout(reference))))
    matcher = difflib.SequenceMatcher(None, wanted, given, autojunk=False)
    if matcher.ratio() < ALIKE:
        return [{"text": text, "marked": False}]
    pieces = []
    for step, _, _, start, end in matcher.get_opcodes():
        part = "".join(given[start:end])
        if part:
            pieces.append({"text": part, "marked": step != "equal" and not part.isspace()})
    return pieces


def _layout(text: str) -> str:
    """JSON with one item of a list, or one field of an object, on each line; other text as it is."""
    try:
        value = json.loads(text)
        if isinstance(value, list) and value:
            return "[\n" + ",\n".join("  " + json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
        return json.dumps(value, ensure_ascii=False, indent=2) if isinstance(value, dict) else text
    except (ValueError, RecursionError):
        return text


def _clip(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} characters more)"


def _shared_start(texts: Sequence[str]) -> int:
    """Length of the words that all texts begin with: an instruction that tells nothing about a row."""
    low, high = min(texts), max(texts)
    differs = next((i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), 0)
    return max((space.end() for space in re.finditer(r"\s", low[:differs])), default=0)


def _first_words(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:99] + "…"


def _run(run: RunRecord) -> dict[str, Any]:
    from markupsafe import Markup

    words = {True: "passed", False: "failed", None: "not measured"}
    speed = f", {run.tokens / run.seconds:,.0f} tokens per second" if run.seconds else ""
    speed += f" ({100 * run.utilisation:.0f} % of the machine's matrix speed)" if run.utilisation else ""
    kept = f" The weights of step {run.best_step} were kept." if run.best_step else ""
    ended = f" It ended: {run.stopped}." if run.stopped else ""
    return {
        "summary": f"{run.steps:,} optimiser steps in {_duration(run.seconds)}: {run.tokens:,} tokens, "
        f"{run.target_tokens:,} of them trained{speed}.{kept}{ended}",
        "plot": Markup(plots.loss_curves(run.train_losses, run.validation_losses, run.best_step)),
        "validated": bool(run.validation_losses),
        "noticed": run.noticed,
        "outturn": "" if run.outturn is None else run.outturn.sentence[:1].upper() + run.outturn.sentence[1:] + ".",
        **_task_metric(run),
        "checks": [
            {"verdict": chip(words[check.passed]), "name": check.name, "detail": check.detail} for check in run.checks
        ],
    }


def _task_metric(run: RunRecord) -> dict[str, Any]:
    """The first task metric of the answers that were graded while training, which is the one that decides."""
    from markupsafe import Markup

    names = [name for values in run.task_metrics.values() for name in values]
    if not names:
        return {"metric": "", "metric_plot": ""}
    term = wording.term(names[0])
    values = {step: found[names[0]] for step, found in run.task_metrics.items() if names[0] in found}
    scale = {"share": 1.0, "score": 100.0}.get(term.unit)
    about = f"{term.title} of answers to {run.task_metric_rows} validation rows, the same ones every time"
    return {"metric": about, "metric_plot": Markup(plots.metric_curve(term.title, values, run.steps, scale))}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _dataset(card: DatasetCard) -> dict[str, Any]:
    splits = ", ".join(f"{count:,} {name}" for name, count in card.rows.items())
    files = ", ".join(f"{path} ({card.formats.get(path, 'unknown shape')})" for path in card.sources)
    severities = ("error", "warning", "info")
    findings = sorted(card.findings, key=lambda finding: severities.index(finding.severity))
    more = len(findings) - MOST_FINDINGS
    return {
        "summary": f"{sum(card.rows.values()):,} rows ({splits}) from {files}.",
        "findings": [_finding(finding) for finding in findings[:MOST_FINDINGS]],
        "more": f"{more:,} more in the data card." if more > 0 else "",
    }


def _finding(finding: Finding) -> dict[str, Any]:
    where = [str(finding.source)] if finding.source.path else []
    return {
        "verdict": chip(finding.severity),
        "message": f"{finding.check}: {finding.message}",
        "where": " · ".join([*where, finding.fix] if finding.fix else where),
    }


def _facts(report: Report, run: RunRecord | None) -> list[tuple[str, str]]:
    params = report.params
    way = "greedy" if params.temperature == 0 else f"temperature {params.temperature:g}, top_p {params.top_p:g}"
    facts = [(model.name, model.digest or "no digest") for model in report.models]
    facts += [("data set", report.dataset_digest)] if report.dataset_digest else []
    facts += [("answers", f"{way}, at most {params.max_tokens} tokens, seed {params.seed}")]
    facts += [
        (wording.term(s.metric).title, s.note)
        for s in report.summaries
        if s.note and s.value is not None and s.model == report.models[0].name
    ]
    if run is not None:
        facts += [("run", run.run_id), ("trained on", run.created_at), ("seed", str(run.seed))]
        facts += [("base weights", run.base_fingerprint), ("template", run.renderer_digest)]
        facts += [("adapter", run.adapter_digest)] if run.adapter_digest else []
        facts += [("peak memory", f"{run.peak_memory_bytes / 2**30:.2f} GiB")] if run.peak_memory_bytes else []
        facts += sorted(run.environment.items())
    return facts


def _config(run: RunRecord) -> list[tuple[str, str, str]]:
    return [
        (key, _clip(json.dumps(value, ensure_ascii=False, default=str), LONGEST_VALUE), run.origins.get(key, "default"))
        for key, value in run.config.items()
    ]
