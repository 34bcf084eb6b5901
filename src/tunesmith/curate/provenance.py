"""Where the rows of a data set come from: owner, licence, legal basis, dates, and the column that names the person."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

from pydantic import Field, field_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record

NO_PERSONAL_DATA = "no personal data"

OWN_TERMS = ("own work", "contract")
"""What may stand for a licence where there is none: the owner is oneself, or a contract says what is allowed."""

Basis = Literal[
    "",
    "no personal data",
    "consent",
    "contract",
    "legal obligation",
    "vital interests",
    "public task",
    "legitimate interests",
]
"""The six bases of GDPR Art. 6(1), and that none is needed."""

_DAY = r"\d{4}(-\d{2}(-\d{2})?)?"


class Provenance(Record):
    """What a source says of itself. Empty means: not said."""

    owner: str = Field(default="", description="Who may decide about the data: a person, a department, a company.")
    licence: str = Field(
        default="", description="An SPDX expression such as CC-BY-4.0 or MIT OR Apache-2.0; own work; or contract."
    )
    basis: Basis = Field(default="", description="Lawful basis for personal data (GDPR Art. 6), or no personal data.")
    collected: str = Field(default="", description="When: 2026, 2026-05, 2026-05-17, or from/to with a slash.")
    collection_method: str = Field(
        default="", description="How: exported from the ticket system, written by experts, …"
    )
    retention: str = Field(default="", description="The day until which the rows may be kept, or unlimited.")
    tdm_opt_out: Literal["", "none", "respected", "not applicable"] = Field(
        default="", description="Whether the source reserves text and data mining, and what was done about it."
    )
    subject_column: str = Field(default="", description="The column that says whom a row is about, by a stable id.")

    @field_validator("licence")
    @classmethod
    def _know_the_licence(cls, licence: str) -> str:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

        if licence.strip().lower() in ("", *OWN_TERMS):
            return licence.strip().lower()
        try:
            return str(canonicalize_license_expression(licence))
        except InvalidLicenseExpression as error:
            raise ConfigError(
                f"licence {licence!r} is no SPDX expression: {error}",
                where="provenance.licence",
                rule="a licence is named by its SPDX identifier (spdx.org/licenses), as own work or as contract",
                fix="for example CC-BY-4.0, MIT OR Apache-2.0, LicenseRef-Our-Terms, own work or contract",
            ) from error

    @field_validator("collected", "retention")
    @classmethod
    def _be_a_date(cls, value: str) -> str:
        if value in ("", "unlimited"):
            return value
        parts = value.split("/")
        if len(parts) > 2 or not all(re.fullmatch(_DAY, part) and _is_day(part) for part in parts):
            raise ConfigError(
                f"{value!r} is no date",
                where="provenance.collected, provenance.retention",
                rule="dates are written as in ISO 8601: 2026, 2026-05, 2026-05-17, or two of them with a slash between",
                fix="write 2026-05-17; data that may be kept for ever have retention: unlimited",
            )
        return value


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return False
    return True


ALWAYS = ("owner", "licence", "basis", "collected", "collection_method")
ABOUT_PEOPLE = ("retention", "subject_column")


def missing(provenance: Provenance | None) -> tuple[str, ...]:
    """What a source does not say and has to: of personal data also how long, and the column of the person."""
    said = provenance or Provenance()
    wanted = ALWAYS if said.basis == NO_PERSONAL_DATA else (*ALWAYS, *ABOUT_PEOPLE)
    return tuple(name for name in wanted if not said.model_dump()[name])
