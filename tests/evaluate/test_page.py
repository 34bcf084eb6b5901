import re
from html.parser import HTMLParser

import pytest

from tests.evaluate.fakes import Scripted, examples
from tests.evaluate.test_run import HALF_RIGHT, PROSE, QUICK, RECIPES, TIME, judge
from tunesmith.core.artifacts import Check, DatasetCard, Outturn, RunRecord
from tunesmith.core.records import Finding, Source
from tunesmith.evaluate import run, to_html
from tunesmith.evaluate.plots import interval_bar, loss_curves

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7*7 }}"

VOID = {"meta", "br", "img", "line", "circle", "rect", "polyline"}


class Structure(HTMLParser):
    """Collects tags, attributes and text; fails on a tag that is closed in the wrong place."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def training(**changes):
    values = {
        "run_id": "run-7",
        "created_at": TIME,
        "config": {"learning_rate": 1e-3, "lora_r": 16},
        "origins": {"learning_rate": "auto: LoRA on a small model", "lora_r": "tunesmith.yaml:5"},
        "dataset_digest": "d",
        "base_fingerprint": "fingerprint",
        "renderer_digest": "template",
        "seed": 0,
        "environment": {"torch": "2.13.0"},
        "steps": 4,
        "seconds": 100.0,
        "tokens": 4000,
        "target_tokens": 1200,
        "train_losses": (2.0, 1.5, 1.2, 1.0),
        "validation_losses": {2: 1.6, 4: 1.1},
        "best_step": 4,
        "adapter_digest": "adapter-digest",
        "peak_memory_bytes": 2**30,
        "checks": (
            Check(name="reload", passed=True, detail="checksums equal"),
            Check(name="template equality", passed=False, detail="2 rows differ"),
            Check(name="resume", passed=None, detail="the run was not interrupted"),
        ),
        "stopped": "finished",
    }
    return RunRecord(**{**values, **changes})


def card(findings=()):
    return DatasetCard(
        digest="d",
        sources={"rows.jsonl": "a" * 64},
        formats={"rows.jsonl": "chat"},
        rows={"train": 160, "test": 32},
        findings=findings,
    )


@pytest.fixture(scope="module")
def report():
    return judge(HALF_RIGHT, base=PROSE)


def test_what_was_noticed_and_measured_while_training_stands_by_the_curves(report):
    run = training(
        noticed=("overfitting from step 2 on: the validation loss rose",),
        task_metrics={2: {"exact_match": 0.5, "stop_rate": 1.0}, 4: {"exact_match": 0.75, "stop_rate": 1.0}},
        task_metric_rows=16,
        utilisation=0.61,
        outturn=Outturn(
            seconds=100.0,
            seconds_share=0.1,
            peak_memory_bytes=2**30,
            peak_memory_share=0.0,
            sentence="the plan said 91 s; it was 100 s",
        ),
    )
    html = to_html(report, run)
    page = Structure(html)
    assert "Noticed: overfitting from step 2 on: the validation loss rose." in page.words
    assert "of answers to 16 validation rows, the same ones every time." in page.words
    assert "The plan said 91 s; it was 100 s." in page.words
    assert "(61 % of the machine's matrix speed)" in page.words
    assert html.count('<svg class="plot"') == 2
    assert "Noticed" not in Structure(to_html(report, training())).words


def test_the_verdict_comes_first_then_the_numbers(report):
    page = Structure(to_html(report, training(), card()))
    places = [
        page.words.index(text)
        for text in (
            "▲ better tuned is better than base on field F1 0.0 % → 75.0 %, +75.0 points",
            "Before and after",
            "Field by field",
            "Examples",
            "Worst rows",
            "Training",
            "Checks of the finished run",
            "Data",
            "Facts",
            "How to read this",
        )
    ]
    assert places == sorted(places)
    assert "Decided by field F1" in page.words


def test_page_fetches_nothing(report):
    text = to_html(report, training(), card())
    page = Structure(text)
    assert not re.search(r"https?:|url\((?!#)|@import|//[a-z]", text)
    assert not {"script", "link", "img", "iframe", "base", "object"} & set(page.tags)
    assert not {"src", "onclick", "onload"} & {name for name, _ in page.attributes}
    assert all(value.startswith("#row-") for name, value in page.attributes if name == "href")
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_page_adapts_to_dark_and_narrow_screens(report):
    text = to_html(report)
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 700px" in text
    assert "width=device-width" in text


def test_everything_from_outside_is_escaped():
    texts = [f"{ATTACK} {i}" for i in range(10)]
    models = [Scripted(ATTACK, ["x"] * 10, digest=ATTACK), Scripted(f"{ATTACK} tuned", texts)]
    found = run(QUICK, models, examples([f"{ATTACK} wanted by row {i}" for i in range(10)]), dataset_digest=ATTACK)
    record = training(
        run_id=ATTACK,
        config={ATTACK: ATTACK},
        origins={ATTACK: ATTACK},
        environment={ATTACK: ATTACK},
        stopped=ATTACK,
        checks=(Check(name=ATTACK, passed=True, detail=ATTACK),),
    )
    findings = (
        Finding(check=ATTACK, severity="error", message=ATTACK, fix=ATTACK, source=Source(path=ATTACK, line=1)),
    )
    dataset = card(findings).model_copy(update={"sources": {ATTACK: "0"}, "formats": {ATTACK: ATTACK}})
    text = to_html(found, record, dataset)
    page = Structure(text)
    assert not {"script", "img"} & set(page.tags)
    assert "49" not in page.words.split()
    assert "<script>alert('x')</script>" in page.words
    keys = f'{{"{ATTACK.replace(chr(34), "")}": "<b>"}}'
    Structure(to_html(judge([keys] * 32, base=PROSE, wanted=[f'{{"<i>k": {i}}}' for i in range(32)])))


def test_page_without_run_and_data_leaves_those_sections_out(report):
    page = Structure(to_html(report))
    assert "Training" not in page.words
    assert "Checks of the finished run" not in page.words
    assert "settings of the run" not in page.words
    assert "svg" in page.tags


def test_checks_say_not_measured(report):
    page = Structure(to_html(report, training()))
    assert "✓ passed reload checksums equal" in page.words
    assert "✗ failed template equality 2 rows differ" in page.words
    assert "– not measured resume the run was not interrupted" in page.words
    assert "None were recorded." in Structure(to_html(report, training(checks=()))).words


def test_run_facts_and_origins(report):
    words = Structure(to_html(report, training())).words
    assert "4 optimiser steps in 100 seconds" not in words
    assert "4 optimiser steps in 1.7 minutes: 4,000 tokens, 1,200 of them trained, 40 tokens per second." in words
    assert "The weights of step 4 were kept. It ended: finished." in words
    assert "learning_rate 0.001 auto: LoRA on a small model" in words
    assert "adapter adapter-digest" in words
    assert "answers greedy, at most 17 tokens, seed 0" in words


def test_data_findings_are_ordered_by_weight(report):
    info = Finding(check="length", severity="info", message="all fit")
    error = Finding(
        check="empty", severity="error", message="no answer", source=Source(path="a", line=3), fix="fill in"
    )
    words = Structure(to_html(report, None, card((info, error)))).words
    assert words.index("✗ error empty: no answer a:3 · fill in") < words.index("i info length: all fit")
    assert "192 rows (160 train, 32 test) from rows.jsonl (chat)." in words
    assert "5 more in the data card." in Structure(to_html(report, None, card((info,) * 25))).words
    assert "The checks found nothing to remark." in Structure(to_html(report, None, card())).words


def test_examples_show_both_answers_and_mark_what_was_not_wanted(report):
    text = to_html(report)
    assert "A typical answer" in text
    assert "You need flour and a pinch of salt." in text
    assert "0.0 % · cut" in text
    assert re.search(r"<mark>0</mark>", text)


def test_worst_rows_skip_full_marks_and_the_common_instruction():
    answers = [RECIPES[i] if i else "no JSON" for i in range(32)]
    words = Structure(to_html(judge(answers, base=PROSE))).words
    assert "0.0 % 0 question 0 wanted" in words
    assert "None: every row has full marks on field F1." in Structure(to_html(judge(RECIPES, base=PROSE))).words


def test_one_model_and_three_models():
    one = Structure(to_html(judge(HALF_RIGHT)))
    assert "· no verdict No verdict without a model to compare with tuned on field F1: 75.0 %" in one.words
    models = [Scripted("base", PROSE), Scripted("one", HALF_RIGHT), Scripted("two", RECIPES)]
    three = Structure(to_html(run(QUICK, models, examples(RECIPES))))
    assert ("rowspan", "2") in three.attributes
    assert "two is better than base on field F1" in three.words


def test_report_on_a_metric_that_was_not_measured():
    models = [Scripted("tuned", HALF_RIGHT), Scripted("remote", PROSE, logprob=None)]
    config = QUICK.model_copy(update={"primary_metric": "perplexity"})
    words = Structure(to_html(run(config, models, examples(RECIPES)))).words
    assert "The rows have no score on perplexity to put them in order." in words
    assert "? cannot tell Cannot tell: perplexity decides and was not measured" in words


def test_same_report_gives_the_same_page(report):
    assert to_html(report, training(), card()) == to_html(report, training(), card())


def test_long_texts_are_cut_and_say_so():
    words = Structure(to_html(judge(["a" * 3000] * 32, base=PROSE))).words
    assert "(1,500 characters more)" in words


def test_loss_curves_have_axes_labels_and_the_kept_step():
    text = loss_curves((2.0, 1.5, 1.2, 1.0), {2: 1.6, 4: 1.1}, 4)
    plot = Structure(text)
    assert "optimiser step" in plot.words
    assert "loss (nats per target token)" in plot.words
    assert "kept: step 4, loss 1.100" in plot.words
    assert plot.tags.count("polyline") == 3
    assert plot.tags.count("circle") == 2


def test_loss_curves_of_odd_runs():
    assert loss_curves((), {}, 0) == ""
    assert loss_curves((float("nan"),), {3: float("inf")}, 3) == ""
    assert "polyline" not in Structure(loss_curves((1.0,), {}, 0)).tags
    spiky = loss_curves((500.0, *(1.0,) * 99), {100: 1.0}, 100)
    assert "500" not in Structure(spiky).words
    flat = loss_curves((1.0, 1.0, 1.0), {}, 0)
    assert "nan" not in flat
    long = loss_curves(tuple(1.0 / (i + 1) for i in range(5000)), {}, 0)
    assert max(len(points.split()) for points in re.findall(r'points="([^"]*)"', long)) <= 400


def test_interval_bar_stays_inside_its_frame():
    bar = interval_bar(-0.1, 0.3, 0.1, (-0.1, 0.3), "better")
    places = [float(value) for value in re.findall(r'(?:x1|x2|cx)="([\d.]+)"', bar)]
    assert min(places) >= 8
    assert max(places) <= 152
