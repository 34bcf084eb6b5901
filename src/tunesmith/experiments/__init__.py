"""The thread's experiments: the configured run on parts of its rows, judged on the validation rows alone.

    enough   25, 50 and 100 % of the rows → will more data help?
    select   some of the rows, chosen in several ways → is any of them better than chance?

They stand above `tunesmith.lifecycle`, whose projects they open. The test rows are put away before anything is trained.
"""

from __future__ import annotations

from tunesmith.experiments.arms import Choice, Selection, select
from tunesmith.experiments.enough import Curve, enough

__all__ = ["Choice", "Curve", "Selection", "enough", "select"]
