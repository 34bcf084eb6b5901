"""A model without a chat template of its own is trained, judged, asked and served with the one that was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import inside
from tests.project import BASE, CONFIG, HELD_OUT, ROWS, build_base, questions, write_config, write_rows
from tests.train.job import InstantReload
from tunesmith import serve
from tunesmith.core.store import Workspace
from tunesmith.train import verify

OWN = (
    "{% for m in messages %}{{ m.role }}> {{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose base has no chat template, and a template in a file beside the config."""
    made = tmp_path_factory.mktemp("templates")
    build_base(made / BASE)
    settings = json.loads((made / BASE / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (made / BASE / "tokenizer_config.json").write_text(json.dumps(settings))
    (made / "own.template").write_text(OWN)
    write_rows(made / ROWS, questions(range(60)))
    write_rows(made / HELD_OUT, questions(range(100, 106)))
    return made


@pytest.mark.parametrize(
    ("method", "template"), [("lora", "chatml"), ("lora", "own.template"), ("full", "plain"), ("full", "own.template")]
)
def test_the_chosen_template_goes_all_the_way(
    folder: Path, method: str, template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verify, "Reload", InstantReload)
    run = folder / f"{method}-{template}"
    write_config(folder / CONFIG, method=method, chat_template=template, learning_rate=0.01, output_dir=run.name)
    ran = inside("train", folder / CONFIG, "--json", at=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.document["verdict"] == "better"
    (folder / "own.template").write_text("changed since")
    try:
        question, answer = questions([100])[0]
        chat = inside("chat", run, "--message", question, "--max-tokens", 12, at=tmp_path)
        assert (chat.code, chat.out) == (0, f"{answer}\n"), chat.err
        assert inside("eval", run, "--data", folder / HELD_OUT, at=tmp_path).code == 0
        gateway = serve.open_gateway(str(run), {}, Workspace.open())
        models = {model.name: model.renderer.digest for model in gateway.models}
        assert models == dict.fromkeys(
            [run.name, BASE] if method == "lora" else [run.name], ran.document["run"]["renderer_digest"]
        )
    finally:
        (folder / "own.template").write_text(OWN)
