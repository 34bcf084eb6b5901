"""The verb: read, split by content, check, and refuse or describe."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.artifacts import DatasetCard
from tunesmith.core.errors import DataError
from tunesmith.core.events import Emit, Note, Tick, ignore
from tunesmith.core.protocols import Progress, Renderer, Tagger
from tunesmith.core.records import Example, Finding, Source, Split, digest_of
from tunesmith.core.rows import TokenRows
from tunesmith.core.spool import Spool
from tunesmith.core.store import Workspace
from tunesmith.curate.checks.kept import Kept, open_kept, outside
from tunesmith.curate.checks.lengths import CUT
from tunesmith.curate.checks.observe import Setting
from tunesmith.curate.checks.quotes import error_without_values, findings_without_values
from tunesmith.curate.checks.sources import check_sources, refuse_unknown_origin
from tunesmith.curate.checks.table import MANY, Inspection, ahead, by_severity, inspect
from tunesmith.curate.config import Config, DataSet, Dataset, DatasetSpec
from tunesmith.curate.corpus import Chosen, Placed
from tunesmith.curate.measure import counted, kept_rows, select
from tunesmith.curate.personal.options import KEY_VARIABLE
from tunesmith.curate.reading.files import text_files
from tunesmith.curate.reading.place import count
from tunesmith.curate.reading.read import NO_ROWS, Reading, labels_of, open_reading, subject_column
from tunesmith.curate.split import SPLIT, Assignment, must_have_rows, place

if TYPE_CHECKING:
    from tunesmith.text.shards import Shard

MAX_UNREADABLE = 20
"""After so many rows that cannot be read, reading stops: the file is something else."""

KEPT_FINDINGS = 50
"""How many findings of each check a card keeps; the rest is counted."""


@dataclass(frozen=True)
class Examination:
    """What is in the files: the rows with their splits, what the checks found, and the rows that cannot be read."""

    examples: Sequence[Example]
    """In memory, or in a temporary file where they are many."""
    formats: Mapping[str, str]
    """Path → shape that was recognised."""
    sources: Mapping[str, str]
    """Path → SHA-256 of the file."""
    inspection: Inspection
    unused: Mapping[str, tuple[str, ...]]
    """Path → fields that are not read."""
    unreadable: tuple[DataError, ...]
    rows: Sequence[int] = ()
    """Rows of each data set, in the order of ``examples``."""
    shards: Sequence[Shard] = ()
    """The tokenised rows of each file, where there is a renderer and a workspace."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the checks found, and which fields are not read."""
        more = [
            Finding(
                check="fields that are not read",
                severity="info",
                message=f"the model will not see {', '.join(names)}",
                source=Source(path=path),
                fix="if they belong to the question or the answer, put them there, or name the columns",
            )
            for path, names in self.unused.items()
            if names
        ]
        return (*self.inspection.findings, *more)

    @property
    def kept(self) -> Sequence[Example]:
        """The rows without those that are left out for their length."""
        left_out = self.inspection.left_out
        return Chosen(self.examples, lambda example: example.id not in left_out) if left_out else self.examples


def run(
    config: Config,
    renderer: Renderer | None = None,
    max_length: int | None = None,
    emit: Emit = ignore,
    context: int | None = None,
    workspace: Workspace | None = None,
    tagger: Tagger | None = None,
    judged: bool = True,
) -> Dataset:
    """The data set that a configuration describes: read, split by content, checked.

    Args:
        config: the files and the shares of the splits.
        renderer: makes tokens of the rows; without it lengths and trained tokens are not checked.
        max_length: longest row in tokens.
        emit: receives progress.
        context: longest row that the model could take, in tokens; for advice.
        workspace: where the tokenised rows are kept, and found again at the next start.
        tagger: the model of names, where one is configured.
        judged: rows are needed that only the verdict sees.

    Raises:
        DataError: a file or a row cannot be read, a finding at error level stands (the worst are listed), or a split
            gets no row.
    """
    refuse_unknown_origin(config)
    found = examine(config, renderer, max_length, emit, context, workspace, training=True, tagger=tagger)
    if found.unreadable:
        raise _together(found.unreadable)
    findings = found.findings
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise _refusal(errors, len(found.examples))
    kept = tuple(found.kept)
    left_out = len(found.examples) - len(kept)
    if left_out:
        emit(Note(text=f"left out {count(left_out, 'row')} longer than max_length {max_length}", level="warning"))
    for finding in findings:
        if finding.check == CUT:
            emit(Note(text=finding.message))
    must_have_rows(kept, config, judged)
    tokens, sets = _tokens(found, config)
    rows = Counter(str(example.split) for example in kept)
    card = DatasetCard(
        digest=_digest(kept, found.rows, config),
        sources=found.sources,
        formats=found.formats,
        rows={name: rows[name] for name in ("train", "validation", "test")},
        findings=capped(findings),
    )
    return Dataset(card=card, examples=kept, tokens=tokens, sets=sets)


