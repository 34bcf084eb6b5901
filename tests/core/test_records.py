"""Every record survives JSON; content hashes depend on content only."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tunesmith.core import artifacts, events, records
from tunesmith.core.artifacts import RunRecord
from tunesmith.core.records import Example, Message, Record, Reply, Score, Source, TokenizedExample, digest_of

RECORDS = sorted(
    {
        value
        for module in (records, artifacts, events)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Record) and value is not Record
    },
    key=lambda record: record.__name__,
)
STORED = ("Example", "Trace", "DatasetCard", "RunRecord", "AdapterCard", "Report", "Release")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)


def strategy(annotation: Any, limits: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values that a field of this type takes."""
    origin, inner = get_origin(annotation), get_args(annotation)
    plain = {str: TEXT, bool: st.booleans(), type(None): st.none(), Any: JSON, object: JSON}
    if annotation in plain:
        return plain[annotation]
    if annotation in (int, float):
        return numbers(annotation, limits)
    if origin is Annotated:
        return strategy(inner[0], (*limits, *inner[1:]))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of([strategy(branch, limits) for branch in inner])
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(strategy(inner[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(strategy, inner))
    if origin in (dict, Mapping):
        return st.dictionaries(strategy(inner[0]), strategy(inner[1]), max_size=2)
    return built(annotation)


def numbers(kind: type[int] | type[float], limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    low = next((limit.ge for limit in limits if isinstance(limit, annotated_types.Ge)), None)
    low = next((limit.gt for limit in limits if isinstance(limit, annotated_types.Gt)), low)
    high = next((limit.le for limit in limits if isinstance(limit, annotated_types.Le)), None)
    open_below = any(isinstance(limit, annotated_types.Gt) for limit in limits)
    if kind is int:
        return st.integers(low, high)
    return st.floats(low, high, allow_nan=False, exclude_min=open_below)


def built(record: type[Record]) -> st.SearchStrategy[Record]:
    fields = {name: strategy(field.annotation, tuple(field.metadata)) for name, field in record.model_fields.items()}
    return st.builds(record, **fields)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_json_round_trip(record: type[Record], data: st.DataObject) -> None:
    value = data.draw(built(record))
    text = value.model_dump_json()
    again = record.model_validate_json(text)
    assert again == value
    assert again.model_dump_json() == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_all_records_are_covered() -> None:
    names = {record.__name__ for record in RECORDS}
    assert {*STORED, "Message", "TokenizedExample", "Completion", "Step", "Note"} <= names


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_are_frozen_and_closed(record: type[Record]) -> None:
    assert record.model_config["frozen"]
    assert record.model_config["extra"] == "forbid"


@pytest.mark.parametrize("name", STORED)
def test_stored_records_carry_a_schema_version(name: str) -> None:
    (record,) = [record for record in RECORDS if record.__name__ == name]
    assert record.model_fields["schema_version"].default == records.SCHEMA_VERSION


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_come_back(number: float) -> None:
    score = Score(example_id="x", logprobs=(number,))
    again = Score.model_validate_json(score.model_dump_json())
    assert again.logprobs[0] == number or (math.isnan(again.logprobs[0]) and math.isnan(number))
    json.loads(score.model_dump_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_events_are_told_apart_by_kind() -> None:
    for event in (events.Stage(title="a"), events.Note(text="b"), events.Tick(task="c", done=1, total=2)):
        assert events.EVENT.validate_json(events.EVENT.dump_json(event)) == event


def test_numbers_as_keys_come_back_as_numbers() -> None:
    run = RunRecord(
        run_id="r",
        created_at="",
        config={},
        origins={},
        dataset_digest="",
        base_fingerprint="",
        renderer_digest="",
        seed=0,
        environment={},
        validation_losses={10: 1.5},
    )
    assert RunRecord.model_validate_json(run.model_dump_json()).validation_losses == {10: 1.5}


def example(text: str = "yes", path: str = "a.jsonl") -> Example:
    return Example(
        messages=(Message(role="user", content="Really?"),),
        target=Reply(message=Message(role="assistant", content=text)),
        source=Source(path=path, line=3),
    )


def test_the_id_of_an_example_is_its_content() -> None:
    assert example().id == example(path="b.jsonl").id
    assert example().id != example("no").id
    assert len(example().id) == 16
    assert Example.model_validate_json(example().model_dump_json()).id == example().id


def test_the_parts_of_an_example() -> None:
    assert example().prompt.messages == example().messages
    assert [message.text for message in example().conversation] == ["Really?", "yes"]
    assert example().target.text == "yes"
    assert str(example().source) == "a.jsonl:3"
    assert str(Source()) == "(no file)"


def test_content_may_be_text_parts_or_nothing() -> None:
    parts = Message.model_validate({"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]})
    assert parts.text == "ab"
    assert Message.model_validate({"role": "assistant", "content": None}).content == ()


def test_unknown_fields_and_negative_weights_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Message.model_validate({"role": "user", "contents": "x"})
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Message(role="assistant", weight=-1)


def test_trained_tokens_and_total() -> None:
    row = TokenizedExample(example_id="x", tokens=(1, 2, 3), weights=(0.0, 0.5, 1.0))
    assert row.trained_tokens == 2
    assert Score(example_id="x", logprobs=(-1.0, -2.5)).total == -3.5


@given(JSON)
def test_digests_ignore_the_order_of_keys(value: object) -> None:
    assert digest_of({"a": value, "b": 1}) == digest_of({"b": 1, "a": value})
    assert digest_of(json.loads(json.dumps(value))) == digest_of(value)
