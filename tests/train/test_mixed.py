"""What a data set says about its rows acts through to the weights of the loss, and through whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command import inside
from tests.curate.helpers import chat, jsonl, pair, write
from tests.text.talk import WEATHER
from tunesmith import curate
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.events import Event, Note, ignore
from tunesmith.core.records import TokenizedExample
from tunesmith.core.store import Workspace
from tunesmith.model.batch import pack
from tunesmith.text.template import TemplateRenderer, load_renderer

TOOLS_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>tools\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments | tojson }}{% endfor %}"
    "{{ (m.content or '') + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def words(number: int) -> str:
    """Texts that the tiny tokenizer knows, all different."""
    return f"The Eagle number {number} is a French restaurant near the riverside with a high customer rating. "


def rows_of(
    path: str, folder: Path, train_on: str = "assistant", template: str = "model", **spec: Any
) -> tuple[TemplateRenderer, list[TokenizedExample]]:
    """The file's rows as training gets them: read, checked, tokenised, kept, read back."""
    renderer = load_renderer(folder, train_on=train_on, chat_template=template)
    held_out = [
        {"path": jsonl(Path(path).with_name(f"{split}.jsonl"), pair(f"{split}?", "held out")), "split": split}
        for split in ("validation", "test")
    ]
    config = curate.Config.model_validate({"datasets": [{"path": path, "split": "train", **spec}, *held_out]})
    workspace = Workspace.open(Path(path).with_name("workspace"))
    return renderer, list(curate.run(config, renderer, 512, workspace=workspace).tokens["train"])


def weighted(renderer: TemplateRenderer, row: TokenizedExample) -> dict[float, str]:
    """Weight → text of the tokens that have it, as the batch has them."""
    batch = pack([row])
    found: dict[float, str] = {}
    for weight in sorted(set(batch.weights.tolist())):
        ids = batch.targets[batch.weights == weight].tolist()
        found[round(weight, 3)] = renderer.tokenizer.decode(ids, skip_special=False)
    return found


TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First.", "weight": 0},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Second.", "weight": 0.25},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Third."},
    ]
}


@pytest.mark.parametrize(
    ("train_on", "wanted"),
    [
        ("assistant", {0.25: "Second.<|im_end|>", 1.0: "Third.<|im_end|>"}),
        ("last", {1.0: "Third.<|im_end|>"}),
    ],
)
def test_weights_of_messages_reach_the_loss(
    train_on: str, wanted: dict[float, str], tiny_tokenizer: Path, tmp_path: Path
) -> None:
    renderer, (row,) = rows_of(jsonl(tmp_path / "rows.jsonl", TALK), tiny_tokenizer, train_on)
    assert weighted(renderer, row) == wanted


def test_train_on_all_trains_every_turn_with_the_weights_that_answers_state(
    tiny_tokenizer: Path, tmp_path: Path
) -> None:
    renderer, (row,) = rows_of(jsonl(tmp_path / "rows.jsonl", TALK), tiny_tokenizer, "all")
    found = weighted(renderer, row)
    assert found[0.25] == "Second.<|im_end|>"
    assert "First." not in "".join(found.values())
    assert all(text in found[1.0] for text in ("Be brief.", "One?", "Two?", "Three?", "Third.<|im_end|>"))


def test_tool_calls_are_trained_and_tool_results_are_not(tiny_tokenizer: Path, tmp_path: Path) -> None:
    template = tmp_path / "tools.jinja"
    template.write_text(TOOLS_TEMPLATE)
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Delft"}'}}
    talk = {
        "tools": [WEATHER],
        "messages": [
            {"role": "user", "content": "Warm in Delft?"},
            {"role": "assistant", "tool_calls": [call], "weight": 0.5},
            {"role": "tool", "tool_call_id": "1", "content": "20 degrees"},
            {"role": "assistant", "content": "Yes, 20 degrees."},
        ],
    }
    renderer, (row,) = rows_of(jsonl(tmp_path / "rows.jsonl", talk), tiny_tokenizer, template=str(template))
    assert weighted(renderer, row) == {
        0.5: 'get_weather{"city": "Delft"}<|im_end|>',
        1.0: "Yes, 20 degrees.<|im_end|>",
    }
    assert "Temperature in a city" in renderer.tokenizer.decode(row.tokens, skip_special=False)


