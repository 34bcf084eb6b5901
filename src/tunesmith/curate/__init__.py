"""Verb: raw rows become a checked, split data set."""

from tunesmith.curate.checks import Inspection, inspect
from tunesmith.curate.config import Config, DataSet, Dataset, DatasetSpec, compared_with
from tunesmith.curate.demo import demo_rows, demo_schema
from tunesmith.curate.lengths import TokenCounts
from tunesmith.curate.read import read, read_file, require_files
from tunesmith.curate.report import CurationReport, summarise, write_report
from tunesmith.curate.run import Examination, content_digest, examine, run
from tunesmith.curate.split import must_have_rows

__all__ = [
    "Config",
    "CurationReport",
    "DataSet",
    "Dataset",
    "DatasetSpec",
    "Examination",
    "Inspection",
    "TokenCounts",
    "compared_with",
    "content_digest",
    "demo_rows",
    "demo_schema",
    "examine",
    "inspect",
    "must_have_rows",
    "read",
    "read_file",
    "require_files",
    "run",
    "summarise",
    "write_report",
]
