"""Config files that cannot be meant: refused with file, line, rule and way out, before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, refusal
from tests.project import CONFIG, ROWS


def line_of(key: str, path: Path) -> int:
    (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(f' "{key}":')]
    return number


def test_unknown_key_offers_the_nearest(desk: Desk) -> None:
    desk.config(lora_rank=4)
    error = refusal(desk.train())
    assert error.what == "unknown key 'lora_rank'"
    assert error.where == f"{CONFIG}:{line_of('lora_rank', desk.folder / CONFIG)}"
    assert error.rule == "a config file has only known keys"
    assert error.fix == "did you mean 'lora_r'?"
    assert not desk.home.exists()
    assert desk.is_untouched()


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("lora_r", 0, "lora_r must be a whole number, at least 1, at most 1024"),
        ("learning_rate", 0, "learning_rate must be a number, greater than 0, or auto"),
        ("learning_rate", -1, "learning_rate must be a number, greater than 0, or auto"),
        ("learning_rate", "fast", "learning_rate must be a number, greater than 0, or auto"),
        ("num_train_epochs", 0, "num_train_epochs must be a number, greater than 0, at most 100"),
        ("eval_steps", 0, "eval_steps must be a whole number, at least 1, or auto"),
        ("max_length", 0, "max_length must be a whole number, at least 8, or auto"),
        ("val_size", 1, "val_size must be a number, at least 0, less than 1"),
        ("method", "lorra", "method must be one of lora, qlora, prefix, prompt, ia3, bottleneck, full"),
        ("confidence", 95, "confidence must be a number, at least 0.5, less than 1"),
        ("port", 80_000, "port must be a whole number, at least 0, at most 65535"),
    ],
)
def test_impossible_value(desk: Desk, key: str, value: object, rule: str) -> None:
    desk.config(**{key: value})
    error = refusal(desk.train())
    assert error.what == f"{key} is {json.dumps(value)}"
    assert error.where == f"{CONFIG}:{line_of(key, desk.folder / CONFIG)}"
    assert error.rule == rule
    assert error.fix
    assert desk.is_untouched()


def test_impossible_value_on_the_command_line(desk: Desk) -> None:
    error = refusal(desk.train("--set", "learning_rate=-1"))
    assert (error.what, error.where) == ("learning_rate is -1", "--set learning_rate=-1")
    assert desk.is_untouched()


def test_all_mistakes_come_at_once(desk: Desk) -> None:
    desk.config(lora_r=0, modle="x")
    error = refusal(desk.train())
    assert error.what.startswith("2 problems")
    assert "did you mean 'model'?" in error.what
    assert "lora_r is 0" in error.what
    assert desk.is_untouched()


def test_a_length_that_the_model_does_not_take(desk: Desk) -> None:
    desk.config(max_length=2048)
    error = refusal(desk.train())
    assert error.what == "max_length is 2048, and the model's context is 512 tokens"
    assert error.where == f"{CONFIG}:{line_of('max_length', desk.folder / CONFIG)}"
    assert error.fix.startswith("set max_length: auto, or at most 512")
    assert desk.is_untouched()


def test_a_small_queue_needs_no_second_knob(desk: Desk) -> None:
    desk.config(max_pending_requests=4)
    ran = desk.train("--explain", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["config"]["max_choices"] == 4


@pytest.mark.parametrize(
    ("values", "what", "fix"),
    [
        (
            {"max_pending_requests": 4, "max_choices": 5},
            "max_choices is 5, max_pending_requests is 4",
            "lower max_choices, or raise max_pending_requests",
        ),
        ({"val_size": 0.5, "test_size": 0.5}, "val_size is 0.5, test_size is 0.5", "lower one of them"),
    ],
)
def test_values_that_do_not_go_together_name_their_lines(
    desk: Desk, values: dict[str, float], what: str, fix: str
) -> None:
    desk.config(**values)
    error = refusal(desk.train())
    lines = {f"{CONFIG}:{line_of(key, desk.folder / CONFIG)}" for key in values}
    assert (error.what, set(error.where.split(", ")), error.fix) == (what, lines, fix)
    assert desk.is_untouched()


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"datasets": [{"path": "nowhere.jsonl"}]}, "there is no such file"),
        ({"datasets": [{"path": ROWS}, {"path": "notes.docx"}]}, "a file of kind .docx cannot be read"),
        ({"json_schema": "nowhere.json"}, "cannot read "),
        ({"primary_metric": "exact_mach"}, "there is no metric 'exact_mach'; did you mean 'exact_match'?"),
        ({"chat_template": "chatlm"}, "chat_template: 'chatlm' is neither a built-in template nor a file"),
        ({"chat_template": "broken.jinja"}, "the chat template is not valid Jinja"),
    ],
)
def test_files_are_looked_for_before_a_model_is_fetched(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, values: dict[str, object], what: str
) -> None:
    def fetched(*_: object) -> None:
        raise AssertionError("the model was fetched first")

    monkeypatch.setattr("tunesmith.lifecycle.resolve_model", fetched)
    (desk.folder / "notes.docx").write_bytes(b"")
    (desk.folder / "broken.jinja").write_text("{% for message in messages %}")
    desk.config(**values)
    for command in ("train", "data check", "data show"):
        assert refusal(desk.ask(*command.split(), CONFIG)).what.startswith(what)
    assert desk.is_untouched()


def test_missing_config(desk: Desk) -> None:
    error = refusal(desk.ask("train", "tunesmiht.yaml"))
    assert (error.what, error.where) == ("no such file", "tunesmiht.yaml")
    assert error.fix == "`tunesmith init` writes a commented one"
    assert desk.is_untouched()


def test_data_rows_in_place_of_a_config(desk: Desk) -> None:
    for command in ("train", "plan", "sweep"):
        error = refusal(desk.ask(command, ROWS))
        assert error.what == "this is a file of rows, and a config file is wanted"
        assert (error.where, error.fix) == (ROWS, f"write a config for it: tunesmith init --data {ROWS}")
    (desk.folder / "rows.json").write_text('[{"prompt": "a", "completion": "b"}]')
    assert refusal(desk.ask("train", "rows.json")).fix.endswith("tunesmith init --data rows.json")
    assert refusal(desk.ask("train", "nowhere.jsonl")).what == "no such file"
    assert desk.is_untouched()


def test_unknown_primary_metric(desk: Desk) -> None:
    desk.config(primary_metric="exact_mach")
    error = refusal(desk.train())
    assert error.what == "there is no metric 'exact_mach'; did you mean 'exact_match'?"
    assert error.where == "primary_metric"
    assert error.fix.startswith("use auto or one of: json_valid, ")
    assert desk.is_untouched()
    error = refusal(desk.ask("eval", desk.base, "--data", ROWS, "--set", "primary_metric=bleu"))
    assert error.what == "'bleu' cannot decide: the wanted answers are short, which exact match judges"
    assert desk.is_untouched()


def test_a_metric_that_does_not_fit_is_noticed_before_weights_are_loaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr("tunesmith.serve.open_engine", loaded)
    monkeypatch.setattr("tunesmith.serve.open_samplers", loaded)
    desk.config(primary_metric="chrf")
    for ran in (
        desk.train(),
        desk.ask("plan", CONFIG),
        desk.ask("eval", desk.base, "--data", ROWS, "--set", "primary_metric=chrf"),
    ):
        error = refusal(ran)
        assert error.what == "'chrf' cannot decide: the wanted answers are short, which exact match judges"
        assert error.fix.startswith("use auto or one of: exact_match, macro_f1, perplexity, bits_per_byte")
    assert not desk.run.exists()


def test_missing_json_schema(desk: Desk) -> None:
    desk.config(json_schema="answer.schema.json")
    error = refusal(desk.train())
    assert error.what.startswith("cannot read '")
    assert error.what.endswith("answer.schema.json': No such file or directory")
    assert error.where == "json_schema"
    assert error.rule == "json_schema is a JSON schema or the path of a file with one"
    assert error.fix == "correct the path or the file"
    assert desk.is_untouched()


def test_eval_and_serve_take_a_config_without_data(desk: Desk) -> None:
    (desk.folder / "eval.yaml").write_text("primary_metric: perplexity\njson_schema: nowhere.json\n")
    arguments = ("eval", desk.base, "--data", ROWS, "--config", "eval.yaml")
    ran = desk.ask(*arguments, "--set", "json_schema=null")
    assert ran.code == 0, ran.err
    assert "Decided by perplexity, as primary_metric says." in ran.out
    assert refusal(desk.ask(*arguments)).where == "json_schema"
    (desk.folder / "limits.yaml").write_text("port: 0\nmax_response_tokens: 0\n")
    error = refusal(desk.ask("serve", "--model", desk.base, "--config", "limits.yaml"))
    assert (error.what, error.where) == ("max_response_tokens is 0", "limits.yaml:2")


def test_compare_with_one_model(desk: Desk) -> None:
    error = refusal(desk.ask("compare", desk.base, "--data", ROWS))
    assert error.what == "one model cannot be compared"
    assert error.rule == "compare takes two models or more; the first is the baseline"
    assert error.fix == f"tunesmith compare BASELINE {desk.base} --data {ROWS}"
    assert desk.is_untouched()


@pytest.mark.parametrize("port", [99_999, -1])
def test_a_port_that_there_is_not_names_its_option(desk: Desk, port: int) -> None:
    error = refusal(desk.ask("serve", "--model", desk.base, "--port", port))
    assert (error.what, error.where) == (f"port is {port}", f"--port {port}")
    assert error.rule == "port must be a whole number, at least 0, at most 65535"
    error = refusal(desk.ask("serve", "--model", desk.base, "--set", f"port={port}"))
    assert error.where == f"--set port={port}"
    error = refusal(desk.ask("serve", "--model", desk.base, "--port", port, "--set", "max_choices=0"))
    assert f"--port {port}" in error.what
    assert "--set max_choices=0" in error.what
