"""Verb: raw rows become a checked, split data set."""

from tunesmith.curate.checks.clusters import Cluster, question_clusters
from tunesmith.curate.checks.lengths import TokenCounts
from tunesmith.curate.checks.options import Checks
from tunesmith.curate.checks.report import CurationReport, summarise, write_report
from tunesmith.curate.checks.table import Inspection, inspect
from tunesmith.curate.config import Config, DataSet, Dataset, DatasetSpec, compared_with
from tunesmith.curate.demo import demo_rows, demo_schema
from tunesmith.curate.enough import MARGIN, Growth, judge_growth, percent
from tunesmith.curate.lab.selftest import FEWEST as FEWEST_PLANTABLE
from tunesmith.curate.lab.selftest import TrialResult, plantable, selftest
from tunesmith.curate.lab.selftest import to_markdown as trials_page
from tunesmith.curate.personal.redact import load_key, redact, without_personal
from tunesmith.curate.reading.importing import SHAPES, Import, read_import, wanted
from tunesmith.curate.reading.read import read, read_file, require_files
from tunesmith.curate.reading.validating import validate_rows
from tunesmith.curate.reading.written import write_examples
from tunesmith.curate.run import Examination, content_digest, examine, run
from tunesmith.curate.selection import (
    ARMS,
    Arm,
    Comparison,
    Difficulty,
    compare_arms,
    diverse_rows,
    hard_rows,
    measure_difficulty,
)
from tunesmith.curate.split import assign as place_rows
from tunesmith.curate.split import must_have_rows
from tunesmith.curate.synth import METHODS, REASONS, Synthesis, SynthOptions, degraded_pairs, synthesise
from tunesmith.curate.versions.audit import (
    AuditResult,
    Sample,
    decide_row,
    draw_rows,
    gather,
    read_journal,
    undecided,
)
from tunesmith.curate.versions.audit import (
    Decision as AuditDecision,
)
from tunesmith.curate.versions.audit import begin as begin_audit
from tunesmith.curate.versions.audit import result as audit_result
from tunesmith.curate.versions.audit import texts as audit_texts
from tunesmith.curate.versions.audit_page import audit_page
from tunesmith.curate.versions.card import CardNotes, DataCard, describe, reported
from tunesmith.curate.versions.card_page import MISSING, to_markdown
from tunesmith.curate.versions.croissant import to_croissant
from tunesmith.curate.versions.diff import DataDiff, Difference, diff
from tunesmith.curate.versions.history import chosen_entries, kept_by, repair, restore
from tunesmith.curate.versions.lineage import Lineage, keep_rows, trace
from tunesmith.curate.versions.repair import Decision, decide, proposed
from tunesmith.curate.versions.splitting import ASSIGNMENT, write_splits
from tunesmith.curate.versions.version import DataVersion, Found, refuse_overwriting, stem_of, version_of, write_out

__all__ = [
    "ARMS",
    "ASSIGNMENT",
    "FEWEST_PLANTABLE",
    "MARGIN",
    "METHODS",
    "MISSING",
    "REASONS",
    "SHAPES",
    "Arm",
    "AuditDecision",
    "AuditResult",
    "CardNotes",
    "Checks",
    "Cluster",
    "Comparison",
    "Config",
    "CurationReport",
    "DataCard",
    "DataDiff",
    "DataSet",
    "DataVersion",
    "Dataset",
    "DatasetSpec",
    "Decision",
    "Difference",
    "Difficulty",
    "Examination",
    "Found",
    "Growth",
    "Import",
    "Inspection",
    "Lineage",
    "Sample",
    "SynthOptions",
    "Synthesis",
    "TokenCounts",
    "TrialResult",
    "audit_page",
    "audit_result",
    "audit_texts",
    "begin_audit",
    "chosen_entries",
    "compare_arms",
    "compared_with",
    "content_digest",
    "decide",
    "decide_row",
    "degraded_pairs",
    "demo_rows",
    "demo_schema",
    "describe",
    "diff",
    "diverse_rows",
    "draw_rows",
    "examine",
    "gather",
    "hard_rows",
    "inspect",
    "judge_growth",
    "keep_rows",
    "kept_by",
    "load_key",
    "measure_difficulty",
    "must_have_rows",
    "percent",
    "place_rows",
    "plantable",
    "proposed",
    "question_clusters",
    "read",
    "read_file",
    "read_import",
    "read_journal",
    "redact",
    "refuse_overwriting",
    "repair",
    "reported",
    "require_files",
    "restore",
    "run",
    "selftest",
    "stem_of",
    "summarise",
    "synthesise",
    "to_croissant",
    "to_markdown",
    "trace",
    "trials_page",
    "undecided",
    "validate_rows",
    "version_of",
    "wanted",
    "without_personal",
    "write_examples",
    "write_out",
    "write_report",
    "write_splits",
]