def test_a_weight_of_a_half_counts_half_in_the_loss(tiny_model: Path, tmp_path: Path) -> None:
    from tunesmith.model.load import load_base
    from tunesmith.train.sft import loss

    base = load_base(tiny_model, torch.float32)
    whole = chat(("user", "One?"), ("assistant", "First."))
    half = {"messages": [whole["messages"][0], whole["messages"][1] | {"weight": 0.5}]}
    totals = []
    for number, line in enumerate((whole, half)):
        _, (row,) = rows_of(jsonl(tmp_path / f"{number}.jsonl", line), tiny_model)
        totals.append(float(loss(base, pack([row]))[0]))
    assert totals[1] == pytest.approx(totals[0] / 2, rel=1e-6)


# ---------------------------------------------------------------- plain text


def test_plain_text_is_recognised_in_every_form(tmp_path: Path) -> None:
    texts = [words(n).strip() for n in range(3)]
    folder = tmp_path / "books"
    folder.mkdir()
    for n, text in enumerate(texts):
        write(folder / f"{n}.txt", text + "\n")
    write(folder / "README.md", "not data")
    forms = [
        {"path": jsonl(tmp_path / "a.jsonl", *({"text": text, "url": "x"} for text in texts))},
        {"path": write(tmp_path / "a.csv", "body\n" + "\n".join(texts)), "columns": {"text": "body"}},
        {"path": write(tmp_path / "a.txt", "\n".join(texts) + "\n\n"), "sample_by": "line"},
        {"path": write(tmp_path / "b.txt.gz", "\r\n\r\n".join(texts)), "sample_by": "paragraph"},
        {"path": str(folder)},
    ]
    for form in forms:
        examples = list(curate.read(curate.DatasetSpec.model_validate(form)))
        assert [example.target.text for example in examples] == texts, form
        assert all(example.is_document for example in examples)
    whole = write(tmp_path / "c.txt", "\n\n" + "\n\n".join(texts) + "\n\n")
    (example,) = curate.read_file(whole)
    assert example.target.text == "\n\n".join(texts)
    assert str(example.source) == f"{whole}:3"


def test_plain_text_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "fine"}, {"text": ["not", "fine"]})
    with pytest.raises(DataError, match=r"text is a list, not a text") as wrong:
        curate.read_file(path)
    assert wrong.value.where == f"{path}:2 (text)"
    with pytest.raises(DataError, match="is plain text, and has a system message"):
        list(curate.read(curate.DatasetSpec(path=path, system="Be brief.")))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    write(mixed / "a.txt", "text")
    write(mixed / "b.jsonl", "")
    with pytest.raises(DataError, match="is a folder, not a file"):
        curate.read_file(str(mixed))


