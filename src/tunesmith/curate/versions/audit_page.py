"""The page on which a reviewer reads a sample: one file that needs no network and sends nothing anywhere.

Decisions stay in the browser until they are saved as a file, which ``tunesmith data audit --result`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.records import Example
from tunesmith.curate.versions.audit import Sample, texts
from tunesmith.text.page import STYLE

_OWN = """
.turn { border-top: 1px solid var(--line); padding: 12px 18px; } .turn:first-child { border-top: 0; }
.turn b { display: block; color: var(--soft); font-weight: 500; font-size: 13.5px; margin-bottom: 2px; }
.turn div { white-space: pre-wrap; overflow-wrap: anywhere; } .turn.answer { background: var(--sunken); }
.bar { margin: 14px 0; } .bar i { background: var(--after); }
.keys { display: flex; flex-wrap: wrap; gap: 8px; margin: 18px 0; align-items: center; }
button { font: inherit; padding: 8px 16px; border-radius: 8px; border: 1px solid var(--line); cursor: pointer;
  background: var(--card); color: var(--ink); }
button:hover { border-color: var(--soft); } button.good { color: var(--good); } button.bad { color: var(--bad); }
button.unclear { color: var(--unsure); } button[aria-pressed=true] { outline: 2px solid currentColor; }
input { font: inherit; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--line); background: var(--card);
  color: var(--ink); } input.note { flex: 1; min-width: 220px; } kbd { color: var(--soft); font-size: 13px; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Review of a sample</title>
<style>%(style)s</style>
</head>
<body>
<main>
<header class="top"><span>tunesmith data audit</span><span id="count"></span></header>
<h1>Is this a right answer to this question?</h1>
<p class="lead">Good: you would be content if the model answered so. Bad: you would not. Unclear: you cannot tell.</p>
<p class="about">Your name: <input id="name" autocomplete="off" placeholder="needed first"></p>
<div class="bar"><i id="done"></i></div>
<div class="sheet" id="row"></div>
<div class="keys">
<button class="good" data-mark="good">Good <kbd>g</kbd></button>
<button class="bad" data-mark="bad">Bad <kbd>b</kbd></button>
<button class="unclear" data-mark="unclear">Unclear <kbd>u</kbd></button>
<button id="back">Back <kbd>←</kbd></button>
<button id="next">Next <kbd>→</kbd></button>
<input class="note" id="note" placeholder="a note about this row (optional)">
</div>
<p><button id="save">Save decisions as a file</button></p>
<footer>Nothing leaves this page by itself. Decisions stay in this browser until they are saved.</footer>
</main>
<script type="application/json" id="data">%(data)s</script>
<script>%(script)s</script>
</body>
</html>
"""

_SCRIPT = """
"use strict";
const {sample, sampleId, rows} = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const key = name => "tunesmith-audit-" + sampleId + "-" + name;
let here = 0, marks = {};
function load() {
  try { marks = JSON.parse(localStorage.getItem(key(at("name").value)) || "{}"); } catch { marks = {}; }
  const first = rows.findIndex(row => !marks[row.row]);
  here = first < 0 ? 0 : first;
  show();
}
function keep() {
  try { localStorage.setItem(key(at("name").value), JSON.stringify(marks)); } catch { /* saved by the button alone */ }
}
function show() {
  const row = rows[here], done = rows.filter(row => marks[row.row]).length, mark = marks[row.row] || {};
  at("row").replaceChildren(...row.turns.map(([who, what], i) => {
    const [turn, name, text] = ["div", "b", "div"].map(tag => document.createElement(tag));
    turn.className = i + 1 === row.turns.length ? "turn answer" : "turn";
    name.textContent = who; text.textContent = what;
    turn.append(name, text);
    return turn;
  }));
  at("count").textContent = `row ${here + 1} of ${rows.length}, ${done} decided (${row.source})`;
  at("done").style.width = 100 * done / rows.length + "%";
  at("note").value = mark.note || "";
  for (const button of document.querySelectorAll("[data-mark]"))
    button.setAttribute("aria-pressed", button.dataset.mark === mark.mark);
}
function move(step) { here = Math.min(Math.max(here + step, 0), rows.length - 1); show(); }
function decide(mark) {
  if (!at("name").value.trim()) { at("name").focus(); return; }
  marks[rows[here].row] = {mark, note: at("note").value};
  keep();
  move(1);
}
function save() {
  const reviewer = at("name").value.trim();
  if (!reviewer) { at("name").focus(); return; }
  const decisions = rows.filter(row => marks[row.row]).map(row => (
    {sample: sampleId, row: row.row, id: row.id, reviewer, ...marks[row.row]}));
  const link = document.createElement("a");
  const file = new Blob([JSON.stringify({audit: {sample, decisions}})], {type: "application/json"});
  link.href = URL.createObjectURL(file);
  link.download = `decisions-${sampleId}-${reviewer.replace(/[^\\w-]+/g, "-")}.json`;
  link.click();
}
for (const button of document.querySelectorAll("[data-mark]"))
  button.addEventListener("click", () => decide(button.dataset.mark));
at("back").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("save").addEventListener("click", save);
at("name").addEventListener("change", load);
at("note").addEventListener("change", () => {
  const row = rows[here].row;
  if (marks[row]) { marks[row].note = at("note").value; keep(); }
});
document.addEventListener("keydown", event => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const mark = {g: "good", b: "bad", u: "unclear"}[event.key];
  if (mark) decide(mark);
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
load();
"""


def audit_page(sample: Sample, rows: Sequence[tuple[int, Example]]) -> str:
    """The page of a sample; ``rows`` are its rows with their numbers, in the order of reviewing."""
    data: Mapping[str, Any] = {
        "sample": sample.model_dump(mode="json"),
        "sampleId": sample.id,
        "rows": [
            {"row": number, "id": example.id, "source": str(example.source), "turns": texts(example)}
            for number, example in rows
        ],
    }
    # within a script element only "<" could end it or open a comment
    embedded = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return _PAGE % {"style": STYLE + _OWN, "data": embedded, "script": _SCRIPT}