def _digest(kept: Sequence[Example], counts: Sequence[int], config: Config) -> str:
    """Identity of the rows, their splits, and how often an epoch shows them."""
    rows = [[example.id, example.split] for example in kept]
    mix = [[rows, spec.weight, spec.replay] for rows, spec in zip(counts, config.datasets, strict=True)]
    is_plain = all(weight == 1 and replay is None for _, weight, replay in mix)
    return digest_of(rows if is_plain else [rows, mix])


def _tokens(found: Examination, config: Config) -> tuple[dict[str, TokenRows], tuple[DataSet, ...]]:
    """Tokenised rows of every split, and the share of each file in those that train."""
    if not found.shards:
        return {}, ()
    left_out = found.inspection.left_out
    tokens: dict[str, TokenRows] = {}
    counts: dict[str, list[int]] = {}
    for split in ("train", "validation", "test"):
        wanted = [example.split == split and example.id not in left_out for example in found.examples]
        tokens[split], counts[split] = select(found.shards, wanted)
    pairs = zip(config.datasets, counts["train"], strict=True)
    return tokens, tuple(DataSet(spec.path, n, spec.weight, spec.replay) for spec, n in pairs)


def examine(
    config: Config,
    renderer: Renderer | None = None,
    max_length: int | None = None,
    emit: Emit = ignore,
    context: int | None = None,
    workspace: Workspace | None = None,
    *,
    training: bool = False,
    tagger: Tagger | None = None,
    resume: Callable[[], Workspace] | None = None,
) -> Examination:
    """Read and check everything, and judge nothing: errors of rows come back in the result.

    ``training``: only the checks that run before every training. ``tagger``: the configured model of names. ``resume``
    opens the workspace where the finished parts of a check of many rows lie until all of it is done, so that one that
    was interrupted goes on.

    Raises:
        DataError: a file cannot be read at all, or ``MAX_UNREADABLE`` of its rows cannot.
    """
    read = _read_all(config, emit)
    kept = None
    if resume and len(read.examples) >= MANY and not read.unreadable:
        seen_by = [renderer.digest if renderer else "", max_length, context, tagger.name if tagger else ""]
        kept = open_kept(resume, list(read.sources), [_follows_from(config, read), seen_by], emit)
    setting = Setting(
        options=config.checks,
        renderer=renderer,
        max_length=max_length,
        on_too_long=config.on_too_long,
        context=context,
        has_splits=True,
        tagger=tagger,
    )
    with ahead(read.examples, setting, training=training, kept=kept) as beside:
        shards: Sequence[Shard] = ()
        if renderer and workspace and not read.unreadable:
            names = [Path(spec.path).name for spec in config.datasets]
            groups = [read.examples[start:end] for start, end in pairwise(read.ends)]
            shards = kept_rows(list(zip(names, groups, strict=True)), renderer, max_length, workspace, emit) or ()
        assigned = _placed(read.examples, config, emit, kept)
        setting = replace(setting, measured=counted(shards) if shards else None, apart=assigned.apart)
        placed = Placed(read.examples, assigned.splits)
        inspection = inspect(placed, setting, emit, training=training, kept=kept, beside=beside)
    if kept:
        kept.forget()
    lines, findings = check_sources(config, read.without_subject)
    findings = by_severity((*inspection.findings, *findings_without_values(assigned.findings), *findings))
    inspection = replace(inspection, checks=(*inspection.checks, *lines), findings=findings)
    rows = tuple(end - start for start, end in pairwise(read.ends))
    unreadable = tuple(read.unreadable)
    return Examination(placed, read.formats, read.sources, inspection, read.unused, unreadable, rows, shards)


def _follows_from(config: Config, read: _Read) -> list[Any]:
    """Everything in the files and the options that results follow from, as JSON."""
    options = config.model_dump(mode="json")
    key = hashlib.sha256(os.environ.get(KEY_VARIABLE, "").encode("utf-8", "surrogateescape")).hexdigest()
    return [options, read.sources, outside(options["checks"]), key]


