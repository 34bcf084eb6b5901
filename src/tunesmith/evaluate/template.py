"""The report page: one self-contained document. Everything that is filled in is escaped by the template engine."""

TEMPLATE = """{% extends "frame" %}
{% block page %}
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
<div class="sheet stack{{ ' many' if many }}"><table>
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
{% if standing %}<p class="soft"><b>{{ standing.kind|capitalize }}</b>: {{ standing.reason }}.</p>{% endif %}
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

{% if slices %}
<h2>Parts of the rows</h2>
<p class="about">{{ primary }} on each part alone, corrected for the number of parts.</p>
<div class="sheet"><table>
<thead><tr><th>part</th><th>rows</th><th>change</th><th>interval of the difference</th><th>verdict</th></tr></thead>
<tbody>{% for part in slices %}
<tr><th scope="row">{{ part.name }}{% if many %}<small>{{ part.candidate }}</small>{% endif %}</th>
<td class="num">{{ part.rows }}</td><td class="num">{{ part.change }}</td><td class="num">{{ part.range }}</td>
<td>{{ chip(part.verdict) }}</td></tr>
{% endfor %}</tbody></table></div>
{% endif %}

{% if gates %}
<h2>Gates</h2>
<p class="about">What a model has to answer for besides quality. “Not measured” and “cannot tell” are not a pass.</p>
<div class="sheet"><table><tbody>{% for gate in gates %}
<tr><td class="narrow">{{ chip(gate.verdict) }}</td>
<th scope="row">{{ gate.name }}<small class="wide">{{ gate.sentence }}</small>
{% for name, value in gate.figures %}<small class="wide num">{{ name }}: {{ value }}</small>
{% endfor %}{% for note in gate.notes %}<small class="wide">{{ note }}</small>
{% endfor %}</th></tr>
{% endfor %}</tbody></table></div>
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
{{ voices(item) }}<p class="about"><a href="#{{ item.anchor }}">in the list of all rows</a></p></details>
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

<h2>All rows</h2>
<details><summary>{{ appendix|length }} rows with every answer{% if left_out %}; {{ left_out }} more are in the JSON of
this report{% endif %}</summary>
<div class="sheet"><table>
<thead><tr><th>row</th><th>question and wanted answer</th>
{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for item in appendix %}
<tr id="{{ item.anchor }}"><td class="num">{{ item.number }}<small>{{ item.source }}</small></td>
<td>{{ item.question }}<small>{{ item.wanted }}</small></td>
{% for voice in item.voices %}<td>{{ voice.answer }}<small class="num">{{ voice.score }}</small></td>
{% endfor %}</tr>
{% endfor %}</tbody></table></div></details>

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
{% endblock %}
"""
