"""What an interrupted check leaves behind: the results of the parts that were finished, for the next start.

A check of many rows has parts: the split, and passes over the rows that serve a few checks each. The result of a part
lies in the workspace from the moment when it is known until the whole check is done. Its name holds everything that it
follows from (the files' content, the options, the files and models that these name, our own code), so a start with
anything changed finds nothing and begins anew.

What is kept may quote rows as the findings of a check do before their personal values are taken out: it stays in the
workspace, beside the tokenised rows, and is no report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core import store
from tunesmith.core.errors import StorageError
from tunesmith.core.events import Emit, Note
from tunesmith.core.records import Finding, digest_of
from tunesmith.curate.checks.observe import Outcome

if TYPE_CHECKING:
    from tunesmith.core.store import Workspace

Seen = tuple[dict[str, list[Finding]], dict[str, Outcome]]
"""Findings and outcome of each check, by its name."""

_PARTS = "check"
_NAME = 16


@dataclass(frozen=True)
class Kept:
    """The finished parts of one check: a folder of derived data each."""

    workspace: Workspace
    files: str
    """Digest of the paths: what is checked."""
    state: str
    """Digest of everything else: what the results follow from."""

    def part(self, name: str) -> list[str] | None:
        """The lines of a part that an earlier start finished; None when none did."""
        try:
            return (self._folder(name) / "lines").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None

    def keep(self, name: str, lines: Iterable[str]) -> None:
        """Keep the lines of a part (none of them with a line end in it). A disk that is full keeps nothing."""
        try:
            self.workspace.cached(self._folder(name).name, lambda to: store.write_lines(to / "lines", lines))
        except (StorageError, ValueError):  # a full disk, half of a sign of Unicode: the check itself goes on
            return

    def found(self) -> list[str]:
        """Names of the parts that are there."""
        start = self._folder("").name
        return sorted(path.name.removeprefix(start) for path in self._all() if path.name.startswith(start))

    def forget(self, *, others: bool = False) -> None:
        """Remove what is kept of these files; ``others``: only what other contents or options left."""
        start = self._folder("").name
        for path in self._all():
            if not (others and path.name.startswith(start)):
                store.remove(path)

    def _folder(self, name: str) -> Path:
        return self.workspace.root / "cache" / f"{_PARTS}-{self.files[:_NAME]}-{self.state[: 2 * _NAME]}-{name}"

    def _all(self) -> list[Path]:
        return sorted((self.workspace.root / "cache").glob(f"{_PARTS}-{self.files[:_NAME]}-*"))


def open_kept(
    open_workspace: Callable[[], Workspace], paths: Sequence[str], follows_from: Any, emit: Emit
) -> Kept | None:
    """What an earlier start left of the check of these files; None where nothing can be kept.

    Args:
        open_workspace: opens the workspace.
        paths: the files that are checked.
        follows_from: everything that the results follow from beside our code, as JSON.
        emit: hears what was found, or why nothing can be kept.
    """
    try:
        files = digest_of([str(Path(path).absolute()) for path in paths])
        kept = Kept(open_workspace(), files, digest_of([code(), follows_from]))
    except StorageError as error:
        emit(Note(text=f"an interruption would lose everything: {error.what}: {error.where}", level="warning"))
        return None
    kept.forget(others=True)
    if parts := kept.found():
        emit(Note(text=f"an earlier check of these files was interrupted: taken from there: {', '.join(parts)}"))
    return kept


@cache
def code() -> str:
    """Digest of our own source: another version may find other things."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for part in ("core", "text", "curate"):
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def outside(options: Any) -> Mapping[str, str]:
    """Path → digest of every file that options name; of a folder, names and sizes and times of its files."""
    found: dict[str, str] = {}
    for text in _texts(options):
        path = Path(text)
        try:
            if path.is_file():
                found[text] = store.file_digest(path)
            elif path.is_dir():
                stats = [(str(inner), inner.stat()) for inner in sorted(path.rglob("*")) if inner.is_file()]
                found[text] = digest_of([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])
        except (OSError, ValueError):  # no path at all: a pattern, a schema
            continue
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield from [value] if value and "\n" not in value and len(value) < 4096 else []
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def to_lines(seen: Seen) -> Iterable[str]:
    """The results of a pass: of each check its outcome, then its findings, a line each."""
    found, outcomes = seen
    for name, outcome in outcomes.items():
        about = {"check": name, "remark": outcome.remark, "not_checked": outcome.not_checked}
        about |= {"figures": outcome.figures, "rows": list(outcome.rows), "findings": len(found[name])}
        yield json.dumps(about)
        for finding in found[name]:
            yield json.dumps(finding.model_dump(mode="json"))  # ASCII: no line end of Unicode's inside


def from_lines(lines: Sequence[str]) -> Seen:
    """What `to_lines` wrote.

    Raises:
        ValueError: it is damaged.
    """
    found: dict[str, list[Finding]] = {}
    outcomes: dict[str, Outcome] = {}
    rest = iter(lines)
    for line in rest:
        about = json.loads(line)
        name = about["check"]
        outcomes[name] = Outcome((), about["remark"], about["figures"], about["not_checked"], about["rows"])
        found[name] = [Finding.model_validate_json(next(rest)) for _ in range(about["findings"])]
    return found, outcomes
