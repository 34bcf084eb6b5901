"""The report page: one self-contained document. Everything that is filled in is escaped by the template engine."""

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

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ headline }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
{%- macro chip(verdict, big=false) -%}
<span class="chip {{ verdict.kind }}{{ ' big' if big }}">{{ verdict.symbol }} {{ verdict.word }}</span>
{%- endmacro %}
{%- macro change_cells(change) %}
<td class="num" data-label="difference{{ ' of ' ~ change.candidate if many }}">{{ change.value }}
<small>{{ change.range }}{% if many %}<br>{{ change.candidate }}{% endif %}</small></td>
<td class="plotted">{{ change.plot }}</td>
<td class="num" data-label="smallest visible">{{ change.smallest }}</td>
<td class="num" data-label="verdict">{{ chip(change.verdict) }}<small>{{ change.p_value }}</small></td>
{%- endmacro %}
{%- macro scores(first, rows) %}
<div class="sheet stack"><table>
<thead><tr><th>{{ first }}</th>{% for name in names %}<th>{{ name }}</th>{% endfor %}
{% if comparing %}<th colspan="2">difference</th><th>smallest visible</th><th>verdict</th>{% endif %}</tr></thead>
<tbody>
{% for row in rows %}
{% set span = ' rowspan="%d"'|format(row.changes|length)|safe if row.changes|length > 1 else '' %}
<tr{% if row.primary %} class="primary"{% endif %}>
<th scope="row"{{ span }}>{{ row.title }}<small>{{ row.meaning }}</small></th>
{% for cell in row.cells %}
<td class="num"{{ span }} data-label="{{ cell.name }}">{{ cell.value }}<small>{{ cell.range }}</small></td>
{% endfor %}
{% if row.changes %}{{ change_cells(row.changes[0]) }}
{% elif comparing %}<td class="soft wide" colspan="4">not judged: neither more nor less is better</td>{% endif %}</tr>
{% for change in row.changes[1:] %}<tr>{{ change_cells(change) }}</tr>
{% endfor %}
{% endfor %}
</tbody></table></div>
{%- endmacro %}
{%- macro voices(item) %}
<pre class="question">{{ item.question }}</pre>
<div class="voice wanted"><span><b>wanted</b><span>{{ item.source }}</span></span><pre>{{ item.wanted }}</pre></div>
<div class="pair">{% for voice in item.voices %}
<div class="voice {{ voice.kind }}"><span><b>{{ voice.name }}</b><span class="num">{{ voice.score }}</span></span>
<pre>{% for piece in voice.pieces -%}
{% if piece.marked %}<mark>{{ piece.text }}</mark>{% else %}{{ piece.text }}{% endif %}
{%- endfor %}</pre></div>
{% endfor %}</div>
{%- endmacro %}
<header class="top"><span>Evaluation report</span><span>{{ created_at }} · {{ rows }} held-out rows</span></header>
<section class="hero {{ verdict.kind }}">
{{ chip(verdict, true) }}
<h1>{{ headline }}</h1>
{% for line in evidence %}<p class="lead">{{ line }}</p>{% endfor %}
<p class="soft"><b>{{ primary }}</b>: {{ meaning }}.</p>
</section>

<section class="cards" aria-label="The numbers that decide">
{% for card in cards %}
<div class="card">
<div class="head"><h3>{{ card.title }}</h3>{% if card.verdict %}{{ chip(card.verdict) }}{% endif %}</div>
<div class="big num">{% if card.before %}<span class="from">{{ card.before }} →</span> {% endif %}{{ card.after }}</div>
{% if card.bars %}<div class="bars" aria-hidden="true">
{% for bar in card.bars %}<div class="bar"><i class="{{ bar.kind }}" style="width:{{ bar.width }}%"></i></div>
{% endfor %}</div>{% endif %}
<div class="note num">{{ card.note }}</div>
</div>
{% endfor %}
</section>

<h2>{{ "Before and after" if comparing else "Scores" }}</h2>
<p class="about">Small print: the {{ confidence }} interval, the range in which the true value is likely to lie.
{% if comparing %}The first line decides. The others help to understand it and are judged one by one.{% endif %}</p>
{{ scores("metric", table) }}
{% if not_measured %}<p class="about">Not measured:</p>
<ul class="plain">
{% for item in not_measured %}<li><b>{{ item.metrics }}</b>: {{ item.reason }}</li>
{% endfor %}</ul>{% endif %}

