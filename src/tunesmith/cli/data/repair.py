"""``tunesmith data repair``: what the findings propose, done in a new version of the data; nothing is deleted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.data.request import (
    ColumnOption,
    FilesArgument,
    FormatOption,
    ModelOption,
    Request,
    request,
    styled,
    tagger_of,
)

if TYPE_CHECKING:
    from tunesmith.core.records import Finding, Source
    from tunesmith.core.store import Workspace
    from tunesmith.curate import DatasetSpec, DataVersion, Found

OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="File of the new version, or a folder; else NAME.repaired.jsonl."),
]
KindOption = Annotated[list[str] | None, typer.Option("--kind", help="Actions of this check only; may be repeated.")]
RestoreOption = Annotated[
    list[str] | None, typer.Option("--restore", help="Id of a row to bring back from quarantine; may be repeated.")
]
RestoreKindOption = Annotated[
    list[str] | None, typer.Option("--restore-kind", help="Bring back all rows of this check; may be repeated.")
]


def repair(
    files: FilesArgument,
    out: OutOption = None,
    all: Annotated[bool, typer.Option("--all", help="Do everything that is proposed.")] = False,
    kind: KindOption = None,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Ask for every finding.")] = False,
    restore: RestoreOption = None,
    restore_kind: RestoreKindOption = None,
    model: ModelOption = "",
    format: FormatOption = "auto",
    column: ColumnOption = None,
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Do what the findings propose, in a new version; without a choice, say what that would be."""
    with session(json) as console:
        from tunesmith.core.store import Workspace

        coming_back = bool(restore or restore_kind)
        _refuse_two_choices(all, bool(kind), interactive, coming_back, json)
        asked = request(console, files, model, None, format, column or [], set or [])
        work = _Work(console, asked, Workspace.open(), _targets(asked, out))
        if coming_back:
            work.restore(restore or [], restore_kind or [])
            return
        proposals = work.proposals()
        if not (all or kind or interactive):
            _list(console, proposals)
            return
        chosen = _ask(console, proposals) if interactive else _of_kinds(proposals, None if all else kind)
        work.repair(chosen)


class _Work:
    """One command: what was asked for, and where the results go."""

    def __init__(self, console: Console, asked: Request, workspace: Workspace, targets: Mapping[str, Path]) -> None:
        from tunesmith import curate

        self.console, self.asked, self.workspace, self.targets = console, asked, workspace, targets
        inputs = [Path(spec.path) for spec in asked.config.datasets]
        for target in targets.values():
            curate.refuse_overwriting(target, inputs, workspace)
        self.before: dict[str, Found | None] = {
            spec.path: curate.version_of(Path(spec.path), workspace) for spec in asked.config.datasets
        }

    def proposals(self) -> list[Finding]:
        """What the checks propose, without what a person has undone before."""
        from tunesmith import curate

        asked = self.asked
        config, tagger = asked.config, tagger_of(asked.config)
        found = curate.examine(
            config, asked.renderer, asked.max_length, self.console.emit, asked.context, tagger=tagger
        )
        if found.unreadable:
            raise found.unreadable[0]
        return curate.proposed(found.findings)

    def repair(self, chosen: Sequence[Finding]) -> None:
        """Decide, write the versions, and say what was done."""
        from tunesmith import curate

        keepers = {path: curate.kept_by(found) for path, found in self.before.items()}

        def kept(row: Source, check: str) -> bool:
            return row.path in keepers and keepers[row.path](row, check)

        decision = curate.decide(chosen, kept)
        versions: dict[str, DataVersion | None] = {}
        for spec in self.asked.config.datasets:
            made = curate.repair(spec, self.before[spec.path], decision, self.workspace, self.console.emit)
            versions[spec.path] = made
        self._finish(versions, len(decision.left_undone))

    def restore(self, ids: Sequence[str], kinds: Sequence[str]) -> None:
        """Bring rows back in a new version."""
        from tunesmith import curate

        spec = self._only_version()
        found = self.before[spec.path]
        assert found is not None
        entries = curate.chosen_entries(found, ids, kinds, spec.path)
        self._finish({spec.path: curate.restore(spec, found, entries, self.workspace, self.console.emit)}, 0)

    def _only_version(self) -> DatasetSpec:
        from tunesmith.core.errors import InputError

        specs = self.asked.config.datasets
        if len(specs) != 1 or self.before[specs[0].path] is None:
            raise InputError(
                "rows come back to one version of a data file",
                where=", ".join(spec.path for spec in specs),
                rule="--restore takes one file that tunesmith data repair wrote, with its .version.json beside it",
                fix="name the repaired file",
            )
        return specs[0]

    def _finish(self, versions: Mapping[str, DataVersion | None], undone: int) -> None:
        from tunesmith import curate

        told = []
        for path, version in versions.items():
            if version is None:
                self.console.print(f"{path}: nothing to do; it stays as it is")
                continue
            out = self.targets[path]
            curate.write_out(version, self.workspace, out)
            steps = version.steps[-_new_steps(version, self.before[path]) :]
            self.console.print(f"{path} → {out}: {version.rows:,} rows, {version.in_quarantine:,} in quarantine")
            self.console.print(*(f"  {step.action:<10}  {step.rows:>6,}  {step.check}" for step in steps))
            told.append({"source": path, "path": str(out), **version.model_dump(mode="json")})
        if undone:
            self.console.print(f"not done: {undone} edits of words that another edit changes as well; run it again")
        if told:
            self.console.print("", "what was put aside: *.quarantine.jsonl; bring a row back with --restore ID")
        self.console.result({"versions": told, "left_undone": undone})


