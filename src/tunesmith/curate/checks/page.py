"""The report of the checks as one HTML page that needs no network: what the owner of the data reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.core.records import Finding
from tunesmith.curate.reading.place import count
from tunesmith.text.page import chip, fill

if TYPE_CHECKING:
    from tunesmith.curate.checks.report import CheckReport, CurationReport

TEMPLATE = """{% extends "frame" %}
{% block style %}
.finding { padding: 12px 16px; border-top: 1px solid var(--line); } .finding:first-child { border-top: 0; }
.finding p { margin: 3px 0; max-width: 100ch; overflow-wrap: anywhere; } .finding .where { color: var(--soft);
font-size: 13.5px; overflow-wrap: anywhere; } .finding .fix { color: var(--soft); font-size: 14.5px; }
.findings { margin: 26px 0 8px; } a { color: var(--after); } table.checks td:first-child { width: 1%; }
table.checks tbody th { white-space: nowrap; }
.card .big.word { font-size: 24px; } details { padding: 4px 16px 10px; } summary { cursor: pointer; color: var(--soft);
font-size: 14.5px; } td details { margin: 0; padding: 0; } td summary { font-size: 13px; } td small { overflow-wrap:
anywhere; } .finding pre { white-space: pre-wrap; overflow-wrap: anywhere; } td code { overflow-wrap: anywhere; }
{% endblock %}
{% block page %}
{%- macro mark(verdict) -%}
<span class="chip {{ verdict.kind }}">{{ verdict.symbol }} {{ verdict.word }}</span>
{%- endmacro %}
{%- macro shown(finding) -%}
<div class="finding"><div class="where">{{ finding.where }}</div><p>{{ finding.message }}</p>
{% if finding.evidence %}<pre>{{ finding.evidence }}</pre>{% endif %}
{% if finding.repair %}<p class="fix">Repair: {{ finding.repair }}</p>{% endif %}</div>
{%- endmacro %}
<header class="top"><span>Check of the data</span><span>{{ source }}</span></header>
<section class="hero {{ hero }}">
<h1>{{ headline }}</h1>
<p class="lead">{{ lead }}</p>
{% if skipped %}<p class="soft">Not checked: {{ skipped }}. What was not checked has not passed.</p>{% endif %}
</section>
<div class="cards">
{% for card in cards %}
<div class="card"><div class="head"><h3>{{ card.title }}</h3></div><div class="big num">{{ card.value }}</div>
<div class="note">{{ card.note }}</div></div>
{% endfor %}
</div>

<h2>Checks</h2>
<div class="sheet"><table class="checks">
<thead><tr><th></th><th>check</th><th>result</th><th>can be repaired</th></tr></thead>
<tbody>
{% for check in checks %}
<tr><td>{{ mark(check.verdict) }}</td><th>{% if check.anchor %}<a href="#{{ check.anchor }}">{{ check.name }}</a>
{% else %}{{ check.name }}{% endif %}</th>
<td>{{ check.detail }}{% if check.figures %}<details><summary>numbers</summary>
{% for name, value in check.figures %}<small>{{ name }}: {{ value }}</small>{% endfor %}</details>{% endif %}</td>
<td class="num">{{ check.repairable }}</td></tr>
{% endfor %}
</tbody></table></div>

{% if unreadable %}
<h2>Rows that cannot be read</h2>
<div class="sheet">
{% for error in unreadable %}
<div class="finding"><div class="where">{{ error.where }}</div><p>{{ error.what }}</p>
<p class="fix">Rule: {{ error.rule }}. Way out: {{ error.fix }}</p></div>
{% endfor %}
</div>
{% endif %}

{% if groups %}
<h2>Findings</h2>
<p class="about">The gravest first, at most {{ most }} of each check; findings.jsonl has all of them.</p>
{% for group in groups %}
<h3 class="findings" id="{{ group.anchor }}">{{ mark(group.verdict) }} {{ group.name }}
<span class="soft num">{{ group.number }}</span></h3>
<div class="sheet">
{% for finding in group.first %}{{ shown(finding) }}{% endfor %}
{% if group.more %}<details><summary>{{ group.more_words }}</summary>
{% for finding in group.more %}{{ shown(finding) }}{% endfor %}</details>{% endif %}
{% if group.fixes %}<div class="finding fix">What helps: {{ group.fixes }}</div>{% endif %}
</div>
{% endfor %}
{% endif %}

