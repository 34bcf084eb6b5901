import pytest

from tunesmith.core.artifacts import Comparison
from tunesmith.evaluate import wording
from tunesmith.evaluate.metrics import metrics_for
from tunesmith.evaluate.rows import Wanted


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("field_f1", 0.7132, "71.3 %"),
        ("field_f1:name", 1.0, "100.0 %"),
        ("chrf", 35.26, "35.3"),
        ("perplexity", 12.3456, "12.3"),
        ("perplexity", 1.0, "1.00"),
        ("perplexity", 123456.0, "123,456"),
        ("perplexity", 3e9, "3.00e+09"),
        ("perplexity", 0.0, "0"),
        ("answer_tokens", 45.25, "45.2"),
        ("bleu", None, "not measured"),
    ],
)
def test_scores(metric, value, text):
    assert wording.value_text(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("field_f1", 0.124, "+12.4 points"),
        ("field_f1", -0.124, "−12.4 points"),
        ("field_f1", 0.0, "±0.0 points"),
        ("field_f1", -0.00001, "±0.0 points"),
        ("field_f1", 0.00001, "±0.0 points"),
        ("bleu", -3.14, "−3.1"),
        ("perplexity", -0.3142, "−0.314"),
        ("bleu", None, "–"),
    ],
)
def test_differences(metric, value, text):
    assert wording.difference_text(metric, value) == text


def test_ranges():
    assert wording.range_text("field_f1", 0.62, 0.795) == "62.0 – 79.5 %"
    assert wording.range_text("bleu", None, None) == ""
    assert wording.difference_range_text("field_f1", -0.04, 0.102) == "−4.0 to +10.2"
    assert wording.percent(0.95) == "95 %"
    assert wording.percent(0.995) == "99.5 %"
    assert wording.p_text(0.0004) == "p < 0.001"
    assert wording.p_text(0.0312) == "p = 0.031"


def comparison(**changes):
    values = {
        "metric": "field_f1",
        "baseline": "base",
        "candidate": "tuned",
        "baseline_value": 0.70,
        "candidate_value": 0.731,
        "difference": 0.031,
        "low": -0.04,
        "high": 0.102,
        "p_value": 0.4,
        "test": "paired permutation, 10,000 swaps",
        "smallest_visible": 0.14,
        "higher_is_better": True,
        "n": 32,
        "verdict": "cannot tell",
        "sentence": "",
    }
    return Comparison(**{**values, **changes})


def test_cannot_tell_says_how_many_rows_it_would_take():
    assert wording.sentence(comparison(), 0.02, 0.95) == (
        "Cannot tell whether tuned is better or worse than base on field F1: 70.0 % → 73.1 %, +3.1 points "
        "(95 % interval −4.0 to +10.2). 32 rows are enough to see a true difference of 14.0 points. "
        "A difference like this one takes about 660 rows."
    )


def test_cannot_tell_when_only_the_interval_leaves_out_zero():
    text = wording.sentence(comparison(low=0.001, p_value=0.062), 0.02, 0.95)
    assert "The interval leaves out 0, but the test does not confirm it (p = 0.062)." in text


def test_worse_and_equivalent():
    worse = comparison(difference=-0.2, candidate_value=0.5, low=-0.3, high=-0.1, verdict="worse")
    assert wording.sentence(worse, 0.02, 0.95).startswith(
        "tuned is worse than base on field F1: 70.0 % → 50.0 %, −20.0"
    )
    equal = comparison(difference=0.001, low=-0.01, high=0.012, verdict="equivalent")
    text = wording.sentence(equal, 0.02, 0.95)
    assert text.startswith("tuned and base are equivalent on field F1:")
    assert "within the margin of 2.0 points" in text


def test_without_a_smallest_difference_only_the_rows_are_named():
    assert wording.sentence(comparison(smallest_visible=None), 0.02, 0.95).endswith(
        "(95 % interval −4.0 to +10.2). 32 rows."
    )


def test_every_metric_has_a_term():
    wanted = Wanted(("{}",), "json", None, fields=("name",))
    for metric in metrics_for(wanted):
        term = wording.term(metric.name)
        assert term.title
        assert term.meaning
