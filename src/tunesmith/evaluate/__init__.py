"""Verb: samplers and held-out rows become a report with a verdict."""

from tunesmith.core.artifacts import Report
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.evaluation import fixed_rows, grade_answers, require_primary, run
from tunesmith.evaluate.page import to_html
from tunesmith.evaluate.remember import Remembered
from tunesmith.evaluate.sweeps import sweep_to_html
from tunesmith.evaluate.wording import table, verdict_lines
from tunesmith.text.graders import load_schema

__all__ = [
    "Config",
    "Remembered",
    "Report",
    "fixed_rows",
    "grade_answers",
    "load_schema",
    "require_primary",
    "run",
    "sweep_to_html",
    "table",
    "to_html",
    "verdict_lines",
]
