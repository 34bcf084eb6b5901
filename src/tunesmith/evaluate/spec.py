"""What was decided before a model was asked: rows, models, metric, margin. Fixed by a digest, so that it stays decided.

An evaluation whose question was written down first is *confirmatory*; every other look at the same rows is
*exploratory*, since a question that is chosen after the answers finds what it looks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tunesmith.core import yamlfile
from tunesmith.core.artifacts import Opening, Standing
from tunesmith.core.errors import ConfigError, InputError
from tunesmith.core.records import SCHEMA_VERSION, Example, Record, digest_of
from tunesmith.evaluate.config import Config

VAULT_OPENINGS = 3
"""How often a vault may be opened unless its spec says another number."""


class Spec(Record):
    """``eval.yaml``. ``rows`` is the digest of the held-out rows, whatever their order; ``models`` are names as given.

    ``set`` vault: rows that may be opened ``openings`` times in all, by whatever spec.
    """

    schema_version: int = SCHEMA_VERSION
    models: tuple[str, ...] = Field(min_length=1)
    rows: str
    count: int = Field(ge=1)
    set: Literal["test", "vault"] = "test"
    openings: int = Field(default=VAULT_OPENINGS, ge=1)
    evaluation: Config = Config()

    @property
    def digest(self) -> str:
        """Identity of everything that was decided."""
        return digest_of(self.model_dump(mode="json"))[:16]


def rows_digest(examples: Iterable[Example]) -> str:
    """Identity of a set of rows, whatever their order and file."""
    return digest_of(sorted(example.id for example in examples))[:16]


def make_spec(models: Sequence[str], examples: Sequence[Example], config: Config, vault: bool = False) -> Spec:
    """The decisions as they stand now."""
    return Spec(
        models=tuple(models),
        rows=rows_digest(examples),
        count=len({example.id for example in examples}),
        set="vault" if vault else "test",
        evaluation=config,
    )


def spec_to_yaml(spec: Spec) -> str:
    """The text of ``eval.yaml``."""
    head = f"# What this evaluation will decide, fixed as {spec.digest} before any model was asked.\n"
    note = "# A change makes another spec, and results on these rows exploratory.\n"
    return head + note + yamlfile.dump(spec.model_dump(mode="json", exclude_defaults=False))


def read_spec(path: Path) -> Spec:
    """A spec from its file.

    Raises:
        ConfigError: no such file, unknown keys, impossible values.
    """
    rule = "a spec is a file that --write-spec wrote"
    if not path.is_file():
        raise ConfigError(f"no such file: {path}", where="--spec", rule=rule, fix="write one with --write-spec")
    value: Mapping[str, Any] = yamlfile.parse(path.read_text(encoding="utf-8"), str(path)).value
    try:
        return Spec.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"{place}: {first['msg']}", where=str(path), rule=rule, fix="write it anew with --write-spec"
        ) from error


def require_rows(spec: Spec, examples: Sequence[Example], where: str) -> None:
    """Refuse other rows than the spec was written for.

    Raises:
        InputError: rows were added, taken out or changed.
    """
    if rows_digest(examples) != spec.rows:
        distinct = len({example.id for example in examples})
        raise InputError(
            f"the rows are not those of the spec ({distinct} rows here, {spec.count} there)",
            where=where,
            rule="a spec belongs to the rows that it was written for; one changed row makes it another evaluation",
            fix="give the file that the spec was written for, or write a new spec with --write-spec",
        )


def standing(
    spec: Spec | None, fixed: bool, models: Sequence[str], opening: Opening, before: Sequence[Opening]
) -> Standing:
    """Whether a run confirms or explores, with the reason.

    Args:
        spec: what the run goes by; None when nobody wrote anything down.
        fixed: whether the spec was kept, as it stands, before this run.
        models: the names that the run was given.
        opening: this look at the rows.
        before: earlier looks at the same rows that were not this one.
    """
    number = 1 + len(before)
    times = f"opening {number} of these rows"
    if spec is None:
        reason = f"no spec was written before the rows were looked at ({times})"
        return Standing(kind="exploratory", reason=reason, opening=number)
    others = [look for look in before if look.spec != spec.digest]
    if not fixed:
        reason = f"the spec was edited, or written elsewhere, after it was fixed ({times})"
    elif tuple(models) != spec.models:
        reason = f"the spec names other models: {', '.join(spec.models)} ({times})"
    elif others:
        reason = f"these rows were looked at before under another spec or none, first on {others[0].at[:10]} ({times})"
    elif any(look.models != opening.models for look in before):
        reason = f"other weights were judged by this spec before: the best of several tries flatters itself ({times})"
    else:
        reason = f"rows, models, metric and margin were fixed before the first look ({times})"
        return Standing(kind="confirmatory", reason=reason, opening=number, spec=spec.digest)
    return Standing(kind="exploratory", reason=reason, opening=number, spec=spec.digest)


def require_opening(spec: Spec | None, before: Sequence[Opening], where: str) -> None:
    """Refuse to open a vault once too often.

    Raises:
        InputError: the openings are used up.
    """
    limits = [look.limit for look in before if look.limit]
    if spec is not None and spec.set == "vault":
        limits.append(spec.openings)
    if limits and len(before) >= min(limits):
        raise InputError(
            f"this vault was opened {len(before)} times, and {min(limits)} was the limit",
            where=where,
            rule="a vault is for few looks: each one tells something about rows that nobody should know",
            fix="collect new held-out rows; what was found stays in the reports of the earlier openings",
        )
