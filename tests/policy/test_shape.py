"""The shape of the code: no inheritance of implementations, public names, no dead config keys."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import pytest

from tests.policy.source import VERBS, Module, modules, parse

TORCH_FREE_VERBS = ("curate", "evaluate")


def concrete_parents(code: tuple[Module, ...]) -> Iterator[str]:
    """Classes that inherit from a concrete class of ours. Exceptions may form a tree; empty bases carry no code."""
    ours = {node.name: node for m in code for node in ast.walk(m.tree) if isinstance(node, ast.ClassDef)}
    for module in code:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in map(_base_name, node.bases):
                if base in ours and ours[base] is not node and not _is_abstract(ours[base], ours):
                    yield f"{module.where(node)} {node.name}({base})"


def _base_name(base: ast.expr) -> str:
    base = base.value if isinstance(base, ast.Subscript) else base
    return base.attr if isinstance(base, ast.Attribute) else ast.unparse(base)


def _is_abstract(node: ast.ClassDef, ours: dict[str, ast.ClassDef]) -> bool:
    bases = {_base_name(base) for base in node.bases}
    if bases & {"ABC", "Protocol", "Exception", "StrEnum", "Enum"} or node.name.endswith("Error"):
        return True
    content = [item for item in node.body if not _is_docstring(item) and not _is_setting(item)]
    return not content and all(_is_abstract(ours[base], ours) for base in bases if base in ours)


def _is_docstring(item: ast.stmt) -> bool:
    return isinstance(item, ast.Pass) or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))


def _is_setting(item: ast.stmt) -> bool:
    return isinstance(item, ast.Assign) and [ast.unparse(target) for target in item.targets] == ["model_config"]


def test_no_class_of_ours_inherits_code_of_ours() -> None:
    assert list(concrete_parents(modules())) == []


def test_inheritance_is_noticed() -> None:
    text = (
        "class Empty(BaseModel):\n    '''Base.'''\n    model_config = 1\n"
        "class Fine(Empty):\n    x: int\n"
        "class Shape(Protocol):\n    def area(self): ...\n"
        "class Square(Shape):\n    def area(self): return 1\n"
        "class Wrong(Square):\n    pass\n"
        "class AlsoWrong(Fine):\n    pass\n"
    )
    assert list(concrete_parents((parse("x.py", text),))) == ["x.py:10 Wrong(Square)", "x.py:12 AlsoWrong(Fine)"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_exports_its_config_and_run(verb: str) -> None:
    module = importlib.import_module(f"tunesmith.{verb}")
    assert {"Config", "run"} <= set(module.__all__)
    assert module.Config.model_config["extra"] == "forbid"
    assert module.Config.model_config["frozen"]
    if verb in TORCH_FREE_VERBS:
        assert [
            name for name in module.__all__ if name not in dir(module) and getattr(module, name, None) is None
        ] == []


def config_fields(code: tuple[Module, ...]) -> Iterator[tuple[Module, ast.ClassDef, str]]:
    """Every field of every class named Config or …Config."""
    for module in code:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        yield module, node, item.target.id


def dead_keys(code: tuple[Module, ...]) -> list[str]:
    """Config keys that nothing reads outside the class that defines them."""
    read: dict[str, set[str]] = {}
    for module in code:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.setdefault(node.attr, set()).add(f"{module.name}:{node.lineno}")
    dead = []
    for module, owner, key in config_fields(code):
        inside = {f"{module.name}:{line}" for line in range(owner.lineno, (owner.end_lineno or owner.lineno) + 1)}
        if not read.get(key, set()) - inside:
            dead.append(f"{module.name} {key}")
    return dead


def test_every_config_key_is_read() -> None:
    assert dead_keys(modules()) == []


def test_a_dead_key_is_noticed() -> None:
    config = parse(
        "a.py", "class Config(Record):\n    used: int\n    dead: int\n    def f(self):\n        return self.dead"
    )
    assert dead_keys((config, parse("b.py", "config.used"))) == ["a.py dead"]


def test_every_config_key_is_described() -> None:
    undescribed = [
        f"tunesmith.{verb} {name}"
        for verb in VERBS
        for name, field in importlib.import_module(f"tunesmith.{verb}").Config.model_fields.items()
        if not field.description
    ]
    assert undescribed == []
