"""Thread: the evidence about named models: held-out rows now, and again as new ones come in.

Sits above `tunesmith.lifecycle`, beside delivery and experiments.
"""

from tunesmith.proof.evaluating import evaluate_models, write_spec
from tunesmith.proof.models import Opened, open_models
from tunesmith.proof.watching import watch

__all__ = ["Opened", "evaluate_models", "open_models", "watch", "write_spec"]
