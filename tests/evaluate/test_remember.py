"""Nothing is asked twice, also after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.evaluate.fakes import examples
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Example, Prompt, SamplingParams, Score
from tunesmith.evaluate.remember import PIECE, Remembered

ROWS = examples([f"answer {i}" for i in range(3 * PIECE)])
PROMPTS = [row.prompt for row in ROWS]


class Counting:
    """Answers with the question, and breaks at the n-th one."""

    def __init__(self, breaks_at: int = 10**9, digest: str = "d" * 40) -> None:
        self.name, self.digest = "counting", digest
        self.asked: list[str] = []
        self.scored = 0
        self._breaks_at = breaks_at

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        answers = []
        for prompt in prompts:
            if len(self.asked) == self._breaks_at:
                raise ConnectionError("down")
            self.asked.append(prompt.messages[0].text)
            text = prompt.messages[0].text
            answers.append(Completion(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1))
            if progress:
                progress(len(answers), len(prompts))
        return answers

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        self.scored += len(examples)
        return [Score(example_id=row.id, logprobs=(-0.1, -1 / 3)) for row in examples]


def test_a_run_that_broke_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Counting(breaks_at=PIECE + 5)
    with pytest.raises(ConnectionError):
        Remembered(first, tmp_path).sample(PROMPTS, SamplingParams())
    second = Counting()
    answers = Remembered(second, tmp_path).sample(PROMPTS, SamplingParams())
    assert [answer.text for answer in answers] == [prompt.messages[0].text for prompt in PROMPTS]
    assert len(second.asked) == 2 * PIECE, "the first piece is on disk"
    third = Counting()
    assert Remembered(third, tmp_path).sample(PROMPTS, SamplingParams()) == answers
    assert third.asked == []


def test_scores_come_back_bit_for_bit(tmp_path: Path) -> None:
    scores = Remembered(Counting(), tmp_path).score(ROWS)
    again = Counting()
    assert Remembered(again, tmp_path).score(ROWS) == scores
    assert again.scored == 0


def test_other_parameters_and_other_weights_are_asked(tmp_path: Path) -> None:
    Remembered(Counting(), tmp_path).sample(PROMPTS[:3], SamplingParams())
    longer, other = Counting(), Counting(digest="e" * 40)
    Remembered(longer, tmp_path).sample(PROMPTS[:3], SamplingParams(max_tokens=7))
    Remembered(other, tmp_path).sample(PROMPTS[:3], SamplingParams())
    assert (len(longer.asked), len(other.asked)) == (3, 3)


def test_what_has_no_identity_is_not_kept(tmp_path: Path) -> None:
    drawn = SamplingParams(temperature=1.0)
    Remembered(Counting(), tmp_path).sample(PROMPTS[:3], drawn)
    Remembered(Counting(digest=""), tmp_path).sample(PROMPTS[:3], SamplingParams())
    again = Counting()
    Remembered(again, tmp_path).sample(PROMPTS[:3], drawn)
    assert len(again.asked) == 3
    seeded = drawn.model_copy(update={"seed": 1})
    Remembered(Counting(), tmp_path).sample(PROMPTS[:3], seeded)
    third = Counting()
    Remembered(third, tmp_path).sample(PROMPTS[:3], seeded)
    assert third.asked == []


def test_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    Remembered(Counting(), tmp_path).sample(PROMPTS[:3], SamplingParams())
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    again = Counting()
    answers = Remembered(again, tmp_path).sample(PROMPTS[:3], SamplingParams())
    assert len(again.asked) == 1
    assert len(answers) == 3


def test_progress_counts_all_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    Remembered(Counting(), tmp_path).sample(PROMPTS, SamplingParams(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3 * PIECE, 3 * PIECE)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
