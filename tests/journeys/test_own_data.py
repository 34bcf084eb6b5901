"""A user's whole way with a file of their own: init, check, show, train, eval, compare, chat, serve."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.command import Ran, ctrl_c, files, inside, plain, read_until, started, tunesmith
from tests.project import BASE, CONFIG, HELD_OUT, ROWS, RUN, Project

CHECKS = (
    "mask coverage",
    "stop tokens",
    "packing",
    "packing isolation",
    "reload, first save",
    "weights trained",
    "tuned ≠ base",
    "reload, last save",
    "data sets",
)
QUESTION, ANSWER = "The restaurant number 500 is near the riverside", "The Eagle"


def test_init_says_what_to_do_next(project: Project) -> None:
    assert project.init.code == 0, project.init.err
    assert project.init.out.startswith(f"wrote {CONFIG}\n")
    for command in ("data check", "data show", "train"):
        assert f"tunesmith {command} {CONFIG}" in project.init.out


def test_data_check_finds_nothing_wrong_and_counts_tokens(project: Project) -> None:
    ran = tunesmith("data", "check", CONFIG, at=project.folder)
    assert ran.code == 0, ran.err
    assert f"{ROWS}: 120 rows, format prompt-completion" in ran.out
    assert "96 train, 8 validation, 16 test" in ran.out
    assert "no errors" in ran.out
    assert "no provenance" in ran.out
    assert "not checked: token lengths" not in ran.out


def test_data_show_marks_the_answer_and_its_stop_token(project: Project) -> None:
    ran = inside("data", "show", CONFIG, "-n", "1", at=project.folder)
    assert ran.code == 0, ran.err
    trained = ran.out[ran.out.index("⟦") + 1 : ran.out.index("⟧")]
    assert trained.replace("│", "") == "The Eagle<|im_end|>"
    assert "│ restaurant│" in ran.out.partition("⟦")[0]


def test_explain_says_where_every_value_comes_from_and_trains_nothing(project: Project) -> None:
    arguments = ("train", CONFIG, "--explain", "--set", "lora_r=4", "--set", "output_dir=runs/explained")
    ran = inside(*arguments, at=project.folder)
    assert ran.code == 0, ran.err
    lines = [plain(line).strip() for line in ran.out.splitlines()]
    assert "lora_r 4 --set" in lines
    assert "seed 42 default" in lines
    (epochs,) = [line for line in lines if line.startswith("num_train_epochs")]
    assert re.fullmatch(rf"num_train_epochs 3.0 {CONFIG}:\d+", epochs)
    document = inside(*arguments, "--json", at=project.folder).document
    assert document["config"]["lora_r"] == 4
    assert document["origins"]["output_dir"] == "--set"
    assert not (project.folder / "runs" / "explained").exists()


def test_train_proves_itself_and_ends_in_a_verdict(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    assert re.search(rf"saved best of step \d+: {RUN}/adapter", trained.err)
    lines = [plain(line).strip() for line in trained.out.splitlines()]
    marks = [line.partition(" ")[0] for line in lines if any(f" {name} " in line for name in CHECKS)]
    assert marks == ["✓"] * len(CHECKS)
    assert "✗" not in trained.out
    assert any(line.startswith("tuned is better than base on exact match: 0.0 % → ") for line in lines)
    for command in ("chat", "serve --model"):
        assert f"tunesmith {command} {RUN}" in trained.out


def test_the_hardest_rows_of_a_run_are_shown_hardest_first(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    ran = inside("data", "show", ROWS, "--worst", RUN, "-n", "3", "--json", at=project.folder)
    rows = ran.document["rows"]
    logged = [json.loads(line) for line in (project.run / "row_losses.jsonl").read_text().splitlines()]
    last = {entry["row"]: entry["loss"] for entry in logged}
    assert [row["loss"] for row in rows] == sorted(last.values(), reverse=True)[:3]
    assert [last[row["id"]] for row in rows] == [row["loss"] for row in rows]
    ran = inside("data", "show", HELD_OUT, "--worst", RUN, at=project.folder)
    assert "no row of these files was trained by" in ran.err
    ran = inside("data", "show", ROWS, "--worst", "elsewhere", at=project.folder)
    assert "the run has no losses of rows" in ran.err


def test_a_record_leads_to_the_run_that_learned_it(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    row = json.loads((project.run / "row_losses.jsonl").read_text().partition("\n")[0])["row"]
    ran = inside("data", "lineage", row, "--json", at=project.folder, TUNESMITH_HOME="")
    (hit,) = ran.document["runs"]
    run = json.loads((project.run / "run.json").read_text())
    assert (hit["run_id"], hit["split"], hit["releases"]) == (run["run_id"], "train", [project.run.name])
    assert len(hit["adapters"]) == 1


def test_a_run_leaves_its_files_and_its_report(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    assert {path.name for path in project.run.iterdir()} == {
        "adapter",
        "last",
        "run.json",
        "report.html",
        "report.json",
        "events.jsonl",
        "row_losses.jsonl",
        "config.yaml",
        "trained_rows.txt",
    }
    run = json.loads((project.run / "run.json").read_text())
    assert {check["name"]: check["passed"] for check in run["checks"]} == dict.fromkeys(CHECKS, True)
    assert run["origins"]["learning_rate"].startswith("auto: ")
    assert run["origins"]["num_train_epochs"].startswith(f"{CONFIG}:")
    rows = [json.loads(line) for line in (project.run / "row_losses.jsonl").read_text().splitlines()]
    assert sum(row["tokens"] for row in rows) == run["target_tokens"] == run["estimate"]["target_tokens"]
    assert run["outturn"]["sentence"] in plain(trained.err)
    assert run["task_metric_rows"] == 0 or set(run["task_metrics"]) <= set(run["validation_losses"])
    page = (project.run / "report.html").read_text(encoding="utf-8")
    assert "tuned is better than base on exact match" in page
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert (project.folder / ".tunesmith" / ".gitignore").read_text() == "*\n"


def test_plan_says_what_training_would_take_and_writes_nothing(project: Project) -> None:
    before = set(project.folder.rglob("*"))
    ran = inside("plan", CONFIG, "--json", "--set", "output_dir=runs/planned", at=project.folder, TUNESMITH_HOME="")
    assert ran.code == 0, ran.err
    plan = ran.document["plan"]
    assert plan["steps"] > 0 < plan["tokens"]
    assert plan["seconds"][0] < plan["seconds"][1]
    assert plan["micro_batch"] == ran.document["per_device_train_batch_size"] == 8
    assert not (project.folder / "runs" / "planned").exists()
    assert {path for path in set(project.folder.rglob("*")) - before if ".tunesmith" not in path.parts} == set()
    lines = [plain(line).strip() for line in ran.err.splitlines()]
    assert f"tokens {plan['tokens']:,}, {plan['target_tokens']:,} of them trained" in lines
    assert "rows at a time 8" in lines
    assert "recompute none" in lines


def test_task_metrics_are_measured_while_training(project: Project) -> None:
    arguments = ("--set", "eval_generate_rows=6", "--set", "output_dir=runs/graded", "--set", "eval_steps=4")
    ran = inside(
        "train", CONFIG, *arguments, "--set", "gradient_checkpointing=true", at=project.folder, TUNESMITH_HOME=""
    )
    assert ran.code == 0, ran.err
    run = json.loads((project.folder / "runs" / "graded" / "run.json").read_text())
    assert run["task_metric_rows"] == 6
    assert run["task_metrics"].keys() == run["validation_losses"].keys()
    assert run["estimate"]["recomputed_layers"] == run["estimate"]["layers"] == 2
    assert all(next(iter(values)) == "exact_match" for values in run["task_metrics"].values())
    assert list(run["task_metrics"].values())[-1]["exact_match"] > 0.5
    assert "exact_match" in ran.err
    page = (project.folder / "runs" / "graded" / "report.html").read_text(encoding="utf-8")
    assert "of answers to 6 validation rows, the same ones every time" in page


def test_eval_scores_held_out_rows(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    page = project.folder / "eval.html"
    ran = inside("eval", RUN, "--data", HELD_OUT, "--report", page, at=project.folder, TUNESMITH_HOME="")
    assert ran.code == 0, ran.err
    assert "first on exact match: " in ran.out
    assert any(plain(line).startswith("exact match * ") for line in ran.out.splitlines())
    assert f"report: {page}" in ran.out
    assert "No verdict without a model to compare with" in page.read_text(encoding="utf-8")


def test_compare_gives_a_verdict_both_ways(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    ran = inside("compare", BASE, RUN, "--data", HELD_OUT, "--json", at=project.folder, TUNESMITH_HOME="")
    assert ran.code == 0, ran.err
    assert ran.document["verdict"] == "better"
    assert [model["name"] for model in ran.document["models"]] == ["base", "first"]
    assert "first is better than base on exact match" in ran.err
    ran = inside("compare", RUN, BASE, "--data", HELD_OUT, at=project.folder, TUNESMITH_HOME="")
    assert ran.code == 1, ran.err
    assert "base is worse than first on exact match" in ran.out


def test_the_released_name_stands_for_the_run(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    arguments = ("chat", "first", "--message", QUESTION, "--max-tokens", 12)
    ran = inside(*arguments, at=project.folder, TUNESMITH_HOME="")
    assert (ran.code, ran.out) == (0, f"{ANSWER}\n"), ran.err


def test_chat_answers_and_the_base_does_not(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    arguments = ("--message", QUESTION, "--max-tokens", 12)
    ran = inside("chat", RUN, *arguments, at=project.folder)
    assert (ran.code, ran.out) == (0, f"{ANSWER}\n"), ran.err
    ran = inside("chat", RUN, *arguments, "--json", at=project.folder)
    assert ran.document == {"model": RUN, "message": QUESTION, "answer": ANSWER}
    ran = inside("chat", BASE, *arguments, "--json", at=project.folder)
    assert ran.document["answer"] != ANSWER


def test_a_conversation_goes_on_until_its_end(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    typed = f"{QUESTION}\n\n{QUESTION}\n"
    ran = inside("chat", RUN, "--max-tokens", 12, at=project.folder, typed=typed)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(f"> {ANSWER}\n> > ")
    assert ran.out.endswith("\n> \n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--force"),
        ("data", "check", ROWS),
        ("data", "show", ROWS, "--model", "BASE"),
        ("eval", "BASE", "--data", HELD_OUT),
        ("chat", "BASE", "--message", QUESTION),
        ("doctor",),
    ],
)
def test_every_command_gives_one_json_document(project: Project, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for name in (ROWS, HELD_OUT):
        (tmp_path / name).write_bytes((project.folder / name).read_bytes())
    base = str(project.folder / BASE)
    ran = inside(*(base if word == "BASE" else word for word in arguments), "--json", at=tmp_path)
    assert ran.code == 0, ran.err
    assert isinstance(ran.document, dict)


@dataclass(frozen=True)
class Service:
    """A running `tunesmith serve --json`: its client, and the document that it gave when it began."""

    document: dict[str, Any]
    client: openai.OpenAI


@pytest.fixture(scope="module")
def stranger(project: Project) -> Path:
    """An adapter of the same base that PEFT made, without any file of ours."""
    model = AutoModelForCausalLM.from_pretrained(project.folder / BASE)
    adapter = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    adapter.save_pretrained(project.folder / "stranger")
    return project.folder / "stranger"


@pytest.fixture(scope="module")
def service(project: Project, trained: Ran, stranger: Path) -> Iterator[Service]:
    """Base and two adapters, served in a process of its own, stopped with Ctrl-C at the end."""
    assert trained.code == 0, trained.err
    arguments = ("serve", "--model", RUN, "--adapter", f"stranger={stranger.name}", "--port", 0, "--json")
    with started(*arguments, at=project.folder, TUNESMITH_HOME="", TUNESMITH_API_KEY="sk-journey") as process:
        document = json.loads(read_until(process.stdout, "}"))
        client = openai.OpenAI(base_url=document["base_url"], api_key="sk-journey", max_retries=0)
        yield Service(document, client)
        ended = ctrl_c(process)
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert f"listening on {document['base_url']}\nmodels: base, first, stranger\n" in ended.err
    assert "key:    the one in TUNESMITH_API_KEY\nCtrl-C stops\nstopped\n" in ended.err
    assert "sk-journey" not in ended.err
    assert "Traceback" not in ended.err
    traces = (project.folder / ".tunesmith" / "traces.jsonl").read_text()
    assert '"model":"stranger"' in traces
    assert QUESTION not in traces
    assert ANSWER not in traces


def ask(service: Service, model: str, **options: object) -> str | None:
    messages = [{"role": "user", "content": QUESTION}]
    reply = service.client.chat.completions.create(
        model=model,
        messages=messages,
        temperature=0,
        max_tokens=12,
        **options,  # type: ignore[call-overload]
    )
    return reply.choices[0].message.content


def test_serve_says_where_it_listens_and_whom_it_serves(service: Service) -> None:
    assert service.document["base_url"].startswith("http://127.0.0.1:")
    assert service.document["models"] == ["base", "first", "stranger"]
    assert service.document["api_key"] is None, "a key that was given is not repeated"


def test_the_client_lists_base_and_adapters(service: Service) -> None:
    assert [model.id for model in service.client.models.list()] == ["base", "first", "stranger"]


def test_base_and_two_adapters_answer_under_their_names(service: Service) -> None:
    answers = {model: ask(service, model) for model in ("base", "first", "stranger")}
    assert answers["first"] == ANSWER
    assert len(set(answers.values())) == 3


def test_a_stream_gives_the_same_answer_piece_by_piece(service: Service) -> None:
    stream = service.client.chat.completions.create(
        model="first", messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=12, stream=True
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == ANSWER
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


def test_a_wrong_key_and_a_wrong_name_are_refused(service: Service) -> None:
    with pytest.raises(openai.AuthenticationError):
        service.client.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(openai.NotFoundError, match="Did you mean 'first'"):
        ask(service, "firts")


def test_full_fine_tuning_goes_the_same_way(project: Project) -> None:
    changes = ("--set", "method=full", "--set", "learning_rate=0.01", "--set", "output_dir=runs/whole")
    ran = inside("train", CONFIG, *changes, "--json", at=project.folder, TUNESMITH_HOME="")
    assert ran.code == 0, ran.err
    assert ran.document["verdict"] == "better"
    assert {check["name"]: check["passed"] for check in ran.document["run"]["checks"]} == dict.fromkeys(CHECKS, True)
    folder = project.folder / "runs" / "whole"
    assert ran.document["page"] == str(Path("runs", "whole", "report.html"))
    assert "tuned is better than base on exact match" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "model" / "tokenizer.json").is_file()
    assert not (folder / "adapter").exists()
    chat = inside("chat", "runs/whole", "-m", QUESTION, "--max-tokens", 12, at=project.folder)
    assert (chat.code, chat.out) == (0, f"{ANSWER}\n"), chat.err
    compared = inside("compare", BASE, "runs/whole", "--data", HELD_OUT, at=project.folder, TUNESMITH_HOME="")
    assert compared.code == 0, compared.err
    assert "whole is better than base on exact match: 0.0 % → " in compared.out


def test_the_base_is_never_written_to(project: Project, trained: Ran) -> None:
    assert trained.code == 0, trained.err
    assert set(files(project.folder / BASE)) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
