"""Verb: raw rows become a checked, split data set."""

from tunesmith.curate.checks import Inspection, inspect
from tunesmith.curate.config import Config, DataSet, Dataset, DatasetSpec
from tunesmith.curate.demo import demo_rows, demo_schema
from tunesmith.curate.history import chosen_entries, kept_by, repair, restore
from tunesmith.curate.importing import SHAPES, Import, read_import, wanted
from tunesmith.curate.lengths import TokenCounts
from tunesmith.curate.read import read, read_file, require_files
from tunesmith.curate.repair import Decision, decide, proposed
from tunesmith.curate.run import Examination, content_digest, examine, run
from tunesmith.curate.split import must_have_rows
from tunesmith.curate.version import DataVersion, Found, refuse_overwriting, stem_of, version_of, write_out
from tunesmith.curate.written import write_examples

__all__ = [
    "SHAPES",
    "Config",
    "DataSet",
    "DataVersion",
    "Dataset",
    "DatasetSpec",
    "Decision",
    "Examination",
    "Found",
    "Import",
    "Inspection",
    "TokenCounts",
    "chosen_entries",
    "content_digest",
    "decide",
    "demo_rows",
    "demo_schema",
    "examine",
    "inspect",
    "kept_by",
    "must_have_rows",
    "proposed",
    "read",
    "read_file",
    "read_import",
    "refuse_overwriting",
    "repair",
    "require_files",
    "restore",
    "run",
    "stem_of",
    "version_of",
    "wanted",
    "write_examples",
    "write_out",
]
