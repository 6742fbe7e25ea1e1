"""JinaBERT against a float64 twin and against candding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crossrank import CheckpointError, Reranker, Text
from crossrank.batch import Filled, pack
from crossrank.models import jinabert
from tests.checkpoints import jina_b, jina_v1, load, tiny, unplaced
from tests.oracles import candding_embeddings, candding_scores, encoded
from tests.twins import JinaBert, canonical_slopes, halved_slopes
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 5, n), letters(n * n % 37, n + 100)) for n in range(10)]
MAKERS = {"jina_v1": jina_v1, "jina_b": jina_b}
SLOPES = {"canonical": canonical_slopes, "halved": halved_slopes}


@pytest.mark.parametrize("tail", ["canonical", "halved"])
@pytest.mark.parametrize("kind", ["jina_v1", "jina_b"])
def test_logits_equal_those_of_the_twin(kind, tail):
    recipe = MAKERS[kind]()
    reranker = load(recipe.changed(alibi_tail=tail))
    twin = JinaBert(recipe.tensors, 12, SLOPES[tail](12))
    expected = [twin.logit(filled.tokens.tolist()) for filled in encoded(reranker, PAIRS)]
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(reranker.score(PAIRS, raw=True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["jina_v1", "jina_b"])
def test_in_float64_the_twin_is_met_but_for_the_bias_which_is_float32(kind):
    recipe = MAKERS[kind]()
    reranker = load(recipe.changed(alibi_tail="canonical"))
    model = unplaced(recipe.changed(alibi_tail="canonical")).model.double()
    twin = JinaBert(recipe.tensors, 12, canonical_slopes(12))
    for filled in encoded(reranker, PAIRS[4:7]):
        with torch.inference_mode():
            hidden = model.hidden(pack([filled])).numpy()
        np.testing.assert_allclose(hidden, twin.hidden(filled.tokens.tolist()), atol=1e-6, rtol=0)


def test_the_two_tails_score_apart():
    scores = [np.array(load(jina_v1().changed(alibi_tail=tail)).score(PAIRS)) for tail in SLOPES]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


@pytest.mark.parametrize("heads", [4, 6, 12])
def test_any_number_of_heads_equals_the_twin(heads):
    recipe = jina_v1(seed=heads, heads=heads, layers=2)
    reranker = load(recipe)
    twin = JinaBert(recipe.tensors, heads, canonical_slopes(heads))
    expected = [twin.logit(filled.tokens.tolist()) for filled in encoded(reranker, PAIRS[:5])]
    np.testing.assert_allclose(reranker.score(PAIRS[:5], raw=True), expected, atol=1e-5, rtol=0)


def test_the_four_layers_of_tiny_take_the_halved_tail_and_the_six_of_turbo_the_canonical():
    tails = {layers: load(jina_v1(layers=layers)).checkpoint.settings["alibi_tail"] for layers in (4, 6)}
    assert tails == {4: "halved", 6: "canonical"}


def test_v1_tiny_scores_as_in_candding(tmp_path):
    documents = [letters(n, n) for n in (1, 4, 9, 20, 33, 120, 400)]
    query = letters(3, 1)
    theirs = candding_scores(jina_v1(), "jinaai/jina-reranker-v1-tiny-en", tmp_path, query, documents)
    ours = tiny("jina_v1").score([(query, document) for document in documents])
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("jina_v1", "jinaai/jina-embeddings-v2-base-en"), ("jina_b", "jinaai/jina-embeddings-v2-base-code")],
)
def test_hidden_states_are_those_of_canddings_canonical_backbone(kind, name, tmp_path):
    texts = [letters(n, n) for n in (2, 9, 33, 150)]
    recipe = MAKERS[kind]().changed(alibi_tail="canonical")
    reranker = load(recipe)
    ours = []
    for ids in reranker.checkpoint.tokenizer.encode(texts):
        filled = Filled(np.array([0, *ids, 2], dtype=np.int32), split=len(ids) + 2)
        with torch.inference_mode():
            mean = reranker.checkpoint.model.hidden(pack([filled])).mean(0)
        ours.append((mean / mean.norm()).numpy())
    theirs = candding_embeddings(MAKERS[kind](), name, tmp_path, texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


def test_a_pair_may_have_8192_tokens():
    reranker = tiny("jina_v1")
    assert reranker.checkpoint.max_length == 8192
    for length, windows in ((8192 - 7, 1), (8192 - 6, 2)):
        prepared = reranker.prepare(Text(letters(3)), [Text(letters(length, 1))])
        assert [len(filled) for filled in prepared.sequences] == [8192] * windows


def test_every_token_is_of_type_zero_where_the_tokenizer_says_so():
    # The second row of the type table is there and must not be used.
    recipe = jina_v1()
    name = "bert.embeddings.token_type_embeddings.weight"
    changed = recipe.tensors[name].clone()
    changed[1] += 7
    assert load(recipe.with_tensors({name: changed})).score(PAIRS, raw=True) == tiny("jina_v1").score(PAIRS, raw=True)


def test_token_types_are_used_where_the_tokenizer_gives_them(tmp_path):
    recipe = jina_v1(tokenizer="wordpiece")
    folder = recipe.write(tmp_path / "typed")
    documents = [document for _, document in PAIRS[1:6]]
    theirs = candding_scores(recipe, "jinaai/jina-reranker-v1-tiny-en", tmp_path / "home", "what is paris", documents)
    pairs = [("what is paris", document) for document in documents]
    typed = Reranker.load(folder, device="cpu").score(pairs)
    np.testing.assert_allclose(typed, theirs, atol=1e-5, rtol=0)
    # transformers gives a model no inputs but these; then every token is of type 0.
    (folder / "tokenizer_config.json").write_text('{"model_input_names": ["input_ids", "attention_mask"]}')
    untyped = Reranker.load(folder, device="cpu").score(pairs)
    assert np.abs(np.subtract(typed, untyped)).min() > 1e-4
    (folder / "tokenizer_config.json").write_text('{"model_input_names": 5}')
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: model_input_names should be a list, not 5"):
        Reranker.load(folder, device="cpu")


def test_tensors_decide_which_layout_it_is():
    assert tiny("jina_v1").checkpoint.architecture == tiny("jina_b").checkpoint.architecture == "jinabert"
    assert not tiny("jina_v1").checkpoint.settings["query_key_norm"]
    assert tiny("jina_b").checkpoint.settings["query_key_norm"]
    assert tiny("bert").checkpoint.architecture == "bert"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("feed_forward_type", "reglu"),
        ("hidden_act", "relu"),
        ("position_embedding_type", "absolute"),
        ("alibi_tail", "doubled"),
    ],
)
def test_what_would_change_the_arithmetic_is_refused(setting, value):
    with pytest.raises(CheckpointError, match=f"{setting} to '{value}'"):
        load(jina_v1().changed(**{setting: value}))


def test_names_of_both_layouts_are_known():
    for recipe in MAKERS.values():
        assert jinabert.adopt(recipe().tensors).keys() == unplaced(recipe()).model.state_dict().keys()
