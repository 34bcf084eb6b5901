"""The frame of every HTML page that is written: one self-contained document that needs no network and runs no script.

Everything that is filled in is escaped by the template engine; a page says with ``Markup`` what already is HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f5f2; --card: #ffffff; --ink: #1c2127; --soft: #5d6670; --line: #e2e0da; --sunken: #f1efea;
  --before: #8b939c; --after: #2563c9; --good: #18794e; --good-soft: #e3f3ea; --bad: #b3261e; --bad-soft: #fbe6e4;
  --unsure: #8a5a00; --unsure-soft: #fbefd5; --same: #47617a; --same-soft: #e6edf4; --mark: #fde2df; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171a; --card: #1c2024; --ink: #e7e9ec; --soft: #9da6b0; --line: #30363c; --sunken: #23282d;
  --before: #7d8791; --after: #7aacff; --good: #5cc894; --good-soft: #173527; --bad: #ff8f86; --bad-soft: #3d1f1d;
  --unsure: #f0bb5a; --unsure-soft: #3a2d12; --same: #9bb8d3; --same-soft: #22303d; --mark: #4a2523; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 64px; }
header.top { display: flex; flex-wrap: wrap; gap: 4px 16px; justify-content: space-between; color: var(--soft);
  font-size: 14px; margin-bottom: 14px; }
h1 { font-size: clamp(22px, 3.6vw, 32px); line-height: 1.22; margin: 10px 0 10px; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 4px; letter-spacing: -0.005em; }
h3 { font-size: 16px; margin: 0; }
p { margin: 6px 0; max-width: 76ch; }
.lead { font-size: 17px; max-width: 92ch; }
.hero .soft { max-width: 100ch; font-size: 15px; }
.soft, .about { color: var(--soft); }
.about { font-size: 15px; margin-bottom: 12px; }
.num, td.num { font-variant-numeric: tabular-nums; }
td.num { white-space: nowrap; }
.hero { background: var(--card); border: 1px solid var(--line); border-left: 8px solid var(--same);
  border-radius: 12px;
  padding: 20px 24px 18px; }
.hero.better { border-left-color: var(--good); } .hero.worse { border-left-color: var(--bad); }
.hero.unsure { border-left-color: var(--unsure); }
.chip { display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: 14px; font-weight: 600;
  white-space: nowrap; background: var(--same-soft); color: var(--same); }
.chip.better { background: var(--good-soft); color: var(--good); }
.chip.worse { background: var(--bad-soft); color: var(--bad); }
.chip.unsure { background: var(--unsure-soft); color: var(--unsure); }
.chip.big { font-size: 16px; padding: 3px 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 14px; margin-top: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px;
  min-width: 0; }
.card .head { display: flex; justify-content: space-between; gap: 10px; align-items: baseline; flex-wrap: wrap; }
.card .big { font-size: 30px; font-weight: 650; letter-spacing: -0.02em; margin: 6px 0 2px; line-height: 1.15; }
.card .big .from { color: var(--soft); font-weight: 400; font-size: 21px; }
.card .note { font-size: 14px; color: var(--soft); }
.bars { display: grid; gap: 4px; margin: 10px 0 8px; }
.bar { height: 8px; border-radius: 4px; background: var(--sunken); position: relative; overflow: hidden; }
.bar i { position: absolute; inset: 0 auto 0 0; border-radius: 4px; background: var(--before); min-width: 2px; }
.bar i.after { background: var(--after); }
.sheet { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { text-align: left; padding: 10px 14px; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 13.5px; vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody:first-child tr:first-child > * { border-top: 0; }
td small, th small { display: block; margin-top: 1px; color: var(--soft); font-weight: 400; font-size: 13px;
  line-height: 1.35; }
th small { max-width: 34ch; }
th small.wide { max-width: none; }
td.narrow { width: 1%; }
.sheet + .about { margin-top: 12px; }
.many th, .many td { padding: 9px 8px; } .many svg.interval { width: 84px; }
details > .sheet { margin-top: 10px; }
tr.primary > * { background: color-mix(in srgb, var(--after) 6%, transparent); }
svg.plot { width: 100%; min-width: 640px; padding: 8px 10px 10px; height: auto; display: block; }
svg.interval { width: 120px; height: 20px; display: block; margin-top: 3px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); } svg text.label { font-size: 12.5px; }
svg text.mark { fill: var(--ink); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg .best { stroke: var(--good); stroke-dasharray: 4 4; }
svg polyline { fill: none; stroke-linejoin: round; }
svg .raw { stroke: var(--before); opacity: .45; stroke-width: 1; }
svg .train { stroke: var(--before); stroke-width: 2.2; }
svg polyline.validation { stroke: var(--after); stroke-width: 2.4; } svg circle.validation { fill: var(--after); }
svg .zero { stroke: var(--soft); stroke-dasharray: 2 2; }
svg .whisker { stroke-width: 3; stroke-linecap: round; stroke: var(--same); }
svg circle { fill: var(--same); } svg .whisker.better { stroke: var(--good); }
svg circle.better { fill: var(--good); }
svg .whisker.worse { stroke: var(--bad); } svg circle.worse { fill: var(--bad); }
svg .whisker.unsure { stroke: var(--unsure); } svg circle.unsure { fill: var(--unsure); }
.legend { display: flex; gap: 20px; flex-wrap: wrap; font-size: 14px; color: var(--soft); padding: 12px 16px 0; }
.legend i { display: inline-block; width: 20px; height: 3px; border-radius: 2px; margin-right: 7px;
  vertical-align: middle;
  background: var(--before); } .legend i.after { background: var(--after); }
.example { padding: 18px; margin-top: 14px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 14px; margin-top: 12px; }
.voice { min-width: 0; }
.voice.wanted { margin-top: 12px; }
.voice > span { font-size: 13.5px; color: var(--soft); display: flex; justify-content: space-between; gap: 8px; }
.voice > span b { font-weight: 600; color: var(--ink); overflow-wrap: anywhere; }
pre { margin: 4px 0 0; padding: 10px 12px; background: var(--sunken); border-radius: 8px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.voice.after pre { border-left: 3px solid var(--after); } .voice.wanted pre { border-left: 3px solid var(--good); }
pre mark { background: var(--mark); color: inherit; border-radius: 3px; }
pre.question { margin-top: 8px; background: none; padding: 0; font-family: inherit; font-size: 15px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); font-size: 15px; }
.sheet details { margin: 0; padding: 10px 14px; border-top: 1px solid var(--line); }
.sheet details:first-child { border-top: 0; }
.sheet summary { color: var(--ink); display: list-item; }
.sheet summary .num { color: var(--soft); margin-right: 10px; }
code { font: 13.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 5px 18px; margin: 0;
  padding: 14px 18px; font-size: 15px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
ul.plain { padding-left: 20px; margin: 8px 0; font-size: 15px; } ul.plain li { margin: 3px 0; max-width: 84ch; }
footer { margin-top: 48px; color: var(--soft); font-size: 14px; }
@media (max-width: 700px) {
  main { padding: 16px 12px 40px; } .hero { padding: 16px 16px 14px; border-left-width: 6px; }
  .sheet.stack { overflow: visible; } .stack thead { display: none; }
  .stack tr { display: grid; grid-template-columns: 1fr 1fr; padding: 12px 14px; border-top: 1px solid var(--line);
    gap: 8px 12px; }
  .stack tbody tr:first-child { border-top: 0; }
  .stack th, .stack td { display: block; border: 0; padding: 0; } .stack tbody th { grid-column: 1 / -1; }
  .stack tr.primary { background: color-mix(in srgb, var(--after) 6%, transparent); }
  .stack tr.primary > * { background: none; }
  .stack td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: 12.5px; }
  .stack td.wide { grid-column: 1 / -1; } th small { max-width: none; } }
@media print { body { background: #fff; } .sheet, .card, .hero { break-inside: avoid; } }
"""

FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ headline }}</title>
<style>{{ frame_style }}{% block style %}{% endblock %}</style>
</head>
<body>
<main>
{% block page %}{% endblock %}
</main>
</body>
</html>
"""

KINDS: Mapping[str, tuple[str, str]] = {
    "better": ("better", "▲"),
    "worse": ("worse", "▼"),
    "equivalent": ("same", "="),
    "cannot tell": ("unsure", "?"),
    "no verdict": ("same", "·"),
    "passed": ("better", "✓"),
    "failed": ("worse", "✗"),
    "not measured": ("unsure", "–"),
    "not checked": ("unsure", "–"),
    "error": ("worse", "✗"),
    "warning": ("unsure", "!"),
    "info": ("same", "i"),
}
"""Word of a chip → its colour and its symbol."""


def chip(word: str) -> dict[str, str]:
    """A coloured word, as templates take it."""
    kind, symbol = KINDS[word]
    return {"kind": kind, "symbol": symbol, "word": word}


def fill(template: str, values: Mapping[str, Any]) -> str:
    """A page from a template that extends ``frame`` and fills its block ``page``; ``headline`` becomes the title.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    frame = DictLoader({"frame": FRAME})
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=frame
    )
    return environment.from_string(template).render({**values, "frame_style": Markup(STYLE)})
