"""Options of the checks: one small record for each check that has any."""

from __future__ import annotations

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.curate.duplicates import NearOptions


class Checks(Record):
    """What the checks look for, under the name of each check."""

    near_duplicates: NearOptions = Field(default=NearOptions(), description="Rows that are nearly the same.")
