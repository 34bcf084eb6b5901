"""A local token-classification model finds names, whatever the length of the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import build_tokenizer
from tunesmith import lifecycle
from tunesmith.core.errors import ModelError
from tunesmith.curate import Config
from tunesmith.model.tagger import load_tagger


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, except that the token of "Q" alone is called a person."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    place = tmp_path_factory.mktemp("names") / "tiny-names"
    build_tokenizer(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=384,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
        id2label={0: "O", 1: "PER"},
        label2id={"O": 0, "PER": 1},
    )
    model = BertForTokenClassification(config)
    token = AutoTokenizer.from_pretrained(place)("Q")["input_ids"][-1]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
            norm.weight.fill_(1.0)
        model.bert.embeddings.word_embeddings.weight[token, 0] = 10.0
        model.classifier.weight[1, 0] = 9.0
        model.classifier.bias[0] = 1.0
    model.save_pretrained(place)
    return place


def test_names_are_found_at_their_places_in_long_texts_too(folder: Path) -> None:
    tagger = load_tagger(folder)
    assert tagger.name == "tiny-names"
    text = "Q lives here. " + "all the words that lie between " * 200 + "Q and\nQ"
    found = tagger(text)
    assert [(label, text[start:end].strip()) for label, start, end, _ in found] == [("PER", "Q")] * 3
    assert [start for _, start, _, _ in found] == sorted(start for _, start, _, _ in found)
    assert all(0.5 < score <= 1.0 for *_, score in found)
    assert tagger("") == []
    assert tagger(" \n") == []


def test_the_configured_model_is_loaded_and_others_are_not(folder: Path) -> None:
    data = {"datasets": [{"path": "a.jsonl"}]}
    assert lifecycle.tagger_for(Config.model_validate(data)) is None
    config = Config.model_validate({**data, "checks": {"personal": {"ner_model": str(folder)}}})
    tagger = lifecycle.tagger_for(config)
    assert tagger is not None
    assert tagger.name == "tiny-names"


def test_a_folder_without_such_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no model of names in"):
        load_tagger(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="the model of names cannot be loaded"):
        load_tagger(tmp_path)