def _placed(examples: Sequence[Example], config: Config, emit: Emit, kept: Kept | None) -> Assignment:
    """The split of every row, from an earlier start if that came so far."""
    lines = kept.part(SPLIT) if kept else None
    with suppress(ValueError, KeyError):
        if lines and len(lines) > 1 and len(lines[0]) == len(examples):
            about = json.loads(lines[1])
            findings = tuple(Finding.model_validate(one) for one in about["findings"])
            return Assignment([_SPLITS[letter] for letter in lines[0]], findings, about["apart"])
    assigned = place(examples, config, _ticks(emit, "splitting rows"))
    if kept:
        letters = {split: letter for letter, split in _SPLITS.items()}
        findings = [one.model_dump(mode="json") for one in assigned.findings]
        about = {"findings": findings, "apart": assigned.apart}
        kept.keep(SPLIT, ["".join(letters[split] for split in assigned.splits), json.dumps(about)])
    return assigned


_SPLITS: Mapping[str, Split] = {"t": "train", "v": "validation", "e": "test", "x": "vault"}


@dataclass
class _Read:
    """The rows of all files, and what each file is."""

    examples: Spool[Example] = field(default_factory=lambda: Spool(Example))
    ends: list[int] = field(default_factory=lambda: [0])
    formats: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    unused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: list[DataError] = field(default_factory=list)
    without_subject: Counter[str] = field(default_factory=Counter)

    def report(self, error: DataError) -> None:
        """A row that cannot be read; too many of them end the reading."""
        self.unreadable.append(error_without_values(error))
        if len(self.unreadable) >= MAX_UNREADABLE:
            raise _together(self.unreadable)


def _read_all(config: Config, emit: Emit) -> _Read:
    """Every row that can be read, file after file."""
    read = _Read()
    labels = labels_of(config)
    for spec in config.datasets:
        ticks = _ticks(emit, f"reading {Path(spec.path).name}")
        reading = _opened(spec, read, progress=ticks, labels=labels)
        read.formats[spec.path], read.unused[spec.path] = reading.format, reading.unused
        for example in reading.examples:
            read.examples.append(example)
            read.without_subject[spec.path] += bool(subject_column(spec)) and not example.subject
        read.ends.append(len(read.examples))
        read.sources[spec.path] = content_digest(Path(spec.path))
    read.examples.settle()
    return read


def _opened(spec: DatasetSpec, read: _Read, **how: Any) -> Reading:
    before = len(read.unreadable)
    try:
        return open_reading(spec, report=read.report, **how)
    except DataError as error:
        if error.code == NO_ROWS and read.unreadable[before:]:  # there are rows, and none can be read: why, is the news
            raise _together(read.unreadable[before:]) from None
        raise error_without_values(error) from None


def content_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder of texts, of the names and digests of its files."""
    if path.is_dir():
        return digest_of({text.name: content_digest(text) for text in text_files(path)})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ticks(emit: Emit, task: str) -> Progress:
    return lambda done, total: emit(Tick(task=task, done=done, total=total))


def capped(findings: Sequence[Finding], limit: int = KEPT_FINDINGS) -> tuple[Finding, ...]:
    """At most ``limit`` findings of each check, and one line for the rest."""
    seen: Counter[str] = Counter()
    kept = []
    for finding in findings:
        seen[finding.check] += 1
        if seen[finding.check] <= limit:
            kept.append(finding)
    more = {check: n - limit for check, n in seen.items() if n > limit}
    return (*kept, *(Finding(check=name, severity="info", message=f"{n} more") for name, n in more.items()))


def _together(errors: Sequence[DataError]) -> DataError:
    """The first error, and where the others are."""
    first = errors[0]
    if len(errors) == 1:
        return first
    others = ", ".join(error.where for error in errors[1:4]) + (", …" if len(errors) > 4 else "")
    more = "at least " if len(errors) >= MAX_UNREADABLE else ""
    what = f"{first.what}\n  ({more}{count(len(errors) - 1, 'more row')} cannot be read: {others})"
    return DataError(what, where=first.where, rule=first.rule, fix=first.fix, code=first.code)


def _refusal(errors: Sequence[Finding], rows: int) -> DataError:
    """One error for all findings at error level; the worst stand first."""
    counts = Counter(finding.check for finding in errors)
    what = f"{len(errors)} of {rows} rows have errors: " + ", ".join(f"{name} ({n})" for name, n in counts.items())
    shown = errors[:5]
    lines = [f"\n  {finding.source} {finding.check}: {finding.message}" for finding in shown]
    more = f"\n  … and {len(errors) - len(shown)} more: tunesmith data check" if len(errors) > len(shown) else ""
    fixes = list(dict.fromkeys(finding.fix for finding in errors))
    return DataError(
        what + "".join(lines) + more,
        where=str(errors[0].source),
        rule="no row with an error is trained or judged on",
        fix="; ".join(fixes[:3]),
    )
