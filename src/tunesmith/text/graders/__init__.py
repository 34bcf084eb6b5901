"""Judging strings: an answer against the reference that was wanted, and graders that are described as objects.

    strings, structure        texts and JSON values beside a reference: counts that add up over rows
    objects, grading          OpenAI's grader objects: `load_grader`, `grade`, `grade_all`
    assertions                lists of simple demands on an answer
    slots                     facts that a text has to state: missing, wrong and invented ones

One implementation for evaluation, for filtering of training rows, and for the HTTP API.
"""

from tunesmith.text.graders.assertions import Assertion, Demand, meets, require_assertion
from tunesmith.text.graders.grading import (
    Embedder,
    GradeErrors,
    GradeResult,
    ModelCaller,
    ModelRequest,
    grade,
    grade_all,
)
from tunesmith.text.graders.objects import Grader, load_grader, models_of, templates
from tunesmith.text.graders.slots import Facts, Lexicon, SlotChecker, SlotCounts, load_lexicon, read_facts, slot_counts
from tunesmith.text.graders.strings import (
    BLEU_ORDER,
    CHRF_BETA,
    CHRF_ORDER,
    Overlap,
    bleu_counts,
    chrf_counts,
    corpus_signatures,
    exact_match,
    gleu,
    meteor,
    rouge_l,
    rouge_n,
    ter_counts,
    token_overlap,
    words,
)
from tunesmith.text.graders.structure import (
    JsonSchema,
    field_counts,
    field_name,
    field_overlaps,
    has_lists_of_objects,
    load_schema,
    parse_json,
    record_counts,
    record_overlap,
)
from tunesmith.text.graders.templates import Sample, TemplateError, lookup, variables

__all__ = [
    "BLEU_ORDER",
    "CHRF_BETA",
    "CHRF_ORDER",
    "Assertion",
    "Demand",
    "Embedder",
    "Facts",
    "GradeErrors",
    "GradeResult",
    "Grader",
    "JsonSchema",
    "Lexicon",
    "ModelCaller",
    "ModelRequest",
    "Overlap",
    "Sample",
    "SlotChecker",
    "SlotCounts",
    "TemplateError",
    "bleu_counts",
    "chrf_counts",
    "corpus_signatures",
    "exact_match",
    "field_counts",
    "field_name",
    "field_overlaps",
    "gleu",
    "grade",
    "grade_all",
    "has_lists_of_objects",
    "load_grader",
    "load_lexicon",
    "load_schema",
    "lookup",
    "meets",
    "meteor",
    "models_of",
    "parse_json",
    "read_facts",
    "record_counts",
    "record_overlap",
    "require_assertion",
    "rouge_l",
    "rouge_n",
    "slot_counts",
    "templates",
    "ter_counts",
    "token_overlap",
    "variables",
    "words",
]
