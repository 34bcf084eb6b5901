"""Options of the checks: one small record for each check that has any."""

from __future__ import annotations

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.curate.personal.options import PersonalOptions


class Checks(Record):
    """What the checks look for, under the name of each check."""

    personal: PersonalOptions = Field(default=PersonalOptions(), description="Personal data: policies and engines.")
