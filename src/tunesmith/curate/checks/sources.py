"""The check of where rows come from: file by file, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.core.artifacts import Check
from tunesmith.core.errors import DataError
from tunesmith.core.records import Finding, Source
from tunesmith.curate.config import Config, DatasetSpec
from tunesmith.curate.provenance import missing
from tunesmith.curate.reading.place import count

PROVENANCE = "provenance"
_FIX = "say it: datasets: [{path: …, provenance: {owner: …, licence: CC-BY-4.0, basis: no personal data, …}}]"


def refuse_unknown_origin(config: Config) -> None:
    """Refuse, before anything is read, a source that does not say where it comes from, where that is required.

    Raises:
        DataError: the first such source; says what it does not say.
    """
    for spec in config.datasets if config.require_provenance else ():
        if absent := missing(spec.provenance):
            raise DataError(
                f"the source does not say where it comes from: {', '.join(absent)} missing",
                where=spec.path,
                rule="require_provenance: nothing is trained on a source without provenance",
                fix=_FIX,
            )


def check_sources(config: Config, without_subject: Mapping[str, int]) -> tuple[tuple[Check, ...], tuple[Finding, ...]]:
    """The line of the table (none where nothing was asked), and the findings.

    ``without_subject``: path → rows that name no person although a column for that was named.
    """
    if config.require_provenance is None:
        return (), ()
    findings = tuple(_findings(config.datasets, config.require_provenance, without_subject))
    level = "error" if config.require_provenance else "warning"
    detail = count(len(findings), level) if findings else f"nothing found in {count(len(config.datasets), 'source')}"
    return (Check(name=PROVENANCE, passed=not (findings and config.require_provenance), detail=detail),), findings


def _findings(specs: Sequence[DatasetSpec], required: bool, without_subject: Mapping[str, int]) -> list[Finding]:
    findings = []
    for spec in specs:
        absent, nameless = missing(spec.provenance), without_subject.get(spec.path, 0)
        what = "no provenance" if spec.provenance is None else f"provenance does not say: {', '.join(absent)}"
        if absent:
            findings.append(_finding(spec, what, _FIX, required))
        if nameless:
            column = spec.provenance.subject_column if spec.provenance else ""
            what = f"{count(nameless, 'row')} without a value in {column}: nobody can find or delete them by person"
            findings.append(_finding(spec, what, f"fill {column} in every row", required))
    return findings


def _finding(spec: DatasetSpec, message: str, fix: str, required: bool) -> Finding:
    level = "error" if required else "warning"
    return Finding.model_validate(
        {"check": PROVENANCE, "severity": level, "message": message, "source": Source(path=spec.path), "fix": fix}
    )
