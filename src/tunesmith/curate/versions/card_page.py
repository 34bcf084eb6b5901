"""A card as a page in Markdown, with the table of Art. 10 of the AI Act (Regulation (EU) 2024/1689)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tunesmith.curate.provenance import Provenance
from tunesmith.curate.versions.card import DataCard, SourceFacts

MISSING = "**MISSING**"


def to_markdown(card: DataCard) -> str:
    """The readable page."""
    notes = card.notes
    name = notes.name or card.sources[0].name
    audited = card.audit.sentence if card.audit else "not measured: no audit was given"
    parts = [
        [f"# {_line(name)}", "", _text(notes.description), "", f"Identity of rows and splits: `{card.digest}`"],
        ["## Rows", "", *_rows(card)],
        ["## Sources", "", *_sources(card.sources)],
        ["## What was done to them", "", *_steps(card.sources)],
        ["## What was found", "", *_findings(card)],
        ["## Errors, as people read them", "", audited],
        ["## Purpose", "", _text(notes.purpose)],
        ["## AI Act, Art. 10", "", *_article_10(card)],
    ]
    absent = sum(line.count(MISSING) for part in parts for line in part)
    ending = f"{absent} statements are missing. What is marked so was said by nobody, and nothing was put in its place."
    return "\n\n".join("\n".join(part) for part in parts) + f"\n\n---\n\n{ending}\n"


def _text(said: str) -> str:
    return _line(said) if said else MISSING


def _line(text: str) -> str:
    """Text of people in one line, so that it cannot break the page apart."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def _rows(card: DataCard) -> Iterator[str]:
    yield from _table(["split", "rows"], [*card.splits.items(), ("all", card.rows)])
    question, answer = card.question_characters, card.answer_characters
    yield ""
    yield f"A question has {question[0]} characters (median), at most {question[1]};"
    yield f"an answer {answer[0]}, at most {answer[1]}."
    if card.subjects:
        yield f"The rows are about {card.subjects} persons, by the columns that say so."


def _sources(sources: Sequence[SourceFacts]) -> Iterator[str]:
    for source in sources:
        given = f", all in {source.split}" if source.split else ""
        yield f"### {_line(source.name)}"
        yield ""
        yield f"{source.rows} rows, {source.format}{given}, {source.size} bytes, SHA-256 `{source.sha256}`"
        yield ""
        said = source.provenance or Provenance()
        lines = []
        for field in Provenance.model_fields:
            value = said.model_dump()[field]
            needed = field in source.missing or field == "tdm_opt_out"
            lines.append((field.replace("_", " "), _line(value) if value else MISSING if needed else "not needed"))
        yield from _table(["statement", "value"], lines)
        yield ""


def _steps(sources: Sequence[SourceFacts]) -> Iterator[str]:
    steps = [
        (_line(source.name), step.action, step.rows, _line(step.check), f"`{step.chain[:12]}`")
        for source in sources
        for step in source.steps
    ]
    if steps:
        yield from _table(["file", "step", "rows", "check", "chain"], steps)
        yield ""
        yield f"In quarantine: {sum(source.in_quarantine for source in sources)} rows. Nothing was deleted."
    else:
        yield "Nothing is recorded: the files are no versions of `tunesmith data repair`."


def _findings(card: DataCard) -> Iterator[str]:
    if card.checks is None:
        yield "not measured: no report of `tunesmith data check` was given"
        return
    words = {True: "ok", False: "errors", None: "not checked"}
    checks = [(_line(check.name), words[check.passed], _line(check.detail)) for check in card.checks]
    yield from _table(["check", "result", "what it says"], checks)


def _article_10(card: DataCard) -> Iterator[str]:
    """Paragraph by paragraph: what the files and people say, and what nobody does."""
    notes = card.notes
    unsaid = sorted({field for source in card.sources for field in source.missing})
    origin = f"{MISSING}: {', '.join(unsaid).replace('_', ' ')}" if unsaid else "see Sources"
    quantity = f"{card.rows} rows; " + _text(notes.suitability)
    quality = card.audit.sentence if card.audit else f"{MISSING} (an audit)"
    done = "see What was done to them" if any(s.steps for s in card.sources) else "no step is recorded"
    checked = "; see What was found" if card.checks is not None else f"; {MISSING} (a report of the checks)"
    yield from _table(
        ["paragraph", "asks for", "here"],
        [
            ("10(2)(a)", "design choices", _text(notes.design_choices)),
            ("10(2)(b)", "collection, origin, purpose of personal data", origin),
            ("10(2)(c)", "preparation: labelling, cleaning, enrichment", done + checked),
            ("10(2)(d)", "assumptions", _text(notes.assumptions)),
            ("10(2)(e)", "availability, quantity, suitability", quantity),
            ("10(2)(f)", "examination of biases", _text(notes.biases)),
            ("10(2)(g)", "measures against biases", _text(notes.mitigation)),
            ("10(2)(h)", "gaps and shortcomings", _text(notes.gaps)),
            ("10(3)", "relevant, representative, free of errors, complete", quality),
            ("10(4)", "geographical, contextual, behavioural setting", _text(notes.setting)),
        ],
    )
