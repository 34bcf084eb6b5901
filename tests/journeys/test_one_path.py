"""What is trained is what is judged and what is served: the same ids and the same numbers on every path, and PEFT's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.command import inside
from tests.project import CONFIG, ROWS, build_base, write_config
from tests.train.job import InstantReload
from tunesmith import lifecycle, serve
from tunesmith.core.generation import GenerationRequest, TokenOut
from tunesmith.core.records import Example, SamplingParams, TokenizedExample
from tunesmith.core.store import Workspace
from tunesmith.model.batch import pack
from tunesmith.model.engine import Engine
from tunesmith.model.sample import LocalSampler, answer_logprobs
from tunesmith.serve import ApiKey, Config, start_server
from tunesmith.train import loop, verify

NEAR = 1e-4
"""Largest difference of a log-probability in float32 (nats)."""


@dataclass
class Seen:
    """Everything that reached the weights: packed rows of training, requests and tokens of the engine."""

    packed: list[tuple[int, ...]] = field(default_factory=list)
    asked: list[GenerationRequest] = field(default_factory=list)
    told: list[TokenOut] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        submit, step = Engine.submit, Engine.step

        def packing(examples: Any, *rest: Any) -> Any:
            batch = pack(examples, *rest)
            rows = [tuple(row.tolist()) for row in batch.tokens[0].split(list(batch.layout.lengths))]
            shares = any(block.before for block in batch.layout.blocks)  # then the first is what all others begin with
            self.packed += [rows[0] + row for row in rows[1:]] if shares else rows
            return batch

        def submitting(engine: Engine, request: GenerationRequest) -> None:
            self.asked.append(request)
            submit(engine, request)

        def stepping(engine: Engine) -> list[TokenOut]:
            out = step(engine)
            self.told += out
            return out

        patch.setattr(loop, "pack", packing)
        patch.setattr(Engine, "submit", submitting)
        patch.setattr(Engine, "step", stepping)


@dataclass(frozen=True)
class Paths:
    """One run in float32, and what each path saw and said of its held-out rows."""

    folder: Path
    project: lifecycle.Project
    record: dict[str, Any]
    trained: Seen
    served: Seen
    answers: dict[str, str]
    """Row id → what the client got from the server."""

    @property
    def test(self) -> tuple[Example, ...]:
        return self.project.dataset.of("test")

    def rows(self, split: str) -> list[TokenizedExample]:
        return lifecycle.tokenise(self.project, split)


TALKS = [
    {
        "messages": [
            {"role": "system", "content": "Say what is asked for."},
            {"role": "user", "content": f"The restaurant number {number} is near the riverside"},
            {"role": "assistant", "content": "The Eagle"},
            {"role": "user", "content": f"Return the unit of amount number {number}"},
            {"role": "assistant", "content": "200 flour"},
        ]
    }
    for number in range(120)
]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    folder = tmp_path_factory.mktemp("paths")
    build_base(folder / "base")
    (folder / ROWS).write_text("".join(json.dumps(row) + "\n" for row in TALKS), encoding="utf-8")
    write_config(folder / CONFIG, dtype="float32", num_train_epochs=2, learning_rate=0.01)
    trained, served = Seen(), Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "Reload", InstantReload)
        trained.watch(patch)
        ran = inside("train", CONFIG, "--json", at=folder)
    assert ran.code == 0, ran.err
    project = lifecycle.prepare(lifecycle.load_settings(folder / CONFIG), Workspace.open())
    with pytest.MonkeyPatch.context() as patch:
        served.watch(patch)
        gateway = serve.open_gateway(str(folder / "run"), {}, Workspace.open(), Config(port=0))
        with start_server(gateway, key=ApiKey("sk-paths", made=False)) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="sk-paths", max_retries=0)
            answers = {example.id: ask(client, example) for example in project.dataset.of("test")}
    return Paths(folder, project, ran.document, trained, served, answers)


def ask(client: openai.OpenAI, example: Example) -> str:
    messages = [{"role": message.role, "content": message.text} for message in example.messages]
    reply = client.chat.completions.create(model="run", messages=messages, temperature=0, max_tokens=12)  # type: ignore[arg-type]
    return reply.choices[0].message.content or ""


@pytest.fixture(scope="module")
def theirs(paths: Paths) -> Any:
    """The run's adapter as transformers and PEFT load it."""
    base = AutoModelForCausalLM.from_pretrained(paths.folder / "base", dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(paths.folder / "run" / "adapter")).eval()


