"""XLM-RoBERTa in both namings against transformers, and jina-reranker-v2's windows against candding and a twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from transformers import (
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from crossrank import CheckpointError
from crossrank.batch import Filled
from crossrank.models import roberta
from crossrank.reranker import sigmoid
from tests.checkpoints import bert, fused, jina_v2, load, tiny, unplaced, xlm_roberta
from tests.oracles import candding_scores, encoded, transformers_logits
from tests.twins import jina_v2_inputs
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 7, n), letters(n * n % 61, n + 100)) for n in range(24)]


def reference(recipe) -> XLMRobertaForSequenceClassification:
    model = XLMRobertaForSequenceClassification(XLMRobertaConfig(**{**recipe.config, "num_labels": 1}))
    left = model.load_state_dict(dict(recipe.tensors), strict=False)
    assert not left.missing_keys
    assert not left.unexpected_keys
    return model.eval()


@pytest.mark.parametrize("kind", ["xlm_roberta", "jina_v2"])
def test_logits_equal_those_of_transformers(kind):
    reranker = tiny(kind)
    expected = transformers_logits(reference(xlm_roberta()), encoded(reranker, PAIRS))
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(reranker.score(PAIRS, raw=True), expected, atol=1e-5, rtol=0)


def test_roberta_with_a_byte_level_tokenizer_equals_transformers():
    recipe = replace(xlm_roberta(seed=3), tokenizer="byte_bpe").changed(model_type="roberta", layer_norm_eps=1e-6)
    name = "roberta.embeddings.word_embeddings.weight"
    rows = recipe.raw_tokenizer().get_vocab_size()
    recipe = recipe.with_tensors({name: recipe.tensors[name].repeat(3, 1)[:rows]}).changed(vocab_size=rows)
    model = RobertaForSequenceClassification(RobertaConfig(**{**recipe.config, "num_labels": 1}))
    model.load_state_dict(dict(recipe.tensors), strict=True)
    reranker = load(recipe)
    pairs = [("the fox", "a red fox 🙂 é"), ("中 b", ""), ("x", letters(30))]
    expected = transformers_logits(model.eval(), encoded(reranker, pairs))
    np.testing.assert_allclose(reranker.score(pairs, raw=True), expected, atol=1e-5, rtol=0)


def test_both_namings_hold_the_same_model():
    ours = unplaced(xlm_roberta()).model.state_dict()
    theirs = unplaced(jina_v2()).model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_a_model_of_1026_positions_reads_1024_tokens():
    reranker = tiny("jina_v2")
    assert reranker.checkpoint.max_length == 1024
    pair = (letters(20), letters(1000))
    filled = encoded(reranker, [pair])
    assert len(filled[0]) == 1024
    expected = transformers_logits(reference(xlm_roberta()), filled)
    np.testing.assert_allclose(reranker.score([pair], raw=True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["xlm_roberta", "jina_v2"])
def test_logits_equal_those_of_candding(kind, tmp_path):
    name = {"xlm_roberta": "BAAI/bge-reranker-base", "jina_v2": "jinaai/jina-reranker-v2-base-multilingual"}[kind]
    recipe = {"xlm_roberta": xlm_roberta, "jina_v2": jina_v2}[kind]()
    documents = [letters(n, n) for n in (1, 4, 9, 20, 33)]
    theirs = candding_scores(recipe, name, tmp_path, letters(3, 1), documents)
    ours = tiny(kind).score([(letters(3, 1), document) for document in documents], raw=kind == "xlm_roberta")
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


LENGTHS = [(4, 6), (10, 1500), (600, 700), (3, 2600)]


@pytest.mark.parametrize(("query", "document"), LENGTHS)
def test_windows_score_as_in_candding(query, document, tmp_path):
    texts = letters(query, 5), letters(document, document)
    theirs = candding_scores(jina_v2(), "jinaai/jina-reranker-v2-base-multilingual", tmp_path, texts[0], [texts[1]])
    np.testing.assert_allclose(tiny("jina_v2").score([texts]), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("query", "document"), LENGTHS)
def test_windows_are_those_of_the_published_description(query, document):
    reranker = tiny("jina_v2")
    texts = letters(query, 5), letters(document, document)
    ids = [part.tolist() for part in reranker.checkpoint.tokenizer.encode(list(texts))]
    assert [len(part) for part in ids] == [query, document]
    inputs = [Filled(np.array(one, dtype=np.int32), split=1) for one in jina_v2_inputs(*ids)]
    expected = transformers_logits(reference(xlm_roberta()), inputs)
    [hit] = reranker.rank(texts[0], [texts[1]])
    assert hit.windows == len(inputs)
    assert hit.logit == pytest.approx(max(expected), abs=1e-5)
    assert hit.score == pytest.approx(sigmoid(max(expected)), abs=1e-5)
    assert hit.tokens == sum(map(len, inputs))


def test_windows_of_a_long_document_score_apart():
    # Without a spread between windows, the tests above could not tell which window won.
    reranker = tiny("jina_v2")
    ids = reranker.checkpoint.tokenizer.encode([letters(3, 5), letters(2600, 2600)])
    inputs = [Filled(np.array(one, dtype=np.int32), split=1) for one in jina_v2_inputs(*(i.tolist() for i in ids))]
    assert np.ptp(reranker.scorer.logits(inputs)) > 1e-3


def test_two_token_types_are_refused():
    with pytest.raises(CheckpointError, match="type_vocab_size to 2"):
        load(xlm_roberta().changed(type_vocab_size=2))


def test_fused_names_are_known_and_bert_names_are_not():
    adopted = roberta.adopt(fused(xlm_roberta().tensors))
    assert adopted.keys() == unplaced(jina_v2()).model.state_dict().keys()
    assert "bert.pooler.dense.weight" in roberta.adopt(bert().tensors)
