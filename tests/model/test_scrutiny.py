"""Every token under the whole distribution: beside the scores of the sampler, and beside what greedy decoding gives."""

from __future__ import annotations

import pytest

from tests.evaluate.fakes import example
from tests.tiny import build_model
from tunesmith.core.errors import DataError
from tunesmith.core.records import SamplingParams
from tunesmith.model.sample import LocalSampler
from tunesmith.model.scrutiny import token_scorer
from tunesmith.serve import make_renderer
from tunesmith.serve.opening import open_engine


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> LocalSampler:
    folder = build_model(tmp_path_factory.mktemp("tiny"), spread=0.2)
    return LocalSampler(open_engine(folder, "float32", lambda _: None), make_renderer(folder))


def test_tokens_have_the_sampler_s_own_scores_and_moments_of_a_distribution(sampler: LocalSampler) -> None:
    rows = [example(f"question {i}", "The Eagle is a French restaurant. " * (i + 1)) for i in range(5)]
    for found, score in zip(token_scorer(sampler)(rows), sampler.score(rows), strict=True):
        assert found.example_id == score.example_id
        assert found.logprobs == pytest.approx(score.logprobs, abs=1e-4)
        assert all(best >= own for own, best in zip(found.logprobs, found.best, strict=True))
        assert all(
            best >= mean and spread >= 0
            for best, mean, spread in zip(found.best, found.mean, found.deviation, strict=True)
        )


def test_the_first_token_is_greedy_where_decoding_begins_with_it(sampler: LocalSampler) -> None:
    [answer] = sampler.sample([example("What is this?", "x").prompt], SamplingParams(max_tokens=1))
    rows = [example("What is this?", chr(code)) for code in range(33, 127)]
    rows += [example("What is this?", text) for text in (answer.text, "The", " Eagle", "restaurant") if text.strip()]
    for row, found in zip(rows, token_scorer(sampler)(rows), strict=True):
        ids = sampler.renderer.example(row)[-1]
        assert found.greedy[0] == (ids.tokens[ids.spans[-1].start] == answer.token_ids[0])


def test_a_row_beyond_the_context_is_named(sampler: LocalSampler) -> None:
    with pytest.raises(DataError, match="and the model takes 512"):
        token_scorer(sampler)([example("long", "word " * 600)])
