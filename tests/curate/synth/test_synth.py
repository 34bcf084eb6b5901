"""Rows made by a generator: what is asked, what is kept, what is marked, and that nothing is asked twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.curate.helpers import error_of, example
from tunesmith.core.errors import InputError
from tunesmith.core.protocols import Progress
from tunesmith.core.records import Completion, Document, Example, Prompt, SamplingParams, Score
from tunesmith.curate import SynthOptions, synthesise
from tunesmith.curate.synth.filters import Novelty, is_copy, rouge_l, schema_filter
from tunesmith.curate.synth.methods import question_from, values_of

SEEDS = [
    example("When is the museum in Utrecht open on Sunday?", '{"place": "Utrecht", "day": "Sunday"}', 1),
    example("Book a table for 4 at Luigi on Friday evening.", '{"place": "Luigi", "day": "Friday", "people": 4}', 2),
    example("Is the pool at Velp closed next Monday morning?", '{"place": "Velp", "day": "Monday"}', 3),
]


class Generator:
    """Answers by a script; counts what it is asked."""

    def __init__(self, *answers: str, finish: str = "stop", name: str = "gen") -> None:
        self.name, self.digest = name, f"digest of {name}"
        self.answers, self.finish = answers, finish
        self.asked: list[Prompt] = []
        self.seeds: list[int | None] = []

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        found = []
        for prompt in prompts:
            text = self.answers[len(self.asked) % len(self.answers)]
            self.asked.append(prompt)
            self.seeds.append(params.seed)
            found.append(
                Completion(text=text, finish_reason=self.finish, prompt_tokens=10, completion_tokens=3)  # type: ignore[arg-type]
            )
        return found

    def score(self, examples: Sequence[Example], progress: Progress | None = None) -> list[Score]:
        raise NotImplementedError("nobody asks for scores")


class Numbered(Generator):
    """A different question each time; the same short answer."""

    WORDS = ("train", "ferry", "garden", "school", "clinic", "cinema", "bakery", "office", "market", "harbour")

    def sample(
        self, prompts: Sequence[Prompt], params: SamplingParams, progress: Progress | None = None
    ) -> list[Completion]:
        start = len(self.asked)
        found = super().sample(prompts, params, progress)
        is_question = prompts[0].messages[0].role == "system"
        kinds = [f"{self.WORDS[i % 10]} {self.WORDS[i // 10 % 10]} {i} {self.WORDS[i // 3 % 10]}?" for i in range(999)]
        return [
            each.model_copy(update={"text": kinds[start + i] if is_question else '{"day": "now"}'})
            for i, each in enumerate(found)
        ]


def made_from(tmp_path: Path, generator: Generator, **options: object):  # type: ignore[no-untyped-def]
    schema = options.pop("schema", None)
    more = {name: options.pop(name) for name in ("is_personal", "same_language") if name in options}
    return synthesise(
        SEEDS,
        generator,
        SynthOptions(**options),
        tmp_path / "journal",
        schema=schema,
        **more,  # type: ignore[arg-type]
    )


def test_new_questions_get_answers_and_marks(tmp_path: Path) -> None:
    generator = Numbered("x", name="small model")
    made = made_from(tmp_path, generator, rows=20)
    assert len(made.rows) == 20
    assert made.rejected == {}
    row = made.rows[0]
    assert row.split == "train"
    assert row.synthetic is not None
    assert (row.synthetic.method, row.synthetic.generator) == ("new-questions", "small model")
    assert row.synthetic.parents[0] == SEEDS[0].id
    assert set(row.synthetic.parents) == {seed.id for seed in SEEDS}
    assert made.asked == len(generator.asked) == 64
    assert (made.prompt_tokens, made.completion_tokens) == (640, 192)
    shown = generator.asked[0].messages[-1].text
    assert all(seed.messages[0].text in shown for seed in SEEDS)
    roles = [message.role for message in generator.asked[16].messages]
    assert roles == ["user", "assistant"] * 3 + ["user"]


def test_nothing_is_asked_twice_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    whole = made_from(tmp_path / "a", Numbered("x"), rows=40)
    made_from(tmp_path / "b", Numbered("x"), rows=10)
    journal = tmp_path / "b" / "journal"
    journal.write_text(journal.read_text() + '{"batch": "1:questions", "answ')  # the process died while writing
    later = Numbered("x")
    later.asked = [Prompt(messages=SEEDS[0].messages)] * 32  # answers go on where they were
    again = made_from(tmp_path / "b", later, rows=40)
    assert [row.id for row in again.rows] == [row.id for row in whole.rows]
    assert len(later.asked) - 32 == whole.asked - 32
    silent = Generator("never asked")
    assert len(made_from(tmp_path / "b", silent, rows=40).rows) == 40
    assert silent.asked == []


def test_another_synthesis_does_not_go_on_with_this_journal(tmp_path: Path) -> None:
    made_from(tmp_path, Numbered("x"), rows=5)
    with pytest.raises(InputError, match="the journal is that of another synthesis"):
        made_from(tmp_path, Numbered("x", name="other"), rows=5)


@pytest.mark.parametrize(
    ("method", "answers", "reason"),
    [
        ("paraphrase", [" "], "empty"),
        ("paraphrase", ["Sorry, I'm sorry, I cannot help with that."], "refusal"),
        ("paraphrase", [SEEDS[0].messages[0].text, SEEDS[1].messages[0].text, SEEDS[2].messages[0].text], "not new"),
        ("paraphrase", ["Could one sit down with some people at that restaurant when the week ends?"], "facts lost"),
        ("from-answers", ["Tell me about some place on some other day of the week, please"], "facts lost"),
        ("new-questions", [f"Well: {SEEDS[1].messages[0].text}"], "copy"),
        ("new-questions", ["What is it that nobody asked before today?"], "schema"),
    ],
)
def test_what_is_not_kept_has_a_reason(tmp_path: Path, method: str, answers: list[str], reason: str) -> None:
    schema = {"type": "object", "required": ["place"]} if reason == "schema" else None
    made = made_from(tmp_path, Generator(*answers), method=method, rows=4, attempts=4, schema=schema)
    assert made.rejected[reason] > 0
    assert reason in made.rejected
    assert len(made.rows) < 4


def test_cut_answers_personal_data_and_other_languages_are_not_kept(tmp_path: Path) -> None:
    assert made_from(tmp_path / "a", Generator("A good question?", finish="length"), rows=2).rejected == {"cut": 16}
    private = made_from(tmp_path / "b", Numbered("x"), rows=2, is_personal=lambda text: "now" in text)
    assert set(private.rejected) == {"personal data"}
    other = made_from(tmp_path / "c", Numbered("x"), rows=2, same_language=lambda a, b: False)
    assert set(other.rejected) == {"language"}


def test_a_paraphrase_keeps_the_answer_and_the_facts(tmp_path: Path) -> None:
    words = "At Luigi, could we have a place to sit with 4 people when Friday ends?"
    made = made_from(tmp_path, Generator(words), method="paraphrase", rows=5, attempts=4)
    assert {row.target.text for row in made.rows} <= {seed.target.text for seed in SEEDS}
    assert made.rows[0].messages[-1].text == words
    assert made.rows[0].synthetic is not None
    assert made.rows[0].synthetic.parents == (SEEDS[0].id,)


def test_held_out_rows_and_plain_texts_are_no_seeds(tmp_path: Path) -> None:
    def refuse(*seeds: Example) -> str:
        return error_of(lambda: synthesise(seeds, Generator("x"), SynthOptions(), tmp_path / "j")).what

    assert refuse(example(split="test")) == "a seed is held out for test"
    assert refuse(Example(messages=(), target=Document(text="once"))) == "a seed is plain text"
    assert refuse() == "there are no seeds"


def test_questions_are_taken_out_of_what_the_generator_says() -> None:
    assert question_from('  Request 4: "When is it open?"\n\nRequest 5: no') == "When is it open?"
    assert question_from("New question: Why?") == "Why?"


def test_values_are_what_must_not_be_lost() -> None:
    assert values_of('{"a": "x", "b": [1, null, {"c": "y"}], "d": true}') == ["x", "1", "y"]
    assert values_of('Pay 12.50 before 3 May for "Blue Door"') == ["12.50", "3", "Blue Door"]


def test_overlap_and_copies() -> None:
    assert rouge_l(["a", "b", "c", "d"], ["a", "x", "c", "d"]) == pytest.approx(0.75)
    assert rouge_l([], ["a"]) == 0
    novelty = Novelty(["a b c d e"], 0.7)
    assert not novelty.is_new("a b c d f")
    assert novelty.is_new("a b")
    novelty.add("one two three")
    assert not novelty.is_new("One  two THREE")
    assert is_copy("When is the museum in Utrecht open on Sunday or later?", SEEDS)
    assert not is_copy("When is the museum in Arnhem open on Sunday?", SEEDS)
    assert schema_filter({"type": "object"})("[]") is False
    assert schema_filter({"type": "object"})("no json") is False
    assert schema_filter(None)("no json") is True


def test_the_journal_is_plain_json(tmp_path: Path) -> None:
    made_from(tmp_path, Numbered("x"), rows=5)
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [line.get("batch") for line in lines] == [None, "0:questions", "0:answers"]


def test_personal_data_and_languages_are_recognised() -> None:
    from tunesmith.curate.synth.filters import has_personal, same_language

    assert has_personal("Mail me at jan.jansen@example.nl please")
    assert not has_personal("When is the museum open?")
    dutch = "Ik wil graag weten wanneer het zwembad morgen weer open gaat, kunt u dat zeggen?"
    english = "I would like to know when the swimming pool opens again tomorrow, can you tell me?"
    assert not same_language(dutch, english)
    assert same_language(dutch, dutch)
    assert same_language("Ja", english)
