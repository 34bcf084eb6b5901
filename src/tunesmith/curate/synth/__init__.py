"""New rows from rows that are there: asked for, filtered, marked.

seeds → `methods` (what is asked, what the answer means) → `filters` → `run` (journal, counts, marked rows)
"""

from tunesmith.curate.synth.degrade import degraded_pairs
from tunesmith.curate.synth.filters import REASONS
from tunesmith.curate.synth.methods import METHODS
from tunesmith.curate.synth.run import Synthesis, SynthOptions, synthesise

__all__ = ["METHODS", "REASONS", "SynthOptions", "Synthesis", "degraded_pairs", "synthesise"]
