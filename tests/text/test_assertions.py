"""Lists of demands on an answer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tunesmith.core.errors import ConfigError
from tunesmith.text.graders import Assertion, Demand, Sample, meets, require_assertion

ITEM = {"reference": "Yours sincerely", "n": 3}
JSON = '{"items": [{"name": "soap", "n": 2}], "total": 12}'


@pytest.mark.parametrize(
    ("assertion", "answer", "met"),
    [
        ({"type": "equals", "value": "{{item.reference}}"}, " Yours sincerely\n", True),
        ({"type": "contains", "value": "sincerely"}, "Yours sincerely", True),
        ({"type": "contains", "value": "Sincerely"}, "Yours sincerely", False),
        ({"type": "icontains", "value": "Sincerely"}, "Yours sincerely", True),
        ({"type": "not-contains", "value": "as an AI"}, "as an AI model", False),
        ({"type": "contains-any", "value": ["a1", "b1"]}, "b1", True),
        ({"type": "contains-all", "value": ["a1", "b1"]}, "b1", False),
        ({"type": "starts-with", "value": "Dear"}, "Dear Ms Jansen", True),
        ({"type": "ends-with", "value": "."}, "No", False),
        ({"type": "regex", "value": r"^\d{4} ?[A-Z]{2}$"}, "1234 AB", True),
        ({"type": "not-regex", "value": r"\d"}, "a1", False),
        ({"type": "is-json"}, JSON, True),
        ({"type": "is-json"}, f"```{JSON}```", False),
        ({"type": "is-json", "value": {"required": ["total"]}}, JSON, True),
        ({"type": "is-json", "value": {"required": ["tax"]}}, JSON, False),
        ({"type": "json-path", "path": "$.items[0].name", "value": "soap"}, JSON, True),
        ({"type": "json-path", "path": "$.items[0].n", "value": 3}, JSON, False),
        ({"type": "json-path", "path": "$.items[1]"}, JSON, False),
        ({"type": "json-path", "path": "$.total"}, JSON, True),
        ({"type": "max-length", "value": 3}, "abcd", False),
        ({"type": "min-length", "value": 3}, "abc", True),
        ({"type": "max-words", "value": 2}, "a b", True),
        ({"type": "similar", "threshold": 0.9}, "Yours sincerelly", True),
        ({"type": "similar", "threshold": 0.9, "measure": "rouge_l"}, "Yours sincerelly", False),
        ({"type": "latency", "value": 1.5}, "x", True),
        ({"type": "cost", "value": 0.001}, "x", None),
    ],
)
def test_demands(assertion, answer, met):
    demand = Demand(ITEM, Sample(output_text=answer), seconds=1.0)
    found = Assertion.model_validate(assertion)
    require_assertion(found, "assertions.0")
    assert meets(found, demand) is met


@pytest.mark.parametrize(
    ("assertion", "message"),
    [
        ({"type": "contians", "value": "x"}, "Input should be"),
        ({"type": "contains"}, "contains needs a text as its value"),
        ({"type": "contains-any", "value": "x"}, "contains-any needs a list of texts"),
        ({"type": "max-length", "value": "x"}, "max-length needs a number"),
        ({"type": "json-path", "path": "items"}, "json-path needs a path such as"),
        ({"type": "regex", "value": "("}, "is no regular expression"),
        ({"type": "similar", "measure": "cosine"}, "measure is one of fuzzy_match"),
    ],
)
def test_demands_that_cannot_be(assertion, message):
    with pytest.raises(ValidationError, match=message):
        Assertion.model_validate(assertion)


def test_unknown_variables_and_schemas_are_named():
    with pytest.raises(ConfigError, match="there is no variable"):
        require_assertion(Assertion(type="contains", value="{{row.x}}"), "assertions.0")
    with pytest.raises(ConfigError, match="value of is-json is not a JSON schema"):
        require_assertion(Assertion(type="is-json", value="x"), "assertions.0")
    with pytest.raises(ConfigError, match=r"the assertion cannot be filled in: item.refrence.*did you mean reference"):
        meets(Assertion(type="contains", value="{{item.refrence}}"), Demand(ITEM, Sample(output_text="x")))


def test_titles():
    assert Assertion(type="contains", value="a").title == "contains a"
    assert Assertion(type="is-json", name="parses").title == "parses"