@pytest.fixture(scope="module")
def sampler(paths: Paths) -> LocalSampler:
    """The run as `tunesmith eval` opens it."""
    [(_, sampler)] = serve.open_samplers([str(paths.folder / "run")], Workspace.open())
    assert isinstance(sampler, LocalSampler)
    return sampler


def test_the_rows_that_were_trained_are_the_rows_that_are_shown(paths: Paths) -> None:
    shown = {row.tokens for row in paths.rows("train")}
    shown |= {row.tokens for row in paths.rows("validation")}
    assert set(paths.trained.packed) == shown
    assert len(shown) == len(paths.rows("train")) + len(paths.rows("validation"))


def test_evaluation_and_server_ask_with_the_first_ids_of_the_row(paths: Paths) -> None:
    rows = paths.rows("test")
    wanted = [row.tokens[: row.spans[-1].start] for row in rows]
    judged = [request.tokens for request in paths.trained.asked if request.adapter == "run"]
    served = [request.tokens for request in paths.served.asked]
    assert judged == wanted
    assert served == wanted
    assert all(len(row.spans) == 2 for row in rows), "both answers of a conversation are trained"
    assert len(wanted) > 5


def test_evaluation_and_server_stop_at_the_same_tokens(paths: Paths) -> None:
    stops = {request.stop_ids for request in (*paths.trained.asked, *paths.served.asked)}
    assert len(stops) == 1
    assert all(row.tokens[row.spans[-1].end - 1] in next(iter(stops)) for row in paths.rows("test"))


def test_one_answer_on_three_paths(paths: Paths, sampler: LocalSampler, theirs: Any) -> None:
    params = SamplingParams(max_tokens=12)
    ours = sampler.sample([example.prompt for example in paths.test], params)
    stop = sorted(sampler.renderer.stop_ids)
    for example, row, mine in zip(paths.test, paths.rows("test"), ours, strict=True):
        prompt = torch.tensor([row.tokens[: row.spans[-1].start]])
        with torch.inference_mode():
            made = theirs.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=stop[0],
            )
        ids = made[0, prompt.shape[1] :].tolist()
        assert list(mine.token_ids) == ids
        assert mine.text == paths.answers[example.id] == sampler.renderer.decode(ids)
    assert {mine.text for mine in ours} == {"200 flour"}


def peft_logprobs(model: Any, tokens: tuple[int, ...], start: int) -> torch.Tensor:
    """log p of ``tokens[start:]`` given what stands before, from PEFT's own forward."""
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0].float()
    return torch.log_softmax(logits, dim=-1)[torch.arange(start - 1, len(tokens) - 1), list(tokens[start:])]


def test_one_probability_on_three_paths(paths: Paths, sampler: LocalSampler, theirs: Any) -> None:
    scores = sampler.score(paths.test)
    served = split_answers(paths.served.told)
    assert len(served) == len(scores)
    for score, row, told in zip(scores, paths.rows("test"), served, strict=True):
        span = row.spans[-1]
        wanted = peft_logprobs(theirs, row.tokens[: span.end], span.start)
        torch.testing.assert_close(torch.tensor(score.logprobs), wanted, atol=NEAR, rtol=0)
        assert tuple(out.token for out in told) == row.tokens[span.start : span.end]
        torch.testing.assert_close(torch.tensor([out.logprob for out in told]), wanted, atol=NEAR, rtol=0)


def split_answers(told: list[TokenOut]) -> list[list[TokenOut]]:
    """The tokens of each answer; the server was asked one question after the other."""
    answers: list[list[TokenOut]] = [[]]
    for out in told:
        answers[-1].append(out)
        if out.finished:
            answers.append([])
    return answers[:-1]


def test_the_validation_loss_of_training_is_the_score_of_evaluation(
    paths: Paths, sampler: LocalSampler, theirs: Any
) -> None:
    run = paths.record["run"]
    trained = run["validation_losses"][str(run["best_step"])]
    spans = [(row.tokens[: span.end], span.start) for row in paths.rows("validation") for span in row.spans]
    judged = [value for one in spans for value in answer_logprobs(sampler.engine.base, [one], sampler.adapter)[0]]
    theirs_too = torch.cat([peft_logprobs(theirs, *one) for one in spans])
    assert trained == pytest.approx(-sum(judged) / len(judged), abs=NEAR)
    assert trained == pytest.approx(-float(theirs_too.mean()), abs=NEAR)


def test_the_judged_answers_are_in_the_report(paths: Paths) -> None:
    report = json.loads((paths.folder / "run" / "report.json").read_text(encoding="utf-8"))
    assert {item["example_id"]: item["answers"]["tuned"] for item in report["items"]} == paths.answers