def _new_steps(version: DataVersion, before: Found | None) -> int:
    return len(version.steps) - (len(before.version.steps) if before else 0)


def _targets(asked: Request, out: Path | None) -> dict[str, Path]:
    """Data file → file of its new version."""
    from tunesmith import curate
    from tunesmith.core.errors import InputError

    paths = [spec.path for spec in asked.config.datasets]
    if out is not None and out.suffix == ".jsonl":
        if len(paths) > 1:
            raise InputError(
                f"{len(paths)} files cannot become one version",
                where="--out",
                rule="each data file has versions of its own",
                fix="give a folder with --out",
            )
        return {paths[0]: out}
    if out is not None:
        names = [f"{curate.stem_of(Path(path))}.jsonl" for path in paths]
        if len({*names}) < len(names):
            raise InputError(
                "two data files would have the same name in the folder",
                where="--out",
                rule="a version is called like its data file, with the suffix .jsonl",
                fix="repair the files one at a time, each with an --out of its own",
            )
        return {path: out / name for path, name in zip(paths, names, strict=True)}
    return {path: Path(path).with_name(_next_name(curate.stem_of(Path(path)))) for path in paths}


def _next_name(stem: str) -> str:
    """``a`` → ``a.repaired.jsonl`` → ``a.repaired-2.jsonl``."""
    match = re.fullmatch(r"(.*)\.repaired(?:-(\d+))?", stem)
    return f"{match[1]}.repaired-{int(match[2] or 1) + 1}.jsonl" if match else f"{stem}.repaired.jsonl"


def _refuse_two_choices(all: bool, kind: bool, interactive: bool, restore: bool, json: bool) -> None:
    from tunesmith.core.errors import InputError

    given = [name for name, on in (("--all", all), ("--kind", kind), ("--interactive", interactive)) if on]
    given += ["--restore"] if restore else []
    if len(given) > 1 or (interactive and json):
        raise InputError(
            f"{' and '.join([*given, *(['--json'] if interactive and json else [])])} do not go together",
            where="data repair",
            rule="what is to be done is chosen in one way",
            fix="choose one: everything, some checks, one by one at the terminal, or bringing rows back",
        )


def _of_kinds(proposals: Sequence[Finding], kinds: Sequence[str] | None) -> list[Finding]:
    from tunesmith.core.errors import InputError
    from tunesmith.core.registry import nearest

    known = sorted({finding.check for finding in proposals})
    for kind in kinds or ():
        if kind not in known:
            near = nearest(kind, known)
            raise InputError(
                f"no finding of {kind!r} proposes an action",
                where="--kind",
                rule=f"checks that propose something here: {', '.join(known) or 'none'}",
                fix=f"did you mean {near[0]!r}?" if near else "run it without --kind to see what is proposed",
            )
    return [finding for finding in proposals if kinds is None or finding.check in kinds]


def _list(console: Console, proposals: Sequence[Finding]) -> None:
    """What could be done, by check; nothing is written."""
    from tunesmith.core.records import Action

    counts = Counter((finding.check, (finding.action or Action(kind="edit")).kind) for finding in proposals)
    if not proposals:
        console.print("no finding proposes an action")
    for (check, kind), number in sorted(counts.items()):
        console.print(f"{number:>6,}  {kind:<10}  {check}")
    if proposals:
        console.print("", "nothing was written; do it with --all, --kind NAME or --interactive")
    proposed = [
        {"check": check, "action": kind, "findings": number} for (check, kind), number in sorted(counts.items())
    ]
    console.result({"proposed": proposed, "findings": list(proposals), "versions": []})


def _ask(console: Console, proposals: Sequence[Finding]) -> list[Finding]:
    """One question a finding: yes, no, all or none of its check, or the end of the questions."""
    chosen: list[Finding] = []
    decided: dict[str, bool] = {}
    for finding in proposals:
        if finding.check not in decided:
            console.print(styled(f"{finding.source}  {finding.check} ({finding.severity})", "bold"), finding.message)
            if finding.evidence:
                console.print(f"  {finding.evidence}")
            answer = _key(console, _says(finding))
            if answer == "q":
                break
            if answer in ("a", "s"):
                decided[finding.check] = answer == "a"
            if answer == "y":
                chosen.append(finding)
        if decided.get(finding.check):
            chosen.append(finding)
    return chosen


def _says(finding: Finding) -> str:
    assert finding.action is not None
    number = len(finding.action.rows or finding.action.edits)
    if finding.action.kind == "quarantine":
        return f"put {number} row{'s' * (number != 1)} aside"
    return f"make {number} edit{'s' * (number != 1)}"


def _key(console: Console, what: str) -> str:
    console.print(f"{what}? [y]es [n]o [a]ll of this check [s]kip this check [q]uit asking")
    while True:
        try:
            answer = input("> ").strip().lower()[:1]
        except EOFError:
            return "q"
        if answer in ("y", "n", "a", "s", "q"):
            return answer
