"""Several seeds of one training, judged as one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluate.fakes import Scripted, examples
from tunesmith.core.errors import InputError
from tunesmith.evaluate import Config, run, to_html
from tunesmith.evaluate.metrics import Metric, bleu
from tunesmith.evaluate.seeds import together
from tunesmith.evaluate.verdict import Scored

CONFIG = Config(bootstrap_samples=300, seeds_together=True, equivalence_margin=0.0)
MEAN = Metric("token_f1", lambda row: ())


def scored(name: str, values: np.ndarray) -> Scored:
    return Scored(name, name, {MEAN.name: np.column_stack([values, np.ones(len(values))])}, {}, {})


def seeds(random: np.random.Generator, gain: float, between: float, n: int = 100, count: int = 3) -> list[Scored]:
    """A baseline and trainings that differ from it by a gain, by luck of the seed, and by noise in each row."""
    hard = random.uniform(0.3, 0.6, n)
    rows = [hard + random.normal(0.0, 0.1, n)]
    rows += [hard + gain + random.normal(0.0, between) + random.normal(0.0, 0.1, n) for _ in range(count)]
    return [scored(str(i), values) for i, values in enumerate(rows)]


def test_luck_of_the_seed_is_no_gain() -> None:
    """Without a true gain, one of three lucky seeds looks better often; all together rarely."""
    random, alone, joint, runs = np.random.default_rng(0), 0, 0, 400
    for _ in range(runs):
        models = seeds(random, 0.0, 0.05)
        found = together(models, MEAN, CONFIG)
        assert found is not None
        joint += found.verdict != "cannot tell"
        single = [model.counts[MEAN.name][:, 0] - models[0].counts[MEAN.name][:, 0] for model in models[1:]]
        alone += any(abs(change.mean()) > 1.96 * change.std() / 10 for change in single)
    assert alone / runs > 0.5
    assert joint / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


def test_a_gain_that_every_seed_has_is_found() -> None:
    random = np.random.default_rng(1)
    found = [together(seeds(random, 0.2, 0.02), MEAN, CONFIG) for _ in range(50)]
    assert [one.verdict for one in found if one] == ["better"] * 50


def test_corpus_scores_and_groups() -> None:
    random = np.random.default_rng(2)
    metric = Metric("bleu", lambda row: (), bleu, scale=100.0)
    tables = []
    for rate in (3, 5, 6):
        matched = random.integers(rate, rate + 3, (40, 4))
        tables.append(np.hstack([np.full((40, 2), 12.0), matched, np.full((40, 4), 10.0)]))
    models = [Scored(str(i), str(i), {"bleu": table}, {}, {}) for i, table in enumerate(tables)]
    found = together(models, metric, CONFIG)
    grouped = together(models, metric, CONFIG, [str(i // 4) for i in range(40)])
    assert found is not None
    assert grouped is not None
    assert found.difference == pytest.approx(grouped.difference)
    base, *tuned = (float(bleu(table.sum(axis=0))) for table in tables)
    assert found.difference == pytest.approx(np.mean(tuned) - base)
    assert (found.n, grouped.n) == (40, 40)


def test_the_report_leads_with_all_seeds_and_shows_the_spread() -> None:
    rows = examples([f"label {i}" for i in range(60)])

    def model(name: str, right: range) -> Scripted:
        return Scripted(name, [row.target.text if i in right else "no" for i, row in enumerate(rows)], digest=name)

    models = [model("base", range(10)), *(model(f"seed {k}", range(48 + k)) for k in range(3))]
    report = run(CONFIG, models, rows)
    assert report.comparisons[0].candidate == "mean of 3 seeds"
    assert report.verdict == report.comparisons[0].verdict == "better"
    assert "Between seeds the standard deviation is 1.7 points (80.0 %, 81.7 %, 83.3 %)." in report.sentence
    assert "mean of 3 seeds is better than base on exact match" in to_html(report)
    assert len(report.items) == 60


@pytest.mark.parametrize(("names", "what"), [(["a", "b"], "there is one model"), (["a", "b", "b"], "the same model")])
def test_what_is_no_set_of_seeds(names: list[str], what: str) -> None:
    rows = examples([f"label {i}" for i in range(9)])
    with pytest.raises(InputError, match=what):
        run(CONFIG, [Scripted(name, ["no"] * 9, digest=name) for name in names], rows)
