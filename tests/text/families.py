"""Tokenizer folders that behave as those of the model families do: own small templates over own tiny vocabularies."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Hello world! What is the capital of the Netherlands?\n\n",
    "The capital is Amsterdam.\n\nsystem user assistant model tool\n\n\nYou are a tiny assistant.\n",
    'Return JSON: {"name": "get_weather", "arguments": {"city": "Delft"}}\n{"temperature": 20}\n',
    "  two spaces,  and   three\n\n\n and newlines\n \n <think>\n\n</think>\n\n [INST] [/INST] User: Assistant:",
    "0123456789 café naïve straße 北京",
] * 3

SMOLLM2 = """
{%- for message in messages %}
{%- if loop.first and message['role'] != 'system' %}
{{- '<|im_start|>system\nYou are a tiny assistant.<|im_end|>\n' }}
{%- endif %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}
"""

LLAMA3 = """
{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + date_string + '\n\n' + system }}
{%- if tools is not none %}{% for tool in tools %}{{- '\n' + tool | tojson(indent=4) }}{% endfor %}{% endif %}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + message.content | tojson + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception('one tool call at a time') }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|eom_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""

_QWEN_HEAD = """
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{% endif %}
    {{- '<tools>' }}{% for tool in tools %}{{- '\n' + tool | tojson }}{% endfor %}
    {{- '\n</tools><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
"""

_QWEN_CALLS = """
    {%- for call in message.tool_calls or [] %}
        {%- if content or not loop.first %}{{- '\n' }}{% endif %}
        {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
        {{- call.function.arguments | tojson + '}\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
"""

_QWEN_TOOL = """
    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
    {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{% endif %}
"""

QWEN25 = (
    _QWEN_HEAD
    + """
{%- for message in messages %}
{%- set content = message.content %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
    {{- '<|im_start|>assistant\n' + content }}"""
    + _QWEN_CALLS
    + "{%- elif message.role == 'tool' %}"
    + _QWEN_TOOL
    + """{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}
"""
)

QWEN3 = (
    _QWEN_HEAD
    + """
{%- set ns = namespace(last_question=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last_question = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
{%- set content = message.content %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
    {%- set thought = '' %}
    {%- if '</think>' in content %}
        {%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>assistant\n' }}
    {%- if loop.index0 > ns.last_question and (loop.last or thought) %}
        {{- '<think>\n' + thought + '\n</think>\n\n' }}
    {%- endif %}
    {{- content }}"""
    + _QWEN_CALLS
    + "{%- elif message.role == 'tool' %}"
    + _QWEN_TOOL
    + """{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}
"""
)

MISTRAL = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set lead = messages[0].content + '\n\n' %}{% set turns = messages[1:] %}
{%- else %}{% set lead = '' %}{% set turns = messages %}{% endif %}
{%- for message in turns %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message.role == 'user' %}{{- '[INST] ' + (lead if loop.first else '') + message.content + '[/INST]' }}
    {%- else %}{{- ' ' + message.content + eos_token }}{% endif %}
{%- endfor %}
"""

GEMMA = """
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{% endif %}
"""

PHI = """
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}
{%- endfor %}
{{- '<|assistant|>\n' if add_generation_prompt else eos_token }}
"""


def byte_level(special: Sequence[str | AddedToken], split: str = "") -> Tokenizer:
    """Byte-level BPE, as SmolLM2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)
    cut = [pre_tokenizers.Split(Regex(split), "isolated")] if split else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cut, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, initial_alphabet=alphabet, special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def sentence_piece(special: Sequence[str], style: str) -> Tokenizer:
    """Character BPE with byte fallback; ``style`` says how a text begins: metaspace | prepend | bare."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=names, show_progress=False)
    trained.train_from_iterator([line.replace("\n", " ") for line in CORPUS], trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    bpe = models.BPE(model["vocab"], merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(bpe)
    space = decoders.Replace("▁", " ")
    tail: list[Any] = [decoders.ByteFallback(), decoders.Fuse()]
    if style == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        prepend = [normalizers.Prepend("▁")] if style == "prepend" else []
        tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    strip = [] if style == "bare" else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence([space, *tail, *strip])
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def with_bos(tokenizer: Tokenizer, bos: str) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def save(folder: Path, tokenizer: Tokenizer, template: str | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    stated = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in stated.items() if v is not None}))
    return folder


def smollm2(folder: Path) -> Path:
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return save(folder, tokenizer, SMOLLM2, unk_token="<|endoftext|>", model_max_length=8192, **special)


def llama3(folder: Path) -> Path:
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id", "eom_id", "pad"]
    split = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer = with_bos(byte_level([f"<|{name}|>" for name in names], split), "<|begin_of_text|>")
    special = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|pad|>"}
    save(folder, tokenizer, LLAMA3, **special)
    ids = [tokenizer.token_to_id(f"<|{name}|>") for name in ("end_of_text", "eom_id", "eot_id")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
    return folder


def _qwen(folder: Path, template: str) -> Path:
    plain = [
        AddedToken(t, special=False, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")
    ]
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(plain)
    save(folder, tokenizer, template, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0], "pad_token_id": 0}))
    return folder


def qwen25(folder: Path) -> Path:
    return _qwen(folder, QWEN25)


def qwen3(folder: Path) -> Path:
    return _qwen(folder, QWEN3)


def mistral(folder: Path) -> Path:
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    tokenizer = with_bos(sentence_piece(names, "metaspace"), "<s>")
    return save(folder, tokenizer, MISTRAL, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def mistral_old(folder: Path) -> Path:
    """As the first releases: [INST] is ordinary text, and each text begins with a space."""
    tokenizer = with_bos(sentence_piece(["<unk>", "<s>", "</s>"], "prepend"), "<s>")
    return save(folder, tokenizer, MISTRAL, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def gemma(folder: Path) -> Path:
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = with_bos(sentence_piece(names, "bare"), "<bos>")
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("\n", "\n\n", "\n\n\n")])
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    save(folder, tokenizer, GEMMA, **special)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))
    return folder


def phi(folder: Path) -> Path:
    """Control tokens that swallow the newline after them, and a text end that stands only where no answer follows."""
    names = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokens = [AddedToken(name, rstrip=True, special=True, normalized=False) for name in names]
    tokenizer = byte_level(["<|endoftext|>", *tokens])
    return save(folder, tokenizer, PHI, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


FAMILIES: dict[str, Callable[[Path], Path]] = {
    f.__name__: f for f in (smollm2, llama3, qwen25, qwen3, mistral, mistral_old, gemma, phi)
}
