"""Tool calls: their form is read from a template, forced by a grammar, and found again however the text is cut."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from llguidance import LLMatcher

from tunesmith.core.errors import InputError
from tunesmith.core.protocols import CallPiece
from tunesmith.core.records import ToolCall
from tunesmith.text.toolcalls import Tool, ToolFormat, read_format

FAMILIES = {
    "hermes": ("<tool_call>\n", '{{"name": "{name}", "arguments": {args}}}', "\n", "\n</tool_call>", True),
    "llama3": ("", '{{"name": "{name}", "parameters": {args}}}', None, "", False),
    "mistral": ("[TOOL_CALLS] [", '{{"name": "{name}", "arguments": {args}, "id": "{id}"}}', ", ", "]", False),
    "phi4": ("<|tool_call|>[", '{{"name": "{name}", "arguments": {args}}}', ", ", "]<|/tool_call|>", False),
    "deepseek": (
        "<calls><call>function<sep>",
        "{name}\n```json\n{args}\n```",
        "<call>function<sep>",
        "</calls>",
        False,
    ),
}
CONTROL = {"[TOOL_CALLS]": 5, "<|tool_call|>": 6, "<|/tool_call|>": 7}


def writer(family: str):
    start, call, between, end, wrapped = FAMILIES[family]

    def write(calls: Sequence[ToolCall]) -> str:
        if between is None and len(calls) > 1:
            raise InputError("this model only supports single tool calls", fix="one")
        texts = [call.format(name=c.name, args=c.arguments, id=c.id) for c in calls]
        return (
            (between or "").join(start + t + end for t in texts)
            if wrapped
            else start + (between or "").join(texts) + end
        )

    return write


def form_of(family: str) -> ToolFormat:
    return read_format(writer(family), CONTROL)


def parsed(form: ToolFormat, text: str, cuts: random.Random | None = None, many: bool = True):
    parser = form.parser(["look_up", "send"], many)
    pieces: list[str | CallPiece] = []
    at = 0
    while at < len(text):
        step = cuts.randint(1, 7) if cuts else len(text)
        pieces += parser.push(text[at : at + step])
        at += step
    pieces += parser.finish()
    content = "".join(piece for piece in pieces if isinstance(piece, str))
    calls: dict[int, list[str]] = {}
    for piece in pieces:
        if isinstance(piece, CallPiece):
            found = calls.setdefault(piece.index, [piece.name, ""])
            found[1] += piece.arguments
    return content, [(name, json.loads(args)) for name, args in calls.values()], parser


ONE = ToolCall(id="abcdefgh1", name="look_up", arguments='{"city": "Den \\"Haag\\" }", "n": [1, {"a": 2}]}')
TWO = ToolCall(id="abcdefgh2", name="send", arguments="{}")


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_template_writes_is_read_back_however_it_is_cut(family: str) -> None:
    form = form_of(family)
    calls = [ONE] if family == "llama3" else [ONE, TWO]
    text = form.visible(writer(family)(calls))
    wanted = [(call.name, json.loads(call.arguments)) for call in calls]
    cuts = random.Random(1)
    for _ in range(30):
        content, found, parser = parsed(form, text, cuts)
        assert (content.strip(), found) == ("", wanted)
        assert parser.complete
    content, found, parser = parsed(form, text, cuts, many=False)
    assert (content, found, parser.enough) == ("", wanted[:1], True)


def test_content_before_a_call_and_another_spacing() -> None:
    text = 'Let me look.\n<tool_call>{"name":"look_up","arguments":{"city":"Delft"}}</tool_call>'
    content, found, _ = parsed(form_of("hermes"), text, random.Random(2))
    assert (content.strip(), found) == ("Let me look.", [("look_up", {"city": "Delft"})])


@pytest.mark.parametrize(
    "text",
    [
        "No call at all, < and <tool_cal",
        '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>',
        "<tool_call> is how a call begins, and then come words, words and words " * 9,
        '<tool_call>\n{"name": "look_up"',
    ],
)
def test_what_is_no_call_stays_content(text: str) -> None:
    for cuts in (None, random.Random(3)):
        content, found, parser = parsed(form_of("hermes"), text, cuts)
        assert (content, found, parser.complete) == (text, [], False)


def test_bare_json_is_a_call_at_the_beginning_only() -> None:
    form = form_of("llama3")
    assert form.marker == ""
    for text in ('Sure: {"name": "send", "parameters": {}}', '{"name": "nobody", "parameters": {}}', "{not json}"):
        assert parsed(form, text, random.Random(4))[:2] == (text, [])


def test_an_answer_that_is_cut_has_the_beginning_of_its_arguments() -> None:
    parser = form_of("hermes").parser(["send"])
    pieces = [*parser.push('<tool_call>\n{"name": "send", "arguments": {"to": "a'), *parser.finish()]
    assert "".join(p.arguments for p in pieces if isinstance(p, CallPiece)) == '{"to": "a'
    assert not parser.complete


def test_ids_are_as_the_template_wants_them() -> None:
    assert form_of("mistral").has_ids
    assert len(form_of("mistral").new_id()) == 9
    assert form_of("hermes").new_id().startswith("call_")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "<function=probe_first><parameter=probe_key>probe value</parameter></function>",
            "not written as a JSON object",
        ),
        ('{"arguments": {"probe_key": "probe value"}, "name": "probe_first"}', "name stands behind its arguments"),
        ('probecal1 {"name": "probe_first", "arguments": {"probe_key": "probe value"}}', "its id before them"),
        ('probe_first {"probe_key": "probe value"}', "shows where a call begins"),
    ],
)
def test_forms_that_cannot_be_read_back_are_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match="writes tool calls in a form that cannot be read back") as caught:
        read_format(lambda calls: text, {})
    assert why in caught.value.what


TOOLS = [
    Tool("look_up", {"properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}),
    Tool("send", {"properties": {}, "additionalProperties": False}, strict=True),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("otherwise", [None, "TEXT", "%json {}"])
def test_grammars_compile(family: str, otherwise: str | None) -> None:
    form = form_of(family)
    if otherwise == "TEXT" and family == "llama3":
        with pytest.raises(InputError, match="writes calls as bare JSON"):
            form.grammar(TOOLS, many=True, otherwise=otherwise)
        return
    source = form.grammar(TOOLS, many=True, otherwise=otherwise)
    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(source)) == ""


def accepts(source: str, text: str, tokenizer) -> bool:
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(source))
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_grammar_takes_the_templates_own_spelling_and_nothing_else() -> None:
    from llguidance import LLTokenizer

    tokenizer = LLTokenizer("byte")
    form = form_of("hermes")
    call = writer("hermes")([ToolCall(name="look_up", arguments='{"city": "Delft"}')])
    both = call + "\n" + writer("hermes")([TWO])
    forced = form.grammar(TOOLS, many=True)
    assert accepts(forced, call, tokenizer)
    assert accepts(forced, both, tokenizer)
    assert not accepts(form.grammar(TOOLS, many=False), both, tokenizer)
    assert not accepts(forced, "Hello", tokenizer)
    assert not accepts(forced, call.replace("city", "town"), tokenizer)
    free = form.grammar(TOOLS, many=True, otherwise="TEXT")
    assert accepts(free, "Hello, <b>you</b>", tokenizer)
    assert accepts(free, call, tokenizer)
    assert not accepts(free, call.replace("city", "town"), tokenizer)
    assert not accepts(free, "Hello <tool_call>", tokenizer)
