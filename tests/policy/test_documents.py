"""Documents that cannot rot: the first command, lengths, links, generated pages, and words that do not belong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.policy.source import ROOT
from tunesmith.cli import main

SKIPPED = {".git", ".venv", "build", "dist", "runs", "node_modules", "__pycache__", ".hypothesis"}
TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".jsonl", ".html", ".css", ".js", ".sh", ".jinja", ""}

# Paths of one person's machine, and switches that tie an installation to one package index.
FOREIGN = [f"/{folder}/" for folder in ("work", "root", "home")]
TIED = [f"--{switch}" for switch in ("index-url", "extra-index-url", "find-links", "trusted-host")]


@cache
def project_files() -> tuple[Path, ...]:
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part in SKIPPED or part.endswith((".egg-info", "_cache")) for part in parts)
        if path.is_file() and not hidden and path.suffix in TEXT and parts[0] not in ("shared", ".tunesmith"):
            found.append(path)
    return tuple(found)


def pages() -> list[Path]:
    return [path for path in project_files() if path.suffix == ".md"]


def test_readme_shows_a_command_within_15_lines() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:15]
    assert any(line.startswith("```") for line in lines)
    assert any(line.strip() == "make demo" for line in lines)


def test_architecture_fits_200_lines() -> None:
    assert (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").count("\n") <= 200


@pytest.mark.parametrize("word", [*FOREIGN, *TIED])
def test_no_words_of_one_machine(word: str) -> None:
    lookbehind = r"(?<![\w.$}~)/-])" if word in FOREIGN else ""
    pattern = re.compile(lookbehind + re.escape(word))
    found = [
        str(p.relative_to(ROOT)) for p in project_files() if pattern.search(p.read_text("utf-8", errors="replace"))
    ]
    assert found == []


def links(page: Path) -> Iterator[tuple[str, str]]:
    """(file, anchor) of every relative link outside code blocks."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    broken = []
    for page in pages():
        for file, anchor in links(page):
            target = page if not file else (page.parent / file).resolve()
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {file}#{anchor}")
    assert broken == []


def test_generated_reference_is_up_to_date() -> None:
    script = ROOT / "docs" / "build_reference.py"
    child = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stdout + child.stderr


@pytest.mark.parametrize("verb", list(main.VERBS))
def test_every_command_has_a_guide(verb: str) -> None:
    guides = list((ROOT / "docs" / "guides").glob("*.md"))
    assert any(f"tunesmith {verb}" in guide.read_text(encoding="utf-8") for guide in guides)


def test_documents_name_only_commands_that_exist() -> None:
    wanted = re.compile(r"^(?:\$ )?tunesmith ([a-z]+)", flags=re.MULTILINE)
    named = {(verb, p.name) for p in pages() for verb in wanted.findall(p.read_text(encoding="utf-8"))}
    assert {(verb, page) for verb, page in named if verb not in main.VERBS} == set()


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(p.name[:4]) for p in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
