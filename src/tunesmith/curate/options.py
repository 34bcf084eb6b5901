"""Options of the checks: one small record for each check that has any."""

from __future__ import annotations

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.curate.diversity import DiversityOptions, ProductionOptions


class Checks(Record):
    """What the checks look for, under the name of each check."""

    diversity: DiversityOptions = Field(default=DiversityOptions(), description="How varied the rows are.")
    like_production: ProductionOptions = Field(
        default=ProductionOptions(), description="Whether the rows look like what is asked in production."
    )
