"""Options of the checks: one small record for each check that has any."""

from __future__ import annotations

from tunesmith.core.records import Record


class Checks(Record):
    """What the checks look for, under the name of each check."""
