"""Thread: the evidence about named models: held-out rows now, and again as new ones come in.

Sits above `tunesmith.lifecycle`, beside delivery and experiments.
"""

from tunesmith.proof.canaries import write_canaries
from tunesmith.proof.evaluating import evaluate_models, write_spec
from tunesmith.proof.levers import assess_levers, write_advice
from tunesmith.proof.models import Opened, open_models
from tunesmith.proof.risks import KINDS, measure_risks
from tunesmith.proof.series import Trend, add_point, require_fresh, trend, trend_page

__all__ = [
    "KINDS",
    "Opened",
    "Trend",
    "add_point",
    "assess_levers",
    "evaluate_models",
    "measure_risks",
    "open_models",
    "require_fresh",
    "trend",
    "trend_page",
    "write_advice",
    "write_canaries",
    "write_spec",
]
