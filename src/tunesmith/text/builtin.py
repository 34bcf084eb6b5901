"""Chat templates of our own, for models that come without one.

Each is written for a tokenizer: with its beginning-of-sequence token where it uses one, and with a token that it has
as the end of a turn. The result is a plain chat template that other tools can read.
"""

from __future__ import annotations

from tunesmith.core.errors import ModelError
from tunesmith.text.tokenizer import Tokenizer

NAMES = ("chatml", "plain")

_CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + END + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_PLAIN = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{- 'Assistant:\\n' + message['content'] + END + '\\n\\n' }}"
    "{%- elif message['role'] == 'system' %}{{- message['content'] + '\\n\\n' }}"
    "{%- elif message['role'] == 'user' %}{{- 'User:\\n' + message['content'] + '\\n\\n' }}"
    "{%- else %}{{- raise_exception('the plain template has no place for the role ' + message['role']) }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'Assistant:\\n' }}{%- endif %}"
)


def builtin(name: str, tokenizer: Tokenizer) -> str:
    """Text of the built-in template ``name`` for a tokenizer.

    Raises:
        ModelError: the tokenizer has no token that could end a turn.
    """
    if name == "chatml" and "<|im_end|>" in tokenizer.added:
        end = "'<|im_end|>'"
    elif tokenizer.eos_id is not None:
        end = "eos_token"
    else:
        raise ModelError(
            f"the tokenizer has no token with which the {name} template could end an answer",
            rule="an answer ends in a token that the model can learn to give",
            fix="name the tokenizer's eos_token in tokenizer_config.json",
        )
    bos = tokenizer.special.get("bos_token")
    begins = "{{- bos_token }}" if bos is not None and tokenizer.id_of(bos) in tokenizer.prefix_ids else ""
    return begins + (_CHATML if name == "chatml" else _PLAIN).replace("END", end)
