"""Chat templates render as transformers renders them, and cannot do anything else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tunesmith.core.errors import InputError, ModelError
from tunesmith.text import sandbox
from tunesmith.text.sandbox import ChatTemplate

NOW = datetime(2026, 7, 1, 12, 30)
MESSAGES = [{"role": "user", "content": "Größe <b>'x'</b>?"}, {"role": "assistant", "content": "3"}]
TOOLS = [{"name": "fenêtre", "parameters": {"b": 1, "a": [True, None]}}]


def render(source: str, tools: Any = None, answer_next: bool = False, **variables: Any) -> str:
    return ChatTemplate(source, variables).render(MESSAGES, tools, answer_next=answer_next, now=NOW)


@pytest.mark.parametrize(
    "source",
    [
        "  {% for m in messages %}\n    {% if m.name %}\n{{ m.content }}\n    {% endif %}\n {% endfor %}\nend\n",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}{% endfor %}",
        "{{ tools | tojson }}{{ tools | tojson(indent=2) }}",
        "{{ tools | tojson(sort_keys=True, separators=(',', ':'), ensure_ascii=True) }}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% macro f(x) %}[{{ x | trim }}]{% endmacro %}{{ f(' a ') }}{{ dict(a=1).a }}{{ messages | length }}",
        "{{ messages[1:] }}{{ messages[-1]['role'] }}{{ missing }}{{ bos_token }}{{ missing is defined }}",
        "{{ add_generation_prompt }}{{ tools is none }}{{ documents is none }}{{ 'x' if messages[0].name }}",
        "{{ messages | map(attribute='role') | join(',') }}{{ messages[0].content.split('<')[0].strip() }}",
        "{{ messages[0].items() | list }}{{ '%s-%d' | format('a', 3) }}{{ [3, 1] | sort }}{{ range(3) | list }}",
    ],
)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_same_text_as_transformers(source: str, tools: Any) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    (expected,), _ = render_jinja_template(
        [MESSAGES], tools=tools, chat_template=source, add_generation_prompt=True, bos_token="<s>"
    )
    assert render(source, tools, answer_next=True, bos_token="<s>") == expected


def test_the_time_is_given() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}{{ strftime_now is defined }}") == "01 Jul 2026True"


def test_the_template_may_refuse() -> None:
    with pytest.raises(InputError, match="does not render this conversation: only one turn") as caught:
        render("{{ raise_exception('only one turn') }}")
    assert "change the conversation" in caught.value.fix


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set ns = namespace(_x=1) %}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ missing.attribute }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content + 1 }}",
        "{% include 'file' %}",
    ],
)
def test_refused(source: str) -> None:
    with pytest.raises(InputError, match="does not render this conversation"):
        render(source)


def test_not_jinja() -> None:
    with pytest.raises(ModelError, match="not valid Jinja") as caught:
        ChatTemplate("a\n{% endfor %}", {}, where="chat_template.jinja")
    assert "line 2" in caught.value.what
    assert caught.value.where == "chat_template.jinja"
    assert "chatml" in caught.value.fix


def test_a_template_that_writes_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{{ 'xxxx' }}{% endfor %}{% endfor %}"
    monkeypatch.setattr(sandbox, "MAX_CHARACTERS", 1000)
    with pytest.raises(InputError, match="renders without end"):
        render(endless)
    monkeypatch.undo()
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.05)
    with pytest.raises(InputError, match="renders without end"):
        render(endless)


def test_names_that_a_template_reads() -> None:
    assert ChatTemplate("{{ a }}{% set b = namespace(x=1) %}{{ b.x }}{{ range(2) }}", {}).reads == {"a"}
