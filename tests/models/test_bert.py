"""BERT against transformers."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import BertConfig, BertForSequenceClassification

from tests.checkpoints import bert, load, tiny
from tests.oracles import encoded, transformers_logits
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 7, n), letters(n * n % 61, n + 100)) for n in range(24)]


def reference(recipe) -> BertForSequenceClassification:
    model = BertForSequenceClassification(BertConfig(**{**recipe.config, "num_labels": 1}))
    left = model.load_state_dict(dict(recipe.tensors), strict=False)
    assert not left.missing_keys
    assert not left.unexpected_keys
    return model.eval()


def test_logits_equal_those_of_transformers():
    reranker = tiny("bert")
    expected = transformers_logits(reference(bert()), encoded(reranker, PAIRS))
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(reranker.score(PAIRS, raw=True), expected, atol=1e-5, rtol=0)


def test_the_longest_input_equals_that_of_transformers():
    reranker = tiny("bert")
    pairs = [(letters(10), letters(499)), (letters(10), letters(498))]
    filled = encoded(reranker, pairs)
    assert len(filled[0]) == 512
    expected = transformers_logits(reference(bert()), filled)
    np.testing.assert_allclose(reranker.score(pairs, raw=True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_each_activation_equals_that_of_transformers(activation):
    recipe = bert(seed=1, layers=2).changed(hidden_act=activation)
    reranker = load(recipe)
    expected = transformers_logits(reference(recipe), encoded(reranker, PAIRS[:6]))
    np.testing.assert_allclose(reranker.score(PAIRS[:6], raw=True), expected, atol=1e-5, rtol=0)


def test_activations_differ_by_more_than_the_tolerance():
    scores = [
        load(bert(seed=1, layers=2).changed(hidden_act=name)).score(PAIRS[:6], raw=True)
        for name in ("gelu", "gelu_new", "relu", "silu")
    ]
    assert min(np.abs(np.subtract(a, b)).max() for i, a in enumerate(scores) for b in scores[:i]) > 1e-4


def test_the_document_has_the_second_token_type():
    # With equal rows for both types, scores must move: the second row is used.
    recipe = bert()
    name = "bert.embeddings.token_type_embeddings.weight"
    alike = recipe.with_tensors({name: recipe.tensors[name][:1].repeat(2, 1)})
    moved = np.subtract(load(alike).score(PAIRS[:6], raw=True), tiny("bert").score(PAIRS[:6], raw=True))
    assert np.abs(moved).min() > 1e-4
