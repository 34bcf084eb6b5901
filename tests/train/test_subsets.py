"""Parts of the training rows: nested, in proportion, with whole rows; and trainings on them."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Desk, desk  # noqa: F401
from tests.project import CONFIG
from tests.train.job import InstantReload
from tunesmith import lifecycle
from tunesmith import train as training
from tunesmith.core.errors import TrainingError
from tunesmith.core.records import Span, TokenizedExample
from tunesmith.core.rows import endings, lengths, trained
from tunesmith.core.store import Workspace
from tunesmith.train import Config, subset_trial, subsets, verify
from tunesmith.train.order import Order, Part


def row(name: str, length: int = 4) -> TokenizedExample:
    weights = (0.0,) * (length - 1) + (1.0,)
    spans = (Span(start=length - 1, end=length),)
    return TokenizedExample(example_id=name, tokens=tuple(range(length)), weights=weights, spans=spans)


ROWS = [row("a"), row("a", 5), row("b"), *(row(f"c{i}") for i in range(20)), *(row(f"d{i}") for i in range(8))]
PARTS = (Part("first", 23, 23), Part("second", 8, 16))


def test_tokenised_rows_of_a_row_stay_together() -> None:
    units = subsets.units_of(ROWS, PARTS)
    assert len(units) == 30
    assert units[0].rows == (0, 1)
    assert [unit.part for unit in units].count(1) == 8


def test_shares_are_nested_in_proportion_and_follow_the_seed() -> None:
    units = subsets.units_of(ROWS, PARTS)
    quarter, half, whole = (subsets.nested(units, share, 7) for share in (0.25, 0.5, 1.0))
    assert {u.id for u in quarter} < {u.id for u in half} < {u.id for u in whole}
    assert len(whole) == 30
    assert [sum(u.part == part for u in half) for part in (0, 1)] == [11, 4]
    assert subsets.nested(units, 0.5, 7) == half
    assert subsets.nested(units, 0.5, 8) != half
    assert subsets.numbers_of(whole) == list(range(31))


def test_parts_keep_their_weight() -> None:
    units = subsets.units_of(ROWS, PARTS)
    assert subsets.parts_for(units, PARTS) == PARTS
    some = [unit for unit in units if unit.part == 1][:3]
    assert subsets.parts_for(some, PARTS) == (Part("second", 3, 6),)
    assert subsets.parts_for(units, ()) == ()


def test_chosen_rows_answer_like_a_list() -> None:
    chosen = subsets.Chosen(ROWS, [1, 3, 5])
    plain = [ROWS[1], ROWS[3], ROWS[5]]
    assert list(chosen) == plain
    assert chosen[1] == ROWS[3]
    assert list(chosen[1:]) == plain[1:]
    assert len(chosen) == 3
    assert lengths(chosen) == lengths(plain)
    assert trained(chosen) == trained(plain)
    assert list(endings(chosen)) == list(endings(plain))


def test_as_many_epochs_and_as_many_validations() -> None:
    config = Config(num_train_epochs=2, learning_rate=1e-3)
    whole, some = Order(80, 8, 0), Order(40, 8, 0)
    made = subsets.config_for(config, 5, some, whole)
    assert (made.seed, made.max_steps, made.eval_steps, made.early_stopping_patience) == (5, 0, 3, 0)
    assert subsets.config_for(config, 5, whole, whole).eval_steps == 5
    limited = config.model_copy(update={"max_steps": 30})
    assert subsets.config_for(limited, 5, some, whole).max_steps == 15


def bench(desk: Desk, **values: object) -> tuple[lifecycle.Project, training.Rows, training.Context]:  # noqa: F811
    desk.config(learning_rate=3e-3, num_train_epochs=2, **values)
    project = lifecycle.prepare(lifecycle.load_settings(desk.folder / CONFIG), Workspace.open(desk.home))
    train, validation = (lifecycle.tokenise(project, split) for split in ("train", "validation"))
    rows = training.Rows(train, validation, "digest", training.parts_of(project.dataset.sets))
    base = lifecycle.load_engine(project).base
    return project, rows, training.Context(base, project.renderer, "model", desk.folder / "out")


def test_a_training_gives_a_loss_for_every_validation_row_and_leaves_the_base_alone(desk: Desk) -> None:  # noqa: F811
    project, rows, context = bench(desk)
    units = training.units_of(rows.train, rows.parts)
    half = training.nested(units, 0.5, 1)
    first = training.train_on(project.config, project.adapter, rows, context, half, 1)
    again = training.train_on(project.config, project.adapter, rows, context, half, 1)
    assert first.losses == again.losses
    assert first.key == again.key == training.subset_key(project.config, project.adapter, rows, context, half, 1)
    assert len(first.losses) == len(rows.validation)
    assert first.rows == len(half)
    assert min(first.losses) <= first.loss <= max(first.losses)
    assert first.still_falling > 0
    keys = {
        training.subset_key(project.config, project.adapter, rows, context, u, s) for u in (half, units) for s in (1, 2)
    }
    assert len(keys) == 4
    assert not (desk.folder / "out").exists()


def test_on_all_rows_it_is_the_run_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(verify, "Reload", InstantReload)
    project, rows, context = bench(desk)
    units = training.units_of(rows.train, rows.parts)
    found = training.train_on(project.config, project.adapter, rows, context, units, project.config.seed)
    mine = subset_trial.subset_config(project.config, rows, units, project.config.seed)
    ran = desk.train("--set", f"eval_steps={mine.eval_steps}", "--json")
    losses = ran.document["run"]["validation_losses"]
    assert len(losses) == 4
    assert found.loss == pytest.approx(min(losses.values()), rel=1e-5)


def test_losses_that_are_no_numbers_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    project, rows, context = bench(desk)
    monkeypatch.setattr(subset_trial, "row_losses", lambda _: ((float("nan"),), float("nan")))
    with pytest.raises(TrainingError, match="no validation of this training gave a number"):
        training.train_on(project.config, project.adapter, rows, context, training.units_of(rows.train), 1)