<h2>Files</h2>
<div class="sheet"><table>
<thead><tr><th>file</th><th>shape</th><th>rows</th><th>SHA-256</th></tr></thead>
<tbody>{% for file in files %}
<tr><th>{{ file.path }}</th><td>{{ file.format }}</td><td class="num">{{ file.rows }}</td>
<td><code>{{ file.sha256 }}</code></td></tr>{% endfor %}</tbody></table></div>
<footer>Report {{ digest }}. The same files and options give the same report, byte for byte.</footer>
{% endblock %}
"""

_RANK = ("error", "warning", "info")
FIRST = 5
"""Findings of a check that are open when the page is; the others unfold."""


def to_html(report: CurationReport, findings: Sequence[Finding]) -> str:
    """The page as one string.

    Args:
        report: the numbers.
        findings: the worst of each check, which the page shows.
    """
    counts = {word: sum(check.findings.get(word, 0) for check in report.checks) for word in _RANK}
    skipped = [check.name for check in report.checks if check.passed is None]
    lead = f"{count(report.rows, 'row')} in {count(len(report.files), 'file')}; {_share(report)}."
    values = {
        "source": ", ".join(file.path for file in report.files[:3]) + (" …" if len(report.files) > 3 else ""),
        "hero": "worse" if not report.ok else "unsure" if counts["warning"] else "better",
        "headline": _headline(report, counts),
        "lead": lead,
        "skipped": ", ".join(skipped),
        "cards": list(_cards(report, counts)),
        "checks": [_line(check) for check in sorted(report.checks, key=_gravity)],
        "unreadable": report.unreadable,
        "most": max((len(group["first"]) + len(group["more"]) for group in _groups(report, findings)), default=0),
        "groups": list(_groups(report, findings)),
        "files": [{**file.model_dump(), "rows": f"{file.rows:,}"} for file in report.files],
        "digest": report.digest[:16],
    }
    return fill(TEMPLATE, values)


def _headline(report: CurationReport, counts: dict[str, int]) -> str:
    if report.unreadable:
        return f"{count(len(report.unreadable), 'row')} cannot be read"
    if counts["error"]:
        return f"{count(counts['error'], 'error')} and {count(counts['warning'], 'warning')}: not ready for training"
    return f"No errors, {count(counts['warning'], 'warning')}"


def _share(report: CurationReport) -> str:
    """How the rows are split, and what of them is trained."""
    parts = [f"{rows:,} {name}" for name, rows in report.splits.items()]
    if report.tokens:
        trained, total = report.tokens["trained"], report.tokens["total"]
        parts.append(f"{trained:,} of {total:,} tokens are trained ({trained / max(total, 1):.0%})")
    return ", ".join(parts)


def _cards(report: CurationReport, counts: dict[str, int]) -> Iterator[dict[str, str]]:
    repairable = sum(check.repairable for check in report.checks)
    yield {"title": "Errors", "value": f"{counts['error']:,}", "note": "stop training until they are resolved"}
    yield {"title": "Warnings", "value": f"{counts['warning']:,}", "note": "for a person to judge"}
    yield {
        "title": "Can be repaired",
        "value": f"{repairable:,}",
        "note": "by tunesmith data repair; nothing is lost",
    }


def _line(check: CheckReport) -> dict[str, Any]:
    word = "not checked" if check.passed is None else "failed" if not check.passed else "passed"
    if check.passed and check.findings.get("warning"):
        word = "warning"
    figures = [(name.replace("_", " "), _figure(value)) for name, value in check.figures.items() if _is_plain(value)]
    return {
        "verdict": chip(word),
        "name": check.name,
        "anchor": _anchor(check.name) if any(check.findings.values()) else "",
        "detail": check.detail.removeprefix("not checked: "),
        "figures": figures,
        "repairable": f"{check.repairable:,}" if check.repairable else "",
    }


def _gravity(check: CheckReport) -> int:
    """Failed first, then warnings, notes, what passed, and what was not checked."""
    if check.passed is None:
        return 4
    worst = min((_RANK.index(severity) for severity, number in check.findings.items() if number), default=3)
    return worst if check.passed else 0


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, dict) and len(value) <= 8 and all(isinstance(v, str | int | float) for v in value.values())
    )


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(number)}" for name, number in value.items())
    if isinstance(value, str | bool):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _groups(report: CurationReport, findings: Sequence[Finding]) -> Iterator[dict[str, Any]]:
    """The findings of each check, checks with errors first."""
    order = sorted(report.checks, key=lambda check: min((_RANK.index(s) for s in check.findings), default=9))
    for check in order:
        mine = [finding for finding in findings if finding.check == check.name]
        if mine:
            worst = min(mine, key=lambda finding: _RANK.index(finding.severity)).severity
            yield {
                "name": check.name,
                "anchor": _anchor(check.name),
                "verdict": chip(worst),
                "number": f"{sum(check.findings.values()):,}",
                "first": [_finding(finding) for finding in mine[:FIRST]],
                "more": [_finding(finding) for finding in mine[FIRST:]],
                "more_words": f"{len(mine) - FIRST} more of {sum(check.findings.values()):,}",
                "fixes": "; ".join(list(dict.fromkeys(finding.fix for finding in mine if finding.fix))[:3]),
            }


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _finding(finding: Finding) -> dict[str, str]:
    where = str(finding.source) if finding.source.line else finding.source.path
    repair = ""
    if finding.action is not None and finding.action.kind == "quarantine":
        rows = [str(source.line) for source in finding.action.rows]
        repair = f"put aside {count(len(rows), 'row')} (line {', '.join(rows[:8])}{', …' if len(rows) > 8 else ''})"
    elif finding.action is not None:
        repair = f"change {count(len(finding.action.edits), 'place')} in the row"
    shown = f"{where}  id {finding.example_id}" if finding.example_id else where
    return {"where": shown, "message": finding.message, "evidence": finding.evidence, "repair": repair}
