"""Verb: is fine-tuning the right lever at all, against a good prompt and against retrieval, on the same rows."""

from tunesmith.assess.config import Block, Config
from tunesmith.assess.document import to_markdown
from tunesmith.assess.page import to_html
from tunesmith.assess.run import Bench, Rows, run
from tunesmith.core.advice import Advice

__all__ = ["Advice", "Bench", "Block", "Config", "Rows", "run", "to_html", "to_markdown"]
