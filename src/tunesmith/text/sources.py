"""Where a model folder keeps its chat templates and the ids that end its texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.text.builtin import NAMES, builtin
from tunesmith.text.sandbox import ChatTemplate
from tunesmith.text.tokenizer import Tokenizer, read_json

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")
"""Tokens that stand between the texts of pre-training: GPT-2 and Qwen, Llama 3, Llama 2, Gemma, DeepSeek."""

Sources = dict[str, tuple[str, str]]
"""Template name → its text and the file that it came from."""

_OFFER = f"set chat_template to {', '.join(NAMES)} or the path of a .jinja file"


def find_templates(folder: Path, chosen: str, tokenizer: Tokenizer) -> Sources:
    """The templates to use: "default", and "tool_use" where the model has an own one for tools.

    Args:
        folder: the model folder.
        chosen: "model", the name of a built-in template, or the path of a file.
        tokenizer: the model's tokenizer, which built-in templates are written for.

    Raises:
        ModelError: the model has no chat template.
        ConfigError: ``chosen`` is neither a known name nor a file of text.
    """
    if chosen in NAMES:
        return {"default": (builtin(chosen, tokenizer), f"built-in template {chosen}")}
    if chosen != "model":
        return {"default": (own_template(chosen), chosen)}
    found = _own(folder)
    if "default" not in found:
        others = f" named default (it has {', '.join(sorted(found))})" if found else ""
        raise ModelError(
            f"the model has no chat template{others}",
            where=str(folder),
            rule="a chat template says how messages are written as text",
            fix=f"{_OFFER}; {_hint(tokenizer)}",
        )
    return {name: found[name] for name in ("default", "tool_use") if name in found}


def require_template(chosen: str) -> None:
    """Refuse a chat template that no model could use, before one is there.

    Raises:
        ConfigError: ``chosen`` is neither a known name nor a file of text. ModelError: the file is not valid Jinja.
    """
    if chosen not in ("model", *NAMES):
        ChatTemplate(own_template(chosen), {}, where=chosen)


def own_template(chosen: str) -> str:
    """The text of the template file at ``chosen``.

    Raises:
        ConfigError: there is no such file, or it is not text.
    """
    path = Path(chosen)
    if not path.is_file():
        raise ConfigError(
            f"chat_template: {chosen!r} is neither a built-in template nor a file",
            where="chat_template",
            rule=f"chat_template is model, {', '.join(NAMES)} or the path of a .jinja file",
            fix="correct the path, or choose one of the names",
        )
    return _read(path)


def _hint(tokenizer: Tokenizer) -> str:
    """Which built-in template goes with a tokenizer; said, never chosen for the user."""
    if {"<|im_start|>", "<|im_end|>"} <= set(tokenizer.added):
        return "the tokenizer has the tokens of chatml"
    return "base models that were never tuned for chat do well with plain"


def eos_ids(folder: Path, tokenizer: Tokenizer) -> set[int]:
    """Every end-of-sequence id that the folder states, as long as it is a token of its own and not ordinary text."""
    model = read_json(folder / "config.json")
    inner = model.get("text_config")
    stated = [read_json(folder / "generation_config.json"), model, inner if isinstance(inner, Mapping) else {}]
    ids: set[object] = {tokenizer.eos_id}
    for config in stated:
        value = config.get("eos_token_id")
        ids.update(value if isinstance(value, list) else [value])
    return {id for id in tokenizer.added.values() if id in ids}


def end_of_text(tokenizer: Tokenizer, stop_ids: frozenset[int], turn_end: int) -> int:
    """Id of the token that ends a plain text: one that stops generation, or the model would never stop after it.

    A stop token that is known to end texts, where the model has one (chat models may name their end of turn as eos);
    else the tokenizer's eos; else the end of a turn.
    """
    for name in END_OF_TEXT:
        if (id := tokenizer.control.get(name)) is not None and id in stop_ids:
            return id
    eos = tokenizer.eos_id
    return eos if eos is not None and eos in stop_ids else turn_end


def _own(folder: Path) -> Sources:
    files = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = folder / "chat_template.jinja"
    if files:  # as in transformers, files hide what tokenizer_config.json says
        return {name: (_read(path), str(path)) for name, path in files.items()}
    path = folder / "tokenizer_config.json"
    stated = read_json(path).get("chat_template")
    if isinstance(stated, str):
        stated = {"default": stated}
    elif isinstance(stated, list):
        named = [entry for entry in stated if isinstance(entry, Mapping)]
        stated = {entry.get("name"): entry.get("template") for entry in named}
    if not isinstance(stated, Mapping):
        return {}
    return {str(name): (source, str(path)) for name, source in stated.items() if isinstance(source, str)}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"not a text file: {error}",
            where=str(path),
            rule="a chat template is a Jinja template in UTF-8",
            fix="give the path of a .jinja file",
        ) from error
