"""Which file computes which checkpoint, and how many parameters the published models have."""

from __future__ import annotations

import pytest
import torch

from crossrank import CheckpointError
from crossrank.models import MODEL_TYPES, architecture
from tests.checkpoints import RECIPES

BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
XLM_R = BERT | {
    "model_type": "xlm-roberta",
    "vocab_size": 250002,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
V1 = BERT | {
    "vocab_size": 61056,
    "position_embedding_type": "alibi",
    "feed_forward_type": "geglu",
    "max_position_embeddings": 8192,
}
GATED = frozenset({"bert.encoder.layer.0.mlp.gated_layers.weight"})
LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
}
MODERN = {
    "model_type": "modernbert",
    "vocab_size": 50368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "max_position_embeddings": 8192,
    "classifier_pooling": "mean",
}

PUBLISHED = {
    "jina-reranker-v1-tiny-en": (V1 | {"num_hidden_layers": 4}, GATED, 33_046_273),
    "jina-reranker-v1-turbo-en": (V1, GATED, 37_771_777),
    "jina-reranker-v2-base-multilingual": (
        {k: v for k, v in XLM_R.items() if k != "model_type"} | {"max_position_embeddings": 1026},
        frozenset({"roberta.encoder.layers.0.mixer.Wqkv.weight"}),
        278_437_633,
    ),
    "ms-marco-MiniLM-L-4-v2": (BERT | {"num_hidden_layers": 4}, frozenset(), 19_164_673),
    "ms-marco-MiniLM-L-6-v2": (BERT, frozenset(), 22_713_601),
    "bge-reranker-base": (XLM_R, frozenset(), 278_044_417),
    "bge-reranker-v2-m3": (XLM_R | LARGE, frozenset(), 567_755_777),
    "mmarco-mMiniLMv2-L12-H384-v1": (
        XLM_R | {"hidden_size": 384, "intermediate_size": 1536},
        frozenset(),
        117_641_089,
    ),
    "gte-reranker-modernbert-base": (MODERN, frozenset(), 149_605_633),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_builds_the_published_number_of_parameters(name):
    config, names, parameters = PUBLISHED[name]
    file = architecture(config, names)
    with torch.device("meta"):
        model = file.build(file.Config.read(config, names))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert not list(model.buffers())


@pytest.mark.parametrize("kind", RECIPES)
def test_each_layout_finds_its_file(kind):
    recipe = RECIPES[kind]()
    file = architecture(recipe.config, frozenset(recipe.tensors)).__name__.rpartition(".")[2]
    files = {"jina_v1": "jinabert", "jina_b": "jinabert", "xlm_roberta": "roberta", "jina_v2": "roberta"}
    assert file == files.get(kind, kind)


@pytest.mark.parametrize("model_type", [None, "t5", "deberta-v2"])
def test_an_unknown_model_type_is_named_beside_the_known_ones(model_type):
    with pytest.raises(
        CheckpointError, match=f"{model_type!r}.*bert, xlm-roberta, roberta, modernbert, crossrank-dual"
    ):
        architecture({"model_type": model_type}, frozenset())


@pytest.mark.parametrize("model_type", [["bert"], {}])
def test_a_model_type_that_is_no_name_is_refused(model_type):
    with pytest.raises(CheckpointError, match="no architecture for model_type"):
        architecture({"model_type": model_type}, frozenset())


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_every_file_has_the_four_names(model_type):
    file = architecture({"model_type": model_type}, frozenset())
    assert {"Config", "build", "adopt", "template"} <= set(file.__all__)