def test_checks_of_plain_text(tiny_tokenizer: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": words(1)}, {"text": words(1).upper()}, {"text": " "})
    found = curate.examine(
        curate.Config.model_validate({"datasets": [{"path": path}], "require_provenance": None}),
        load_renderer(tiny_tokenizer),
    )
    assert {(f.check, f.severity) for f in found.findings} == {
        ("exact duplicates", "warning"),
        ("empty answers", "error"),
    }
    assert "the text is empty" in [f.message for f in found.findings]


def texts_config(folder: Path, **values: object) -> Path:
    """A run on 40 plain texts, a few of them longer than max_length."""
    jsonl(folder / "texts.jsonl", *({"text": words(n) * (1 + 3 * (n % 8 == 0))} for n in range(40)))
    config = {
        "datasets": [{"path": "texts.jsonl"}],
        "model": "base",
        "max_length": 32,
        "learning_rate": 5e-3,
        "num_train_epochs": 1,
        "val_size": 0.2,
        "test_size": 0.3,
        "output_dir": "run",
    }
    path = folder / "tunesmith.yaml"
    path.write_text(json.dumps(config | values))
    return path


@pytest.fixture(scope="module")
def trained_on_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    from tests.project import build_base

    folder = tmp_path_factory.mktemp("texts")
    build_base(folder / "base")
    texts_config(folder)
    ran = inside("train", "--json", at=folder, TUNESMITH_HOME=str(folder / "workspace"))
    assert ran.code == 0, ran.err
    return folder, ran


def test_train_works_on_plain_text_from_end_to_end(trained_on_text: tuple[Path, Any]) -> None:
    folder, ran = trained_on_text
    run, checks = ran.document["run"], {check["name"]: check for check in ran.document["run"]["checks"]}
    assert all(check["passed"] for check in checks.values()), checks
    assert "answers and texts end in a trained stop" in checks["stop tokens"]["detail"]
    (texts,) = run["sets"]
    assert texts["path"].endswith("texts.jsonl")
    assert (texts["tokens"], texts["target_tokens"]) == (run["tokens"], run["target_tokens"])
    assert texts["target_tokens"] == texts["tokens"] - texts["shown"], "all but the first token of each row"
    assert run["estimate"]["sets"] == run["sets"], "planned and done"
    assert "and cut into" in ran.err
    assert (folder / "run" / "report.html").is_file()


def test_plain_text_is_judged_by_perplexity_alone(trained_on_text: tuple[Path, Any]) -> None:
    folder, ran = trained_on_text
    measured = {(s["model"], s["metric"]): s["value"] for s in ran.document["summaries"]}
    assert measured["tuned", "perplexity"] < measured["base", "perplexity"]
    found = [name for (_, name), value in measured.items() if value is not None]
    assert found == ["perplexity", "bits_per_byte"] * 2, "how likely the text is, in two units"
    notes = {s["note"] for s in ran.document["summaries"] if s["value"] is None}
    assert notes == {"plain text asks nothing, so there is no answer to judge"}
    assert ran.document["verdict"] == "better"
    report = json.loads((folder / "run" / "report.json").read_text())
    assert "Nothing was generated: plain text asks nothing." in report["notes"]
    assert all(item["answers"] == {} for item in report["items"])
    again = inside(
        "eval", "run", "--data", "texts.jsonl", "--json", at=folder, TUNESMITH_HOME=str(folder / "workspace")
    )
    assert again.code == 0, again.err


def test_perplexity_covers_all_pieces_of_a_long_text(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.text.test_documents import document
    from tunesmith.model import sample
    from tunesmith.serve import open_engine

    renderer = load_renderer(tiny_model)
    example = document(words(1) * 8)
    (row,) = renderer.example(example)
    sampler = sample.LocalSampler(open_engine(tiny_model, "float32", ignore), renderer)
    (whole,) = sampler.score([example])
    assert len(whole.logprobs) == row.trained_tokens
    monkeypatch.setattr(sample, "SCORE_TOKENS", 40)
    (cut,) = sampler.score([example])
    assert len(cut.logprobs) == row.trained_tokens
    assert cut.logprobs[:39] == pytest.approx(whole.logprobs[:39], abs=1e-5)


def test_held_out_texts_beside_questions_are_said_not_to_be_measured() -> None:
    from tests.curate.helpers import example
    from tests.evaluate.fakes import Scripted
    from tests.text.test_documents import document
    from tunesmith import evaluate

    rows = [example(f"What {n}?", f"That {n}.") for n in range(3)]
    report = evaluate.run(
        evaluate.Config(), [Scripted("base", ["That."] * 3)], [*rows, document("one"), document("two")]
    )
    assert len(report.items) == 3
    assert any("Not measured: 2 held-out plain texts" in note for note in report.notes)


# ---------------------------------------------------------------- mixes


def test_wrong_mixes_are_refused() -> None:
    cases = [
        ([{"path": "a", "weight": 2, "replay": 0.2}], "has both weight 2 and replay 0.2"),
        ([{"path": "a", "weight": 2, "split": "test"}], "is held out for test, and has a weight"),
        ([{"path": "a", "replay": 0.2, "split": "validation"}], "is held out for validation, and has a replay share"),
        ([{"path": "a", "replay": 0.2}], "replay takes the whole epoch: 1 of 1 data sets"),
        ([{"path": "a"}, {"path": "b", "replay": 0.6}, {"path": "c", "replay": 0.4}], "replay takes the whole epoch"),
    ]
    for datasets, words_ in cases:
        with pytest.raises((ConfigError, ValueError), match=words_):
            curate.Config.model_validate({"datasets": datasets})


def test_replay_rows_are_never_held_out_and_never_stand_in_for_training_rows(
    tiny_tokenizer: Path, tmp_path: Path
) -> None:
    new = jsonl(tmp_path / "new.jsonl", *(pair(f"new {n}", "yes") for n in range(60)))
    old = jsonl(tmp_path / "old.jsonl", *(pair(f"old {n}", "no") for n in range(60)))
    config = curate.Config.model_validate({"datasets": [{"path": new}, {"path": old, "replay": 0.2}]})
    data = curate.run(config, load_renderer(tiny_tokenizer), 512, workspace=Workspace.open(tmp_path / "w"))
    assert {example.split for example in data.examples if example.source.path == old} == {"train"}
    assert {example.split for example in data.examples if example.source.path == new} == {"train", "validation", "test"}
    assert [(one.path, one.rows, one.replay) for one in data.sets] == [(new, data.sets[0].rows, None), (old, 60, 0.2)]
    leak = jsonl(tmp_path / "leak.jsonl", *(pair(f"new {n}", "yes") for n in range(60)))
    config = curate.Config.model_validate({"datasets": [{"path": new}, {"path": leak, "replay": 0.2}]})
    # a question that replay trains is never held out, so nothing is left to judge by
    with pytest.raises(DataError, match="validation and test get none of 120"):
        curate.run(config)
    few = jsonl(tmp_path / "few.jsonl", pair("a", "b"))
    spec = {"path": few, "split": "test"}
    config = curate.Config.model_validate({"datasets": [spec, {"path": old, "replay": 0.2}]})
    with pytest.raises(DataError, match="train and validation get none"):
        curate.run(config)


def test_the_mix_is_part_of_the_identity_of_the_data(tmp_path: Path) -> None:
    one, two = (jsonl(tmp_path / f"{x}.jsonl", *(pair(f"{x} {n}", "yes") for n in range(30))) for x in "ab")

    def digest(**more: object) -> str:
        config = curate.Config.model_validate({"datasets": [{"path": one}, {"path": two, **more}]})
        return curate.run(config).card.digest

    assert digest() == digest(weight=1)
    assert len({digest(), digest(weight=2), digest(weight=0.5), digest(replay=0.2)}) == 4


def test_a_mix_is_planned_recorded_and_verified(tmp_path: Path) -> None:
    from tests.project import build_base, questions, write_rows
    from tunesmith import lifecycle

    build_base(tmp_path / "base")
    write_rows(tmp_path / "rows.jsonl", questions(range(20)))
    jsonl(tmp_path / "general.jsonl", *({"text": words(n)} for n in range(12)))
    config = {
        "datasets": [{"path": "rows.jsonl", "weight": 1.5}, {"path": "general.jsonl", "replay": 0.25}],
        "model": "base",
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "output_dir": "run",
    }
    (tmp_path / "tunesmith.yaml").write_text(json.dumps(config))
    events: list[Event] = []
    settings = lifecycle.load_settings(tmp_path / "tunesmith.yaml")
    project = lifecycle.prepare(settings, Workspace.open(tmp_path / "workspace"), events.append)
    record = lifecycle.train(project)
    rows, general = record.sets
    assert general.shown == pytest.approx(0.25 * (rows.shown + general.shown), abs=2)
    assert rows.shown == 2 * round(1.5 * rows.rows)
    assert rows.tokens + general.tokens == record.tokens
    (check,) = [check for check in record.checks if check.name == "data sets"]
    assert check.passed
    assert f"{general.tokens:,} tokens" in check.detail
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(note.startswith("data: ") and "general.jsonl" in note for note in notes)
    assert record.estimate is not None
    assert record.estimate.sets == record.sets
    assert record.estimate.tokens == record.tokens, "the plan counts exactly"


def test_a_run_from_files_on_disk_is_bit_identical_to_one_from_memory(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.train import job
    from tunesmith.model.load import load_base
    from tunesmith.train import Context, Rows, parts_of, run, verify

    monkeypatch.setattr(verify, "Reload", job.InstantReload)
    path = jsonl(tmp_path / "rows.jsonl", *(pair(f"number {n}", words(n)) for n in range(60)))
    renderer = load_renderer(tiny_model)
    config = curate.Config.model_validate({"datasets": [{"path": path, "weight": 0.5}]})
    data = curate.run(config, renderer, 512, workspace=Workspace.open(tmp_path / "workspace"))
    digests = []
    for name, kept in (("disk", True), ("memory", False)):
        train, validation = (data.tokens[split] for split in ("train", "validation"))
        rows = Rows(
            train if kept else list(train), validation if kept else list(validation), "data", parts_of(data.sets)
        )
        base = load_base(tiny_model, torch.float32)
        record = run(job.config(), job.ADAPTER, rows, Context(base, renderer, "model", tmp_path / name))
        digests.append((record.adapter_digest, record.train_losses, record.sets))
    assert digests[0] == digests[1]


def test_a_stopped_run_on_a_mix_goes_on_with_the_same_bits(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from tests.train import job
    from tests.train.test_run import same, stop_after, weights
    from tunesmith.core.errors import Interrupted
    from tunesmith.train import parts_of, verify

    monkeypatch.setattr(verify, "Reload", job.InstantReload)
    rows = job.rows()
    sets = [curate.DataSet("a", 10, 0.5), curate.DataSet("b", 8, 2), curate.DataSet("c", 6, replay=0.1)]
    parts = parts_of(sets)
    monkeypatch.setattr(job, "rows", lambda: replace(rows, parts=parts))
    config = job.config(num_train_epochs=3)
    whole = job.train(tiny_model, tmp_path / "whole", config)
    for step in (4, 11):
        with pytest.raises(Interrupted):
            job.train(tiny_model, tmp_path / "stopped", config, stop_after(step))
    resumed = job.train(tiny_model, tmp_path / "stopped", config)
    assert resumed.train_losses == whole.train_losses
    assert resumed.sets == whole.sets
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
