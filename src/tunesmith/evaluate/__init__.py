"""Verb: samplers and held-out rows become a report with a verdict."""

from tunesmith.core.artifacts import Report
from tunesmith.evaluate.blind import BlindKey, blind_page, blind_result, read_decisions
from tunesmith.evaluate.config import Config
from tunesmith.evaluate.evaluation import fixed_rows, grade_answers, require_primary, run
from tunesmith.evaluate.markdown import to_markdown
from tunesmith.evaluate.page import to_html
from tunesmith.evaluate.prompted import MARK, Prompted, read_prompt
from tunesmith.evaluate.remember import Remembered
from tunesmith.evaluate.spec import (
    Spec,
    make_spec,
    read_spec,
    require_opening,
    require_rows,
    rows_digest,
    spec_to_yaml,
    standing,
)
from tunesmith.evaluate.sweeps import sweep_to_html
from tunesmith.evaluate.trend_page import TrendPoint, trend_to_html
from tunesmith.evaluate.wording import table, verdict_lines
from tunesmith.text.graders import load_schema

__all__ = [
    "MARK",
    "BlindKey",
    "Config",
    "Prompted",
    "Remembered",
    "Report",
    "Spec",
    "TrendPoint",
    "blind_page",
    "blind_result",
    "fixed_rows",
    "grade_answers",
    "load_schema",
    "make_spec",
    "read_decisions",
    "read_prompt",
    "read_spec",
    "require_opening",
    "require_primary",
    "require_rows",
    "rows_digest",
    "run",
    "spec_to_yaml",
    "standing",
    "sweep_to_html",
    "table",
    "to_html",
    "to_markdown",
    "trend_to_html",
    "verdict_lines",
]
