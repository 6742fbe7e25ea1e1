"""Large inputs: one very long document, very many short ones, and memory that does not grow with either."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank import Limits, Text
from crossrank.scorer import Scorer
from tests.checkpoints import RECIPES, tiny
from tests.vocabularies import letters


@pytest.mark.parametrize("kind", ["bert", "jina_v2"])
def test_a_document_of_100_000_tokens_is_read_to_its_end(kind):
    reranker = tiny(kind)
    text = letters(100_000, 1)
    [hit] = reranker.rank("the fox", [text])
    length = reranker.checkpoint.max_length
    frame = reranker.checkpoint.template.fixed + len(reranker.checkpoint.tokenizer.encode(["the fox"])[0])
    stride = length - frame - 80
    assert hit.windows == 1 + -(-(100_000 - length + frame) // stride)
    assert hit.tokens == hit.windows * length
    start, end = hit.span
    assert len(text[start:end].split()) == length - frame


def test_the_end_of_a_long_document_can_decide():
    reranker = tiny("bert", limits=Limits(max_length=64))
    dull = " ".join(["a"] * 2000)
    plain = reranker.rank("the fox", [dull])[0]
    best = reranker.rank("the fox", [f"{dull} {letters(50, seed)}" for seed in range(20)])[0]
    assert best.logit > plain.logit + 0.1
    assert best.span[1] > len(dull)


def test_ten_thousand_documents_are_ranked_in_the_order_of_their_logits():
    reranker = tiny("bert")
    documents = [letters(1 + n % 6, n) for n in range(10_000)]
    began = time.perf_counter()
    ranking = reranker.rank("the fox", documents)
    elapsed = time.perf_counter() - began
    assert sorted(hit.index for hit in ranking) == list(range(10_000))
    keys = [(-hit.logit, hit.index) for hit in ranking]
    assert keys == sorted(keys)
    sample = np.random.default_rng(0).choice(10_000, 40, replace=False)
    alone = dict(zip(sample, reranker.score([("the fox", documents[i]) for i in sample], raw=True), strict=True))
    for hit in ranking:
        if hit.index in alone:
            assert hit.logit == pytest.approx(alone[hit.index], abs=1e-5)
    # Some 5 seconds with every call's types checked, half of one without; a quadratic step would take minutes.
    assert elapsed < 60


@pytest.mark.parametrize("kind", ["bert", "jina_v1"])
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=30), budget=st.integers(16, 200))
def test_no_batch_passes_the_budget_unless_it_is_one_sequence(kind, lengths, budget):
    reranker = tiny(kind, limits=Limits(max_length=48, max_query=8))
    prepared = reranker.prepare(Text("fox"), [Text(letters(length, length)) for length in lengths])
    seen: list[tuple[int, ...]] = []
    hook = reranker.scorer.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].lengths))
    try:
        Scorer(reranker.scorer.model, reranker.scorer.device, budget).logits(prepared.sequences)
    finally:
        hook.remove()
    assert all(sum(batch) <= budget or len(batch) == 1 for batch in seen)
    assert all(length <= 48 for batch in seen for length in batch)


def test_every_layout_takes_an_empty_list_and_empty_texts():
    for kind in RECIPES:
        assert len(tiny(kind).rank("", [])) == 0
        assert len(tiny(kind).rank("", ["", "", "a"])) == 3