{% if fields %}
<h2>Field by field</h2>
<p class="about">How many values of each field are right (F1 over all rows); an answer that is not valid JSON has none
right.</p>
{{ scores("field", fields) }}
{% endif %}

{% if examples %}
<h2>Examples</h2>
<p class="about">Chosen by rule, not by hand: rows with a good, a typical and a poor answer of {{ judged }}.
Marked in red: what the wanted answer does not have, where the two are alike enough to compare.</p>
{% for item in examples %}
<article class="card example"><h3>{{ item.title }}</h3>{{ voices(item) }}</article>
{% endfor %}
{% endif %}

<h2>Worst rows</h2>
{% if worst %}
<p class="about">The lowest scores of {{ judged }} on {{ primary }}. Look here first for what to add to the data.</p>
<div class="sheet">
{% for item in worst %}
<details><summary><span class="num">{{ item.score }}</span>{{ item.title }}</summary>
{{ voices(item) }}</details>
{% endfor %}</div>
{% elif ranked %}<p class="about">None: every row has full marks on {{ primary }}.</p>
{% else %}<p class="about">The rows have no score on {{ primary }} to put them in order.</p>{% endif %}

{% if run %}
<h2>Training</h2>
<p class="about">{{ run.summary }}</p>
{% if run.plot %}<div class="sheet">
<div class="legend"><span><i></i>training (thin: each step, thick: running mean)</span>{% if run.validated %}<span><i
class="after"></i>validation</span>{% endif %}</div>{{ run.plot }}</div>
{% else %}<p class="about">No losses were recorded.</p>{% endif %}
{% for line in run.noticed %}<p class="about"><b>Noticed:</b> {{ line }}.</p>
{% endfor %}
{% if run.metric_plot %}<p class="about">{{ run.metric }}.</p>
<div class="sheet">{{ run.metric_plot }}</div>
{% endif %}
{% if run.outturn %}<p class="about">{{ run.outturn }}</p>{% endif %}
<h2>Checks of the finished run</h2>
{% if run.checks %}
<p class="about">What was verified on this very run. “Not measured” is not a pass.</p>
<div class="sheet"><table><tbody>{% for check in run.checks %}
<tr><td class="narrow">{{ chip(check.verdict) }}</td>
<th scope="row">{{ check.name }}<small class="wide">{{ check.detail }}</small></th></tr>
{% endfor %}</tbody></table></div>
{% else %}<p class="about">None were recorded.</p>{% endif %}
{% endif %}

{% if dataset %}
<h2>Data</h2>
<p class="about">{{ dataset.summary }}</p>
{% if dataset.findings %}
<div class="sheet"><table><tbody>{% for finding in dataset.findings %}
<tr><td class="narrow">{{ chip(finding.verdict) }}</td>
<th scope="row">{{ finding.message }}<small class="wide">{{ finding.where }}</small></th></tr>
{% endfor %}</tbody></table></div>
{% if dataset.more %}<p class="about">{{ dataset.more }}</p>{% endif %}
{% else %}<p class="about">The checks found nothing to remark.</p>{% endif %}
{% endif %}

<h2>Facts</h2>
<div class="sheet"><dl>
{% for name, value in facts %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>
{% endfor %}</dl></div>
{% if config %}<details><summary>All {{ config|length }} settings of the run, and where each came from</summary>
<div class="sheet"><table>
<thead><tr><th>setting</th><th>value</th><th>from</th></tr></thead>
<tbody>
{% for key, value, origin in config %}
<tr><th scope="row"><code>{{ key }}</code></th><td><code>{{ value }}</code></td><td class="soft">{{ origin }}</td></tr>
{% endfor %}</tbody></table></div></details>{% endif %}

<h2>How to read this</h2>
<ul class="plain">
{% for note in notes %}<li>{{ note }}</li>{% endfor %}
<li>An interval says where the true value lies, were there endlessly many such rows: {{ confidence }} of such
intervals hold it.</li>
{% if comparing %}
<li><b>Better</b> and <b>worse</b>: the whole interval of the difference lies on one side of 0, and a test on the
paired rows confirms it. <b>Equivalent</b>: the whole interval lies within the margin. <b>Cannot tell</b>: neither; more
rows are needed, and nothing is said about which model is better.</li>
<li><b>Smallest visible</b>: with so many rows, a smaller true difference is missed more often than one time in
five.</li>
{% endif %}
</ul>
<footer>Report {{ report_id }}. Every row with all answers and scores is in the JSON of this report.</footer>
</main>
</body>
</html>
"""
