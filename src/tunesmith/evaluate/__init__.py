"""Verb: samplers and held-out rows become a report with a verdict."""

from tunesmith.core.artifacts import Report
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.evaluation import run
from tunesmith.evaluate.page import to_html
from tunesmith.evaluate.remember import Remembered
from tunesmith.evaluate.rows import load_schema
from tunesmith.evaluate.sweeps import sweep_to_html
from tunesmith.evaluate.wording import table, verdict_lines

__all__ = [
    "Config",
    "Remembered",
    "Report",
    "load_schema",
    "run",
    "sweep_to_html",
    "table",
    "to_html",
    "verdict_lines",
]
