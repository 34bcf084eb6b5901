"""A judging model: both orders, nonsense counted, and an audit that it has to pass before it decides."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.evaluate.fakes import Scripted, example
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Completion
from tunesmith.evaluate import Config, run
from tunesmith.evaluate.judging import cohen_kappa, read_choice, read_labels

N = 60
TEXTS = [f"a wanted text of many words, number {i}" for i in range(N)]


@dataclass
class Judge:
    """Answers each prompt by a rule of question and the two answers."""

    rule: object
    name: str = "judge"
    digest: str = "j"
    asked: list = field(default_factory=list)

    def sample(self, prompts, params, progress=None):
        self.asked += [prompt.messages[0].text for prompt in prompts]
        texts = [self.rule(*self.parts(prompt.messages[0].text)) for prompt in prompts]
        return [Completion(text=t, finish_reason="stop", prompt_tokens=9, completion_tokens=1) for t in texts]

    @staticmethod
    def parts(text):
        first = text.split("Answer A:\n")[1].split("\n\nAnswer B:")[0]
        second = text.split("Answer B:\n")[1].split("\n\nWhich")[0]
        return first, second


def prefers_good(first, second):
    return "A" if "good" in first and "good" not in second else "B" if "good" in second else "tie"


def labels_file(folder, human, n=120):
    draw = random.Random(0)
    rows = []
    for i in range(n):
        good = draw.choice(["a", "b", "tie"])
        a, b = ("good" if good == name else "bad" for name in "ab")
        rows.append({"question": f"q{i}", "a": f"{a} {i}", "b": f"{b} {i}", "human": human(good)})
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def judged(judge, tuned, base=None, primary="judge", calibration=None, **changes):
    rows = [example(f"question {i}", text, i + 1) for i, text in enumerate(TEXTS)]
    models = [
        Scripted("base", base or [f"bad answer {i}" for i in range(N)], digest="b"),
        Scripted("tuned", tuned, digest="t"),
    ]
    config = Config(
        bootstrap_samples=400, primary_metric=primary, judge={"model": "judge", "calibration": calibration, **changes}
    )
    return run(config, models, rows, judges={"judge": judge})


def test_a_judge_that_always_picks_the_first_yields_no_wins_only_ties_and_fails_its_audit(tmp_path):
    report = judged(Judge(lambda a, b: "A"), ["good answer"] * N, calibration=labels_file(tmp_path, lambda x: x))
    [audit] = report.judges
    assert (audit.wins, audit.losses, audit.ties, audit.rows) == (0, 0, N, N)
    assert (audit.first_position, audit.consistency) == (1.0, 0.0)
    assert any("chose the answer that came first in 100 % of its decisions" in fault for fault in audit.faults)
    assert report.verdict == "cannot tell"
    assert report.sentence.startswith("Cannot tell: the judge decides and is advisory only")


def test_a_judge_that_agrees_with_people_decides(tmp_path):
    report = judged(
        Judge(prefers_good), [f"{'good' if i % 5 else 'bad'} one {i}" for i in range(N)],
        calibration=labels_file(tmp_path, lambda x: x),
    )  # fmt: skip
    [audit] = report.judges
    assert (audit.wins, audit.losses, audit.ties) == (48, 0, 12)
    assert (audit.kappa, audit.labels, audit.faults) == (1.0, 120, ())
    assert audit.first_position == 0.5
    assert report.verdict == "better"
    preference = {s.model: s.value for s in report.summaries if s.metric == "judge"}
    assert preference == {"base": 0.5, "tuned": pytest.approx(0.5 + 48 / 120)}
    assert (audit.judge.digest, len(audit.prompt_digest)) == ("j", 16)
    assert any("Judge judge on tuned: 48 wins, 0 losses, 12 ties" in note for note in report.notes)


def test_a_judge_that_disagrees_with_people_is_advisory(tmp_path):
    swap = {"a": "b", "b": "a", "tie": "tie"}
    report = judged(Judge(prefers_good), ["good one"] * N, calibration=labels_file(tmp_path, swap.__getitem__))
    [audit] = report.judges
    assert audit.kappa < 0.2
    assert any("below 0.6" in fault for fault in audit.faults)
    assert report.verdict == "cannot tell"


def test_without_labels_or_with_few_it_is_advisory(tmp_path):
    [audit] = judged(Judge(prefers_good), ["good one"] * N).judges
    assert audit.faults == ("its agreement with people was not measured (judge.calibration)",)
    few = labels_file(tmp_path, lambda x: x, 20)
    [audit] = judged(Judge(prefers_good), ["good one"] * N, calibration=few).judges
    assert audit.faults == ("20 human labels are fewer than 100",)


def test_an_advisory_judge_does_not_change_what_another_metric_decides():
    report = judged(Judge(prefers_good), TEXTS, primary="chrf")
    assert report.verdict == "better"


def test_nonsense_is_counted_and_not_guessed(tmp_path):
    rule = lambda a, b: "I prefer the kind one" if "7" in a + b or "8" in a + b else prefers_good(a, b)  # noqa: E731
    report = judged(Judge(rule), [f"good one {i}" for i in range(N)], calibration=labels_file(tmp_path, lambda x: x))
    [audit] = report.judges
    nonsense = sum("7" in str(i) or "8" in str(i) for i in range(N))
    assert (audit.nonsense, audit.wins) == (nonsense, N - nonsense)
    assert any(f"{nonsense} of {N} pairs got an answer that is neither A, B nor tie" in fault for fault in audit.faults)


def test_equal_answers_are_even_without_asking():
    judge = Judge(prefers_good)
    [audit] = judged(judge, [f"bad answer {i}" for i in range(N)]).judges
    assert judge.asked == []
    assert (audit.ties, audit.first_position, audit.consistency) == (N, None, None)


def test_a_judge_that_is_the_tuned_model_is_flagged():
    [audit] = judged(Judge(prefers_good, digest="t"), ["good one"] * N).judges
    assert audit.flags[0] == "the judge is tuned itself, which prefers its own answers"


def test_wins_of_longer_answers_are_flagged_and_those_of_equal_length_counted():
    [audit] = judged(Judge(prefers_good), ["good " * 30] * N).judges
    assert any("wins went to the longer answer" in flag for flag in audit.flags)
    assert audit.alike_wins == 0
    [audit] = judged(Judge(prefers_good), [f"good answer {i}" for i in range(N)]).judges
    assert audit.alike_wins == N


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", "first"),
        (" B.\n", "second"),
        ("TIE", "tie"),
        ("Answer A", "first"),
        ("A or B", "nonsense"),
        ("", "nonsense"),
    ],
)
def test_reading_judgements(text, choice):
    assert read_choice(text) == choice


@pytest.mark.parametrize("seed", range(10))
def test_kappa_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    first = random.integers(0, 3, 50)
    second = np.where(random.random(50) < 0.6, first, random.integers(0, 3, 50))
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a comparison with a human label"),
        ('{"question": "q", "a": "x"}', "not a comparison with a human label"),
        ('{"question": "q", "a": "x", "b": "y", "human": "A"}', "'A' is no human label"),
    ],
)
def test_human_labels_that_cannot_be_read(tmp_path, line, message):
    path = tmp_path / "l.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(ConfigError, match=message) as error:
        read_labels(str(path))
    assert error.value.where == f"{path}:2"
    with pytest.raises(ConfigError, match="cannot read the human labels"):
        read_labels(str(tmp_path / "none"))


def test_a_judge_has_to_be_opened():
    rows = [example("question", "a text that is no label, being long")]
    with pytest.raises(ConfigError, match="no model answers for the judge 'judge'"):
        run(Config(judge={"model": "judge"}), [Scripted("a", ["x"]), Scripted("b", ["y"])], rows, judges={})
    report = run(Config(judge={"model": "judge"}), [Scripted("a", ["x"]), Scripted("b", ["y"])], rows)
    [note] = {s.note for s in report.summaries if s.metric == "judge"}
    assert note == "models that grade are asked by tunesmith eval and compare only"


def test_a_judge_of_one_model_measures_nothing():
    rows = [example("question", "a text that is no label, being long")]
    config = Config(judge={"model": "judge"}, primary_metric="judge")
    report = run(config, [Scripted("a", ["x"])], rows, judges={"judge": Judge(prefers_good)})
    [found] = [s for s in report.summaries if s.metric == "judge"]
    assert (found.value, found.note) == (None, "a judge compares, and there is one model")
