"""Verb: raw rows become a checked, split data set."""

from tunesmith.curate.check import Inspection, TokenCounts, inspect
from tunesmith.curate.config import Config, Dataset, DatasetSpec
from tunesmith.curate.demo import demo_rows, demo_schema
from tunesmith.curate.read import read, read_file, require_files
from tunesmith.curate.run import Examination, examine, run
from tunesmith.curate.split import must_have_rows

__all__ = [
    "Config",
    "Dataset",
    "DatasetSpec",
    "Examination",
    "Inspection",
    "TokenCounts",
    "demo_rows",
    "demo_schema",
    "examine",
    "inspect",
    "must_have_rows",
    "read",
    "read_file",
    "require_files",
    "run",
]
