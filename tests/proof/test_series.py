"""A model over time, on rows that nothing has seen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.evaluate.fakes import Scripted, example
from tests.evaluate.test_page import Structure
from tunesmith.core import store
from tunesmith.core.artifacts import Report
from tunesmith.core.errors import DataError, InputError
from tunesmith.core.records import Example
from tunesmith.core.store import Workspace
from tunesmith.evaluate import Config, run
from tunesmith.held_out import TRAINED_ROWS
from tunesmith.proof import add_point, require_fresh, trend, trend_page


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def rows(month: str, count: int = 100) -> list[Example]:
    return [example(f"question {i} of {month}", f"answer {i}", i + 1) for i in range(count)]


def measured(month: str, right: int, count: int = 100) -> Report:
    answers = [f"answer {i}" if i < right else "wrong" for i in range(count)]
    config = Config(primary_metric="exact_match", bootstrap_samples=200)
    return run(
        config, [Scripted("bot", answers, digest="d")], rows(month, count), created_at=f"{month}-01T00:00:00+00:00"
    )


def test_a_fall_is_called_and_noise_is_not(workspace: Workspace) -> None:
    first = add_point("support", measured("2026-01", 90), workspace)
    assert (first.verdict, len(first.points)) == ("cannot tell", 1)
    assert "a trend takes two" in first.sentence
    held = add_point("support", measured("2026-02", 87), workspace)
    assert held.verdict == "cannot tell"
    assert "stays unseen" in held.sentence
    fell = add_point("support", measured("2026-03", 60), workspace)
    assert fell.verdict == "worse"
    assert [point.value for point in fell.points] == [0.9, 0.87, 0.6]


def test_the_page_shows_every_point_with_its_interval(workspace: Workspace) -> None:
    add_point("support", measured("2026-01", 90), workspace)
    found = add_point("support", measured("2026-03", 60), workspace)
    page = trend_page(found)
    shown = Structure(page)
    assert page.count('class="whisker"') == 2
    assert "Worse than at the beginning" in shown.words
    assert found.points[1].report_id in shown.words
    assert "82.4 – 95.1 %" in shown.words
    assert "http" not in page.replace("http-equiv", "")
    assert trend_page(found) == page


def test_equal_models_rarely_have_a_trend(workspace: Workspace) -> None:
    import numpy as np

    from tunesmith.core.stats import proportion_interval
    from tunesmith.proof.series import Point, _difference

    random, found = np.random.default_rng(0), 0
    names = dict.fromkeys(("series", "at", "report_id", "model", "model_digest", "metric"), "x")
    for pair in random.binomial(80, 0.8, (1000, 2)).tolist():
        points = []
        for right in pair:
            interval = proportion_interval(right, 80)
            points.append(
                Point(
                    **names,
                    higher_is_better=True,
                    rows=(),
                    value=right / 80,
                    low=interval.low,
                    high=interval.high,
                    n=80,
                )
            )
        found += _difference(*points).excludes_zero
    assert found / 1000 <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_rows_of_an_earlier_point_and_of_any_training_are_refused(workspace: Workspace) -> None:
    add_point("support", measured("2026-01", 90), workspace)
    require_fresh("support", rows("2026-02"), workspace)
    with pytest.raises(DataError, match="100 of 100 rows were in support before"):
        require_fresh("support", rows("2026-01"), workspace)
    seen = rows("2026-02")[3]
    workspace.publish("adapter", lambda folder: store.write_text(folder / TRAINED_ROWS, seen.id + "\n"))
    with pytest.raises(DataError, match="1 of 100 rows were trained on by a run of this workspace"):
        require_fresh("support", rows("2026-02"), workspace)


def test_an_old_sample_is_due(workspace: Workspace) -> None:
    add_point("support", measured("2026-01", 90), workspace)
    assert not trend("support", workspace, datetime(2026, 3, 1, tzinfo=UTC)).due
    late = trend("support", workspace, datetime(2026, 5, 1, tzinfo=UTC))
    assert (late.due, late.days) == (True, 120)


def test_what_cannot_be_a_point(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="there is no series called support"):
        trend("support", workspace)
    report = measured("2026-01", 90)
    unknown = report.model_copy(update={"primary_metric": "chrf"})
    with pytest.raises(InputError, match="has no chrf to note"):
        add_point("support", unknown, workspace)
