"""``/v1/embeddings`` through the openai client, with a tiny BERT made here."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from tests.serve.fakes import FakeEngine
from tests.web.conftest import Lab
from tunesmith.core.errors import ModelError
from tunesmith.serve import open_embeddings

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "hello", "world", "again"]


def make_model(
    folder: Path, pooling: str = "mean", kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")
) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(folder / "tokenizer.json"))
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    parts = [{"type": f"sentence_transformers.models.{kind}", "path": paths.get(kind, "x")} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "1_Pooling").mkdir()
    how = {f"pooling_mode_{pooling}_token": True, f"pooling_mode_{pooling}_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(how))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="module")
def lab(folder: Path) -> Iterator[Lab]:
    lab = Lab(FakeEngine(), {})
    lab.server.gateway.embeddings = open_embeddings(str(folder))
    yield lab
    lab.close()


def expected(folder: Path, ids: list[int]) -> list[float]:
    """The mean of the last hidden states, at length 1: computed alone and without padding."""
    model = BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        mean = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
    return (mean / mean.norm()).tolist()


def test_texts_and_ids(lab: Lab, folder: Path) -> None:
    create = lab.client.embeddings.create
    answer = create(model="tiny-bert", input=["hello", "hello world again"])
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.data[0].embedding == pytest.approx(expected(folder, [1, 4, 2]), abs=1e-5)
    assert answer.data[1].embedding == pytest.approx(expected(folder, [1, 4, 5, 6, 2]), abs=1e-5)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.model) == (8, 8, "tiny-bert")
    assert create(model="tiny-bert", input=[1, 4, 2]).data[0].embedding == pytest.approx(
        answer.data[0].embedding, abs=1e-6
    )


def test_base64_is_little_endian_float32(lab: Lab) -> None:
    body = {"model": "tiny-bert", "input": "hello"}
    url = lab.server.base_url + "/embeddings"
    packed = lab.http.post(url, json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    plain = lab.http.post(url, json=body).json()["data"][0]["embedding"]
    assert list(struct.unpack("<16f", base64.b64decode(packed))) == pytest.approx(plain, abs=1e-6)


def test_dimensions(lab: Lab) -> None:
    whole = lab.client.embeddings.create(model="tiny-bert", input="hello").data[0].embedding
    cut = lab.client.embeddings.create(model="tiny-bert", input="hello", dimensions=4).data[0].embedding
    length = math.sqrt(sum(x * x for x in whole[:4]))
    assert cut == pytest.approx([x / length for x in whole[:4]], abs=1e-5)
    with pytest.raises(openai.BadRequestError, match="have 16 numbers, not 17") as caught:
        lab.client.embeddings.create(model="tiny-bert", input="hello", dimensions=17)
    assert caught.value.param == "dimensions"


def test_what_cannot_be_embedded(lab: Lab) -> None:
    for given, text in [
        ("hello " * 20, "22 tokens cannot be embedded"),
        ([99], "text of 1 tokens cannot be embedded"),
    ]:
        with pytest.raises(openai.BadRequestError, match=text):
            lab.client.embeddings.create(model="tiny-bert", input=given)
    with pytest.raises(openai.NotFoundError, match="The embedding model 'other' does not exist") as caught:
        lab.client.embeddings.create(model="other", input="hello")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="more than this server takes"):
        lab.client.embeddings.create(model="tiny-bert", input=["hello"] * 3000)
    lab.server.gateway.embeddings, kept = None, lab.server.gateway.embeddings
    with pytest.raises(openai.NotFoundError, match="--embeddings FOLDER"):
        lab.client.embeddings.create(model="tiny-bert", input="hello")
    lab.server.gateway.embeddings = kept


def test_folders_that_are_no_embedding_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no embedding model that can be served: it has no modules"):
        open_embeddings(str(tmp_path))
    with pytest.raises(ModelError, match="it has a part Dense"):
        open_embeddings(str(make_model(tmp_path / "a", kinds=("Transformer", "Pooling", "Dense"))))
    with pytest.raises(ModelError, match="does not begin with a transformer"):
        open_embeddings(str(make_model(tmp_path / "b", kinds=("Pooling", "Transformer"))))
    with pytest.raises(ModelError, match="neither the mean of all tokens nor the first"):
        open_embeddings(str(make_model(tmp_path / "c", pooling="max")))
