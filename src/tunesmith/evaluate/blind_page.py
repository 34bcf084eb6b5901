"""The page of a blind comparison: one file that needs no network and sends nothing anywhere."""

STYLE_OWN = """
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; margin-top: 14px; }
.side { white-space: pre-wrap; overflow-wrap: anywhere; padding: 14px 18px; }
#question { white-space: pre-wrap; overflow-wrap: anywhere; padding: 14px 18px; }
.keys { display: flex; flex-wrap: wrap; gap: 8px; margin: 18px 0; align-items: center; }
button { font: inherit; padding: 8px 16px; border-radius: 8px; border: 1px solid var(--line); cursor: pointer;
  background: var(--card); color: var(--ink); }
button:hover { border-color: var(--soft); } button[aria-pressed=true] { outline: 2px solid currentColor; }
input { font: inherit; padding: 8px 12px; border-radius: 8px; border: 1px solid var(--line); background: var(--card);
  color: var(--ink); } input.note { flex: 1; min-width: 220px; } kbd { color: var(--soft); font-size: 13px; }
.bar { margin: 14px 0; } .bar i { background: var(--after); }
@media (max-width: 700px) { .sides { grid-template-columns: 1fr; } }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Two answers to each question</title>
<style>%(style)s</style>
</head>
<body>
<main>
<header class="top"><span>Blind comparison</span><span id="count"></span></header>
<h1>Which answer would you rather give?</h1>
<p class="about">Sides are drawn anew for every question. Your name: <input id="name" autocomplete="off"
 placeholder="needed first"></p>
<div class="bar"><i id="done"></i></div>
<div class="sheet" id="question"></div>
<div class="sides"><div class="sheet side" id="left"></div><div class="sheet side" id="right"></div></div>
<div class="keys">
<button data-choice="left">Left <kbd>1</kbd></button>
<button data-choice="same">Same <kbd>2</kbd></button>
<button data-choice="right">Right <kbd>3</kbd></button>
<button id="back">Back <kbd>←</kbd></button>
<button id="next">Next <kbd>→</kbd></button>
<input class="note" id="note" placeholder="why (optional)">
</div>
<p><button id="save">Save decisions as a file</button></p>
<footer>Nothing leaves this page by itself. Decisions stay in this browser until they are saved.</footer>
</main>
<script type="application/json" id="data">%(data)s</script>
<script>%(script)s</script>
</body>
</html>
"""

SCRIPT = """
"use strict";
const {report, rows} = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const key = name => "tunesmith-blind-" + report + "-" + name;
let here = 0, made = {};
function load() {
  try { made = JSON.parse(localStorage.getItem(key(at("name").value)) || "{}"); } catch { made = {}; }
  const first = rows.findIndex(row => !made[row.row]);
  here = first < 0 ? 0 : first;
  show();
}
function keep() {
  try { localStorage.setItem(key(at("name").value), JSON.stringify(made)); } catch { /* saved by the button alone */ }
}
function show() {
  const row = rows[here], done = rows.filter(row => made[row.row]).length, mine = made[row.row] || {};
  for (const part of ["question", "left", "right"]) at(part).textContent = row[part];
  at("count").textContent = `question ${here + 1} of ${rows.length}, ${done} decided`;
  at("done").style.width = 100 * done / rows.length + "%";
  at("note").value = mine.reason || "";
  for (const button of document.querySelectorAll("[data-choice]"))
    button.setAttribute("aria-pressed", button.dataset.choice === mine.choice);
}
function move(step) { here = Math.min(Math.max(here + step, 0), rows.length - 1); show(); }
function decide(choice) {
  if (!at("name").value.trim()) { at("name").focus(); return; }
  made[rows[here].row] = {choice, reason: at("note").value};
  keep();
  move(1);
}
function save() {
  const reviewer = at("name").value.trim();
  if (!reviewer) { at("name").focus(); return; }
  const decisions = rows.filter(row => made[row.row]).map(row => ({row: row.row, ...made[row.row]}));
  const file = new Blob([JSON.stringify({report, reviewer, decisions})], {type: "application/json"});
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `blind-${report}-${reviewer.replace(/[^\\w-]+/g, "-")}.json`;
  link.click();
}
for (const button of document.querySelectorAll("[data-choice]"))
  button.addEventListener("click", () => decide(button.dataset.choice));
at("back").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("save").addEventListener("click", save);
at("name").addEventListener("change", load);
at("note").addEventListener("change", () => {
  const row = rows[here].row;
  if (made[row]) { made[row].reason = at("note").value; keep(); }
});
document.addEventListener("keydown", event => {
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const choice = {1: "left", 2: "same", 3: "right"}[event.key];
  if (choice) decide(choice);
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
load();
"""
