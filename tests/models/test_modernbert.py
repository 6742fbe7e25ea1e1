"""ModernBERT against transformers: both poolings, windows shorter than texts, old and new spellings of its config."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from crossrank import CheckpointError
from crossrank.rotary import rotated
from tests.checkpoints import load, modernbert, tiny, unplaced
from tests.oracles import encoded, transformers_logits
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 7, n), letters(n * n % 61, n + 100)) for n in range(24)]
LONG = [("a red fox", letters(length, length)) for length in (120, 128, 129, 250, 400, 900)]
NEW = {
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 160000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
OLD = ("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta")


def reference(recipe) -> ModernBertForSequenceClassification:
    config = ModernBertConfig(**{**recipe.config, "num_labels": 1, "attn_implementation": "sdpa"})
    model = ModernBertForSequenceClassification(config)
    model.load_state_dict(dict(recipe.tensors), strict=True)
    return model.eval()


def assert_equal(recipe, pairs) -> None:
    reranker = load(recipe)
    expected = transformers_logits(reference(recipe), encoded(reranker, pairs))
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(reranker.score(pairs, raw=True), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_logits_equal_those_of_transformers(pooling):
    assert_equal(modernbert(pooling=pooling), PAIRS)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("window", [16, 128, 400])
def test_long_documents_equal_transformers(pooling, window):
    assert_equal(modernbert(seed=1, pooling=pooling, window=window), LONG)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])  # the last of 2, 3 and 5 sees neighbours alone
def test_a_first_token_that_sees_its_neighbours_alone_equals_transformers(layers):
    assert_equal(modernbert(seed=2, pooling="cls", layers=layers), PAIRS + LONG[:2])


def test_biases_where_the_config_has_them_equal_transformers():
    biased = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True)
    recipe = modernbert(seed=3).changed(**biased, hidden_activation="silu", classifier_activation="relu")
    model = ModernBertForSequenceClassification(ModernBertConfig(**{**recipe.config, "num_labels": 1}))
    random = torch.Generator().manual_seed(4)
    new = {
        name: torch.randn(tensor.shape, generator=random) * 0.3
        for name, tensor in model.state_dict().items()
        if name not in recipe.tensors
    }
    assert len(new) > 20
    assert_equal(recipe.with_tensors(new), PAIRS)


def test_both_spellings_of_the_config_are_the_same_model():
    old = modernbert().changed(global_rope_theta=5000.0)
    rope = {**NEW["rope_parameters"], "full_attention": {"rope_type": "default", "rope_theta": 5000.0}}
    new = modernbert().changed(**{**NEW, "rope_parameters": rope})
    for key in OLD:
        new = new.changed(**{key: None})
    first, second = load(old), load(new)
    assert first.checkpoint.settings == second.checkpoint.settings
    assert first.score(PAIRS) == second.score(PAIRS) != tiny("modernbert").score(PAIRS)


def test_without_thetas_the_published_ones_count():
    recipe = modernbert()
    bare = {key: None for key in OLD}
    assert load(recipe.changed(**bare)).score(PAIRS) == tiny("modernbert").score(PAIRS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classifier_pooling": "last"}, "classifier_pooling to 'last'"),
        ({"hidden_activation": "mish"}, "hidden_activation to 'mish'"),
        ({"layer_types": ["full_attention"]}, "layer_types should be 4"),
        ({"layer_types": ["full_attention"] * 3 + ["causal"]}, "layer_types should be 4"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers should be a positive int"),
        ({"local_attention": -1}, "local_attention should be a positive int"),
        ({"global_rope_theta": "big"}, "global_rope_theta should be a positive float"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}}}, "type 'default' alone"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4, "rope_type": "default", "factor": 2}}}, "alone"),
        ({"rope_parameters": [1]}, "type 'default' alone"),
        ({"norm_bias": "yes"}, "norm_bias to 'yes'"),
        ({"logit_scale": 2.0}, "logit_scale"),
    ],
)
def test_settings_that_are_not_computed_are_refused(settings, message):
    with pytest.raises(CheckpointError, match=message):
        load(modernbert().changed(**settings))


def test_an_encoder_without_its_classifier_says_so():
    with pytest.raises(CheckpointError, match="encoder without a classifier"):
        load(modernbert().without("classifier", "head"))


def test_a_model_of_8192_positions_reads_them_all():
    reranker = load(modernbert(layers=2))
    assert reranker.checkpoint.max_length == 8192
    pair = ("a", letters(8187))
    [filled] = encoded(reranker, [pair])
    assert len(filled) >= 8190
    expected = transformers_logits(reference(modernbert(layers=2)), [filled])
    np.testing.assert_allclose(reranker.score([pair], raw=True), expected, atol=1e-4, rtol=0)


def test_a_turn_keeps_lengths_and_tells_distances_alone():
    random = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, 8, generator=random, dtype=torch.float64).expand(40, 2, 8) for _ in range(2))
    turned = [rotated(x, torch.arange(40), 100.0) for x in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm(dim=-1))
    products = torch.einsum("ihd,jhd->hij", *turned)
    torch.testing.assert_close(products[:, 1:, 1:], products[:, :-1, :-1], atol=1e-5, rtol=1e-5)
    assert (products[:, 0, 0] - products[:, 0, 9]).abs().min() > 1e-3


def test_half_precision_turns_in_float32():
    x = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    far = torch.tensor([4097, 8000, 8191])
    wide = rotated(x.float(), far, 10000.0)
    assert torch.equal(rotated(x, far, 10000.0), wide.bfloat16())


def test_the_embedding_says_how_large_the_vocabulary_is():
    recipe = modernbert()
    assert unplaced(recipe.changed(vocab_size=50368)).settings["vocab_size"] == recipe.config["vocab_size"]
