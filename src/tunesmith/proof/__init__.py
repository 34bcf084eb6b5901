"""Thread: the evidence about named models: held-out rows now, and again as new ones come in.

Sits above `tunesmith.lifecycle`, beside delivery and experiments.
"""

from tunesmith.proof.evaluating import evaluate_models, write_spec
from tunesmith.proof.models import Opened, open_models
from tunesmith.proof.series import Trend, add_point, require_fresh, trend, trend_page

__all__ = [
    "Opened",
    "Trend",
    "add_point",
    "evaluate_models",
    "open_models",
    "require_fresh",
    "trend",
    "trend_page",
    "write_spec",
]
