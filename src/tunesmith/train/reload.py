"""The fresh process of the reload check: ``python -m tunesmith.train.reload FOLDER BASE DTYPE [beside]``.

Loads the saved weights as serving would, replays the canaries of the card, and prints the largest difference as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard, Canary
from tunesmith.model import device
from tunesmith.model.adapters import CONFIG, attach, read_adapter
from tunesmith.model.load import load_base
from tunesmith.model.resolve import CARD
from tunesmith.model.sample import answer_logprobs
from tunesmith.train.verify import largest_difference


def replay(folder: Path, base_folder: Path, form: str) -> float:
    """Largest difference between the stored canary log-probabilities and those of the reloaded weights."""
    store.verify_folder(folder)
    dtype, four_bit = device.parse_format(form)
    card = AdapterCard.model_validate_json((folder / CARD).read_bytes())
    if (folder / CONFIG).is_file():
        base = load_base(base_folder, dtype, four_bit=four_bit)
        attach(base, "reloaded", read_adapter(folder))
        adapter = "reloaded"
    else:
        base, adapter = load_base(folder, dtype), ""
    values = answer_logprobs(base, [(c.tokens, 1) for c in card.canaries], adapter)
    after = [Canary(tokens=c.tokens, logprobs=tuple(v)) for c, v in zip(card.canaries, values, strict=True)]
    return largest_difference(card.canaries, after)


if __name__ == "__main__":
    if sys.argv[4:] == ["beside"] and hasattr(os, "nice"):
        os.nice(15)  # training has the cores; this takes what it leaves
    device.use_all_cores()
    difference = replay(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stdout.write(json.dumps({"largest_difference": difference}) + "\n")
