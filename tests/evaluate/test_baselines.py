from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers

from crossrank.errors import InputError, ModelError
from crossrank.evaluate import baselines
from crossrank.evaluate.systems import open_system
from crossrank.reranker import sigmoid
from tests import checkpoints, vocabularies
from tests.evaluate.worlds import DOCUMENTS

ONE_LABEL = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
TEXTS = [text for _, text in DOCUMENTS.values()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small random sentence-transformers model: BERT and mean pooling, as all-MiniLM is laid out."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    inside = tmp_path_factory.mktemp("encoder")
    raw = vocabularies.wordpiece()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=raw.get_vocab_size(), **sizes)).save_pretrained(inside / "bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(raw.to_str()), pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", model_max_length=64,
    ).save_pretrained(inside / "bert")  # fmt: skip
    transformer = Transformer(str(inside / "bert"))
    pooling = Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    st.SentenceTransformer(modules=[transformer, pooling]).save(str(inside / "tiny"))
    return inside / "tiny"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_biencoder_scores_the_cosine_of_query_and_document(encoder):
    from sentence_transformers import SentenceTransformer

    system = open_system(f"biencoder:{encoder}")
    scores = system.load(TEXTS)[0]("what do bees visit", TEXTS).scores
    vectors = SentenceTransformer(str(encoder)).encode(["what do bees visit", *TEXTS])
    expected = [float(v @ vectors[0] / np.linalg.norm(v) / np.linalg.norm(vectors[0])) for v in vectors[1:]]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert system.name == "tiny bi-encoder"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_biencoders_prompts_go_before_their_own_side(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    prompted = shutil.copytree(encoder, tmp_path / "prompted")
    settings = json.loads((prompted / "config_sentence_transformers.json").read_text())
    prompts = {"query": "what is: ", "document": "bees: "}
    (prompted / "config_sentence_transformers.json").write_text(json.dumps(settings | {"prompts": prompts}))
    scores = open_system(f"biencoder:{prompted}").load(TEXTS)[0]("red", TEXTS).scores
    spelled = SentenceTransformer(str(encoder)).encode(["what is: red", *(f"bees: {text}" for text in TEXTS)])
    expected = [float(v @ spelled[0] / np.linalg.norm(v) / np.linalg.norm(spelled[0])) for v in spelled[1:]]
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_cross_encoder_scores_as_sentence_transformers_and_so_do_we(tmp_path):
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import CrossEncoder

    folder = checkpoints.bert().changed(**ONE_LABEL).write(tmp_path / "tiny")
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_input_names": inputs}))
    system = open_system(f"crossencoder:{folder}")
    scores = system.load([])[0]("what do bees visit", TEXTS).scores
    expected = CrossEncoder(str(folder)).predict([("what do bees visit", text) for text in TEXTS])
    assert scores == pytest.approx([float(score) for score in expected], abs=1e-5)
    ours = open_system(str(folder)).load([])[0]("what do bees visit", TEXTS).scores
    assert scores == pytest.approx(ours, abs=1e-4)
    assert system.name == "tiny CrossEncoder"


def test_a_folder_that_flashrank_does_not_know_is_refused_before_it_downloads_anything(tmp_path):
    pytest.importorskip("flashrank")
    with pytest.raises(InputError, match=r"knows no model of that name, but .*ms-marco-TinyBERT-L-2-v2"):
        open_system(f"flashrank:{tmp_path}")


@pytest.mark.filterwarnings("ignore")  # of the exporter, which is none of ours
def test_flashrank_scores_are_given_back_to_their_documents(tmp_path):
    """FlashRank answers in its own order, with its own padding, and the sigmoid of the logit."""
    pytest.importorskip("flashrank")
    pytest.importorskip("onnx")
    import torch
    from transformers import BertForSequenceClassification

    folder = checkpoints.bert().changed(num_labels=1, **ONE_LABEL).write(tmp_path / "ms-marco-TinyBERT-L-2-v2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, "pad_token": "[PAD]"}))
    (folder / "special_tokens_map.json").write_text("{}")
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    sides = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), torch.ones(2, 7, dtype=torch.int64))
    torch.onnx.export(
        model, (), str(folder / "flashrank-TinyBERT-L-2-v2.onnx"), kwargs=sides, input_names=list(sides),
        output_names=["logits"], dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in sides}, dynamo=False,
    )  # fmt: skip
    scores = open_system(f"flashrank:{folder}").load([])[0]("what do bees visit", TEXTS).scores
    ours = open_system(str(folder)).load([])[0]("what do bees visit", TEXTS).scores
    assert scores == pytest.approx([sigmoid(logit) for logit in ours], abs=1e-4)
    assert len(set(scores)) == len(TEXTS)


def test_a_biencoders_time_is_that_of_encoding_without_what_loading_takes(encoder, monkeypatch):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    loaded, order = sentence_transformers.SentenceTransformer, []

    def load(*given, **named):
        order.append("load")
        return loaded(*given, **named)

    def clock():
        order.append("clock")
        return 7.0 * len(order)

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", load)
    monkeypatch.setattr(baselines, "time", SimpleNamespace(perf_counter=clock))
    assert open_system(f"biencoder:{encoder}").load(TEXTS)[1] == 7.0
    assert order == ["load", "clock", "clock"]


def test_folders_that_sentence_transformers_cannot_load_are_named(tmp_path):
    with pytest.raises(InputError, match="is no bi-encoder"):
        open_system(f"biencoder:{checkpoints.bert().write(tmp_path / 'cross')}")
    (tmp_path / "cross" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cross cannot be loaded by sentence-transformers"):
        open_system(f"crossencoder:{tmp_path / 'cross'}").load([])
