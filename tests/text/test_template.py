"""Weights, refusals, built-in templates, where templates come from, and the identity of a renderer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.text.families import SMOLLM2, byte_level, save
from tests.text.talk import WEATHER, call, row, say, shown, trained
from tunesmith.core.errors import ConfigError, DataError, InputError, ModelError
from tunesmith.core.protocols import Renderer, TextStream
from tunesmith.core.records import Message, ToolCall
from tunesmith.text.template import load_renderer

Folders = Callable[[str], Path]
Q, A, Q2, A2 = say("user", "Hello"), say("assistant", "Hi."), say("user", "And?"), say("assistant", "Bye.")

STRICT = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"


@pytest.fixture
def folder(family_folder: Folders, tmp_path: Path) -> Path:
    """A copy of the SmolLM2 folder that the test may change."""
    return Path(shutil.copytree(family_folder("smollm2"), tmp_path / "model"))


def set_template(folder: Path, template: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))


def refusal(folder: Path, *messages: Message, tools: Sequence[dict[str, Any]] = (), **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load_renderer(folder, **options).example(row(*messages, tools=tools))
    assert caught.value.where == "rows.jsonl:17"
    assert caught.value.rule
    assert caught.value.fix
    return caught.value


def test_it_is_a_renderer(family_folder: Folders) -> None:
    folder = family_folder("smollm2")
    renderer: Renderer = load_renderer(folder)
    assert renderer.vocab_size == len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    stream: TextStream = renderer.stream()
    assert "".join([*map(stream.push, renderer.text("Hello")), stream.finish()]) == "Hello"


class TestWeights:
    def test_last_trains_the_last_answer_only(self, folder: Path) -> None:
        renderer = load_renderer(folder, train_on="last")
        (tokens,) = renderer.example(row(Q, A, Q2, A2))
        assert trained(renderer, tokens) == "Bye.<|im_end|>"
        assert len(tokens.spans) == 1

    def test_all_trains_every_token_but_the_first(self, folder: Path) -> None:
        (tokens,) = load_renderer(folder, train_on="all").example(row(Q, A, Q2, A2))
        assert tokens.weights == (0.0, *[1.0] * (len(tokens.tokens) - 1))
        assert len(tokens.spans) == 2

    def test_ids_do_not_depend_on_what_is_trained(self, folder: Path) -> None:
        ids = {load_renderer(folder, train_on=t).example(row(Q, A, Q2, A2))[0].tokens for t in ("assistant", "all")}
        assert len(ids | {load_renderer(folder, train_on="last").example(row(Q, A, Q2, A2))[0].tokens}) == 1

    def test_weight_0_keeps_an_answer_out(self, folder: Path) -> None:
        renderer = load_renderer(folder)
        quiet = say("assistant", "Hi.", weight=0)
        (tokens,) = renderer.example(row(Q, quiet, Q2, A2))
        assert trained(renderer, tokens) == "Bye.<|im_end|>"
        assert tokens.tokens == renderer.example(row(Q, A, Q2, A2))[0].tokens
        everything = load_renderer(folder, train_on="all")
        (tokens,) = everything.example(row(Q, quiet, Q2, A2))
        assert "Hi." not in trained(everything, tokens)
        assert "Bye." in trained(everything, tokens)

    def test_weights_are_handed_on(self, folder: Path) -> None:
        (tokens,) = load_renderer(folder).example(row(Q, say("assistant", "Hi.", weight=0.5), Q2, A2))
        assert {tokens.weights[span.start] for span in tokens.spans} == {0.5, 1.0}

    def test_a_final_answer_of_weight_0_is_left_off(self, folder: Path) -> None:
        renderer = load_renderer(folder)
        (tokens,) = renderer.example(row(Q, A, Q2, say("assistant", "Bye.", weight=0)))
        assert trained(renderer, tokens) == "Hi.<|im_end|>"

    def test_pad_is_not_confused_with_stop(self, folder: Path) -> None:
        renderer = load_renderer(folder)
        (tokens,) = renderer.example(row(Q, A))
        assert renderer.tokenizer.pad_id == renderer.tokenizer.eos_id
        assert tokens.tokens[tokens.spans[0].end - 1] == renderer.tokenizer.pad_id
        assert tokens.weights[tokens.spans[0].end - 1] == 1.0

    def test_consecutive_answers(self, folder: Path) -> None:
        renderer = load_renderer(folder)
        (tokens,) = renderer.example(row(Q, A, A2))
        assert trained(renderer, tokens) == "Hi.<|im_end|>Bye.<|im_end|>"


class TestRefusedRows:
    def test_nothing_trained(self, folder: Path) -> None:
        error = refusal(folder, Q, say("assistant", "Hi.", weight=0))
        assert "no token of the row is trained" in error.what
        error = refusal(folder, Q, A, Q2, say("assistant", "Bye.", weight=0), train_on="last")
        assert "at its end" in error.what

    @pytest.mark.parametrize("text", ["", " \n\t "])
    def test_empty_answer(self, folder: Path, text: str) -> None:
        assert "message 2 (assistant) is empty" in refusal(folder, Q, say("assistant", text)).what
        assert load_renderer(folder).example(row(Q, say("assistant", text, weight=0), Q2, A2))

    @pytest.mark.parametrize("position", range(4))
    def test_control_token_in_a_text(self, folder: Path, position: int) -> None:
        talk = [Q, A, Q2, A2]
        talk[position] = say(talk[position].role, "well <|im_end|>\n")
        error = refusal(folder, *talk)
        assert f"'<|im_end|>' stands in the text of message {position + 1}" in error.what
        assert "break it up" in error.fix
        with pytest.raises(InputError, match=r"control token '<.im_end.>'"):
            load_renderer(folder).prompt(talk)

    def test_control_token_in_a_tool(self, family_folder: Folders) -> None:
        folder = family_folder("qwen25")
        forged = {**WEATHER, "note": "<|im_start|>system"}
        assert "in the text of tool 1" in refusal(folder, Q, A, tools=[forged]).what
        error = refusal(folder, Q, say("assistant", tool_calls=(call("f", x="<|im_end|>"),)))
        assert "message 2 (assistant)" in error.what

    def test_control_token_that_is_not_ascii(self, tmp_path: Path) -> None:
        save(tmp_path, byte_level(["<｜end▁of▁turn｜>"]), STRICT, eos_token="<｜end▁of▁turn｜>")
        forged = "<｜end▁of▁turn｜>"
        for bad in (say("assistant", "a" + forged), say("assistant", tool_calls=(call("f", x=forged),))):
            assert f"{forged!r} stands in the text of message 2" in refusal(tmp_path, Q, bad).what

    def test_tokens_that_are_not_control_tokens_may_stand_in_a_text(self, family_folder: Folders) -> None:
        renderer = load_renderer(family_folder("qwen25"))
        (tokens,) = renderer.example(row(Q, say("assistant", "<think>\nWell.\n</think>\n\nHi.")))
        assert trained(renderer, tokens) == "<think>\nWell.\n</think>\n\nHi.<|im_end|>"

    def test_half_a_surrogate_pair(self, folder: Path) -> None:
        error = refusal(folder, Q, say("assistant", "Hi \ud83d"))
        assert "half of a surrogate pair (\\ud83d)" in error.what

    def test_arguments_that_are_not_an_object(self, family_folder: Folders) -> None:
        for arguments in ("{not json", "[1]"):
            bad = say("assistant", tool_calls=(ToolCall(name="get_weather", arguments=arguments),))
            error = refusal(family_folder("qwen25"), Q, bad, tools=[WEATHER])
            assert "arguments of the call to 'get_weather' are not a JSON object" in error.what

    def test_a_tool_that_is_not_an_object(self, family_folder: Folders) -> None:
        with pytest.raises(InputError, match="tool 1 is not a JSON object"):
            load_renderer(family_folder("qwen25")).prompt([Q], ["get_weather"])
        with pytest.raises(InputError, match="tool 1 is not a JSON object"):
            load_renderer(family_folder("qwen25")).prompt([Q], [{"x": object()}])

    def test_tools_that_the_template_would_leave_out(self, folder: Path) -> None:
        assert "the chat template has no place for them" in refusal(folder, Q, A, tools=[WEATHER]).what

    def test_a_tool_call_that_the_template_would_leave_out(self, folder: Path) -> None:
        error = refusal(folder, Q, say("assistant", "Wait.", tool_calls=(call("get_weather"),)))
        assert "leaves out or alters a part of message 2 (assistant)" in error.what

    def test_an_answer_that_the_template_would_cut(self, family_folder: Folders) -> None:
        both = say("assistant", "Let me look.", tool_calls=(call("get_weather", city="Delft"),))
        error = refusal(family_folder("llama3"), Q, both, tools=[WEATHER])
        assert "leaves out or alters a part of message 2 (assistant)" in error.what

    def test_a_question_that_the_template_would_leave_out(self, folder: Path) -> None:
        set_template(folder, SMOLLM2.replace("+ message['content'] +", "+ message['content'][:9] +"))
        error = refusal(folder, say("system", "Be kind to everyone."), Q, A)
        assert "leaves out or alters the text of message 1 (system)" in error.what

    def test_an_answer_first(self, folder: Path) -> None:
        assert "the conversation begins with an answer" in refusal(folder, A, Q2, A2).what
        quiet = say("assistant", "Hi.", weight=0)
        assert load_renderer(folder).example(row(quiet, Q2, A2))[0].spans

    def test_no_messages(self, folder: Path) -> None:
        with pytest.raises(InputError, match="there are no messages"):
            load_renderer(folder).prompt([])

    def test_rewritten_history_cannot_be_trained_as_a_whole(self, family_folder: Folders) -> None:
        error = refusal(family_folder("qwen3"), Q, A, Q2, A2, train_on="all")
        assert "rewrites earlier answers" in error.what
        assert "set train_on to assistant" in error.fix

    def test_a_prompt_that_does_not_begin_its_row(self, folder: Path) -> None:
        set_template(folder, SMOLLM2.replace("'<|im_start|>assistant\n' }}", "'<|im_start|>assistant\n<think>\n' }}"))
        error = refusal(folder, Q, A)
        assert "otherwise than as a continuation of its prompt" in error.what
        assert load_renderer(folder).prompt([Q, A, Q2])

    def test_an_answer_without_stop_token(self, folder: Path) -> None:
        template = "{% for m in messages %}{{ m.content + (eos_token if m.content != 'Bye.' else '\n') }}{% endfor %}"
        set_template(folder, template)
        assert "ends message 2 without a stop token: 'Bye.\\n'" in refusal(folder, Q, A2).what


class TestModelFolders:
    def test_no_template(self, folder: Path) -> None:
        set_template(folder, None)
        with pytest.raises(ModelError, match="no chat template") as caught:
            load_renderer(folder)
        assert "chatml, plain or the path of a .jinja file" in caught.value.fix
        assert "the tokenizer has the tokens of chatml" in caught.value.fix

    def test_template_file_wins(self, folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(STRICT)
        renderer = load_renderer(folder)
        assert renderer.chat_template == STRICT
        assert shown(renderer, renderer.prompt([Q])) == "user: Hello<|im_end|>"

    def test_named_templates(self, folder: Path) -> None:
        tools = "{{ tools | tojson }}" + STRICT
        set_template(folder, [{"name": "default", "template": STRICT}, {"name": "tool_use", "template": tools}])
        renderer = load_renderer(folder)
        assert "get_weather" not in shown(renderer, renderer.prompt([Q]))
        assert "get_weather" in shown(renderer, renderer.prompt([Q], [WEATHER]))

    def test_additional_template_files(self, folder: Path) -> None:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools | tojson }}" + STRICT)
        with pytest.raises(ModelError, match=r"no chat template named default \(it has tool_use\)"):
            load_renderer(folder)
        (folder / "chat_template.jinja").write_text(STRICT)
        renderer = load_renderer(folder)
        assert "get_weather" in shown(renderer, renderer.prompt([Q], [WEATHER]))

    def test_template_by_path(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "own.jinja"
        path.write_text(STRICT)
        assert load_renderer(folder, chat_template=str(path)).chat_template == STRICT
        with pytest.raises(ConfigError, match="neither a built-in template nor a file"):
            load_renderer(folder, chat_template="chatlm")
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="not a text file"):
            load_renderer(folder, chat_template=str(path))

    def test_a_template_that_is_not_jinja(self, folder: Path) -> None:
        set_template(folder, "{% for m in messages %}")
        with pytest.raises(ModelError, match="not valid Jinja"):
            load_renderer(folder)

    @pytest.mark.parametrize(
        "template",
        ["{% for m in messages %}{{ m.content }}\n{% endfor %}", "{{ messages[0].content }}", "always the same"],
    )
    def test_a_template_without_stop_token(self, folder: Path, template: str) -> None:
        set_template(folder, template)
        with pytest.raises(ModelError, match="ends an answer without a stop token") as caught:
            load_renderer(folder)
        assert "chatml" in caught.value.fix

    def test_a_template_that_refuses_everything(self, folder: Path) -> None:
        set_template(folder, "{{ raise_exception('no') }}")
        with pytest.raises(ModelError, match="does not render this conversation: no"):
            load_renderer(folder)

    def test_a_template_with_two_beginnings(self, folder: Path) -> None:
        set_template(folder, "{{ bos_token + bos_token }}" + STRICT)
        with pytest.raises(ModelError, match="twice at the beginning"):
            load_renderer(folder)

    def test_a_newline_token_is_not_taken_for_the_stop(self, tmp_path: Path) -> None:
        tokenizer = byte_level(["</s>"])
        tokenizer.add_tokens(["\n"])
        save(tmp_path, tokenizer, STRICT.replace("+ eos_token", "+ '\n' + eos_token"), eos_token="</s>")
        assert load_renderer(tmp_path).stop_ids == {0}

    def test_stop_ids_of_the_model_count_only_if_they_are_tokens_of_their_own(self, folder: Path) -> None:
        ordinary = load_renderer(folder).tokenizer.id_of("a")
        (folder / "config.json").write_text(json.dumps({"eos_token_id": ordinary, "text_config": {"eos_token_id": 0}}))
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 99999]}))
        assert load_renderer(folder).stop_ids == {0, 2}

    def test_template_variables(self, family_folder: Folders, folder: Path) -> None:
        renderer = load_renderer(family_folder("llama3"), chat_template_kwargs={"date_string": "1 May 2030"})
        assert "Today: 1 May 2030" in shown(renderer, renderer.prompt([Q]))
        assert "date_string" in renderer.template_reads
        for name in ("enable_thinking", "messages"):
            with pytest.raises(ConfigError, match=f"does not read '{name}'"):
                load_renderer(folder, chat_template_kwargs={name: False})

    def test_template_variables_are_plain_values(self, family_folder: Folders) -> None:
        with pytest.raises(ConfigError, match="date_string is a date") as caught:
            load_renderer(family_folder("llama3"), chat_template_kwargs={"date_string": date(2030, 5, 1)})
        assert caught.value.fix == "put the value in quotes"

    def test_train_on_is_one_of_three(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match="'assistants' does not exist"):
            load_renderer(folder, train_on="assistants")


class TestBuiltinTemplates:
    def test_chatml_with_its_own_tokens(self, folder: Path) -> None:
        renderer = load_renderer(folder, chat_template="chatml")
        (tokens,) = renderer.example(row(say("system", "Be kind."), Q, A))
        expected = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
        assert shown(renderer, tokens.tokens) == expected + "Hi.<|im_end|>\n"
        assert trained(renderer, tokens) == "Hi.<|im_end|>"

    @pytest.mark.parametrize("name", ["chatml", "plain"])
    def test_with_the_end_and_the_beginning_of_the_tokenizer(self, family_folder: Folders, name: str) -> None:
        renderer = load_renderer(family_folder("gemma"), chat_template=name)
        (tokens,) = renderer.example(row(say("system", "Be kind."), Q, A, Q2, A2))
        text = shown(renderer, tokens.tokens)
        assert text.count("<bos>") == 1
        assert text.startswith("<bos>")
        assert trained(renderer, tokens) == "Hi.<eos>Bye.<eos>"
        prompt = renderer.prompt([say("system", "Be kind."), Q])
        assert tokens.tokens[: len(prompt)] == prompt

    def test_plain(self, folder: Path) -> None:
        renderer = load_renderer(folder, chat_template="plain")
        (tokens,) = renderer.example(row(say("system", "Be kind."), Q, A))
        assert shown(renderer, tokens.tokens) == "Be kind.\n\nUser:\nHello\n\nAssistant:\nHi.<|im_end|>\n\n"
        with pytest.raises(InputError, match="no place for the role tool"):
            renderer.prompt([Q, say("tool", "20")])

    def test_no_token_to_end_with(self, tmp_path: Path) -> None:
        save(tmp_path, byte_level(["<unk>"]))
        with pytest.raises(ModelError, match="no token with which the plain template could end") as caught:
            load_renderer(tmp_path, chat_template="plain")
        assert "eos_token" in caught.value.fix


class TestDigest:
    def test_same_folder_same_digest(self, folder: Path, family_folder: Folders) -> None:
        assert load_renderer(folder).digest == load_renderer(family_folder("smollm2"), train_on="last").digest

    def test_it_changes_with_the_template(self, folder: Path) -> None:
        before = load_renderer(folder).digest
        set_template(folder, SMOLLM2 + " ")
        assert load_renderer(folder).digest != before

    def test_it_changes_with_the_tokenizer(self, folder: Path) -> None:
        before = load_renderer(folder).digest
        content = json.loads((folder / "tokenizer.json").read_text())
        content["normalizer"] = {"type": "NFC"}
        (folder / "tokenizer.json").write_text(json.dumps(content))
        assert load_renderer(folder).digest != before

    def test_it_changes_with_the_stop_tokens(self, folder: Path) -> None:
        before = load_renderer(folder).digest
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
        assert load_renderer(folder).digest != before

    def test_it_changes_with_template_variables(self, family_folder: Folders) -> None:
        before = load_renderer(family_folder("qwen3")).digest
        quiet = load_renderer(family_folder("qwen3"), chat_template_kwargs={"enable_thinking": False})
        assert quiet.digest != before

    def test_it_changes_with_the_rules(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = load_renderer(folder).digest
        monkeypatch.setattr("tunesmith.text.template.RULES", 999)
        assert load_renderer(folder).digest != before

    def test_it_does_not_change_with_layout_or_stored_truncation(self, folder: Path) -> None:
        before = load_renderer(folder)
        content = json.loads((folder / "tokenizer.json").read_text())
        content["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        content["padding"] = {
            "strategy": {"Fixed": 64},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 2,
            "pad_type_id": 0,
            "pad_token": "<|im_end|>",
        }
        (folder / "tokenizer.json").write_text(json.dumps(content))
        after = load_renderer(folder)
        assert after.digest == before.digest
        assert after.prompt([Q]) == before.prompt([Q])
