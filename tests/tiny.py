"""Tiny models that tests build themselves: a random Llama of some ten thousand weights with a real BPE tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a tiny test model.<|im_end|>\n' }}"
    "{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Write one sentence about this restaurant: name[The Eagle], food[French], area[riverside].",
    "The Eagle is a French restaurant near the riverside with a high customer rating.",
    'Return JSON: {"name": "flour", "amount": 200, "unit": "g"}',
    "system user assistant tool\nYou are a tiny test model.",
    "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ",
]


def build_tokenizer(folder: Path, vocab_size: int = 384) -> None:
    """Write tokenizer.json and tokenizer_config.json: byte-level BPE with ChatML control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "bos_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "chat_template": CHATML,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def build_model(
    folder: Path, *, seed: int = 0, layers: int = 2, hidden: int = 32, tied: bool = True, spread: float = 0.02
) -> Path:
    """A random Llama with grouped-query attention, saved in fp32 as a Hugging Face folder.

    ``spread`` is the standard deviation of its weights; at 0.02 all tokens are about as likely, at 0.2 not at all.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    build_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=spread,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    return folder
