"""A score is the pair's own affair: not of its neighbours, their order, their number, or the size of a batch."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.batch import pack
from crossrank.scorer import Scorer
from tests.checkpoints import RECIPES, tiny
from tests.oracles import encoded
from tests.vocabularies import letters

POOL = [(letters(1 + n % 5, n), letters(n * n % 67, n + 30)) for n in range(30)]
KINDS = sorted(RECIPES)

# Rows are quantized one by one, so int8 brings in nothing of a neighbour, and as a rule is as exact as float32: over
# 15,000 regroupings of these networks, whose logits spread by 0.4 to 0.8, no score moved by more than 2e-6. But sums
# may differ in the last bit with the shape of a batch, and where a value lies between two steps that bit decides which
# it takes. One step in one input moved a logit by about 1e-3. One scale a batch would move them by 0.05 and more.
TOLERANCE = {None: 1e-5, "int8": 1e-2}


@cache
def alone(kind: str, dtype: str | None) -> np.ndarray:
    scorer = tiny(kind, dtype=dtype).scorer
    logits = np.array([scorer.logits([filled])[0] for filled in encoded(tiny(kind, dtype=dtype), POOL)])
    assert logits.std() > 0.3
    return logits


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(members=st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=40), budget=st.integers(1, 600))
def test_company_order_duplicates_and_budget_do_not_change_a_score(kind, dtype, members, budget):
    reranker = tiny(kind, dtype=dtype)
    scorer = Scorer(reranker.scorer.model, reranker.scorer.device, budget)
    scored = scorer.logits(encoded(reranker, [POOL[member] for member in members]))
    np.testing.assert_allclose(scored, alone(kind, dtype)[members], atol=TOLERANCE[dtype], rtol=0)


@settings(max_examples=40)
@given(order=st.permutations(range(12)))
def test_the_order_of_documents_does_not_change_the_ranking(order):
    documents = [document for _, document in POOL[:12]]
    by_logit = [hit.document for hit in tiny("bert").rank("the fox", documents)]
    assert [hit.document for hit in tiny("bert").rank("the fox", [documents[i] for i in order])] == by_logit


@given(st.lists(st.sampled_from(["a", "b c", "fox fox"]), min_size=2, max_size=20))
def test_equal_documents_have_equal_scores_and_stand_in_the_callers_order(documents):
    ranking = tiny("bert").rank("paris", documents)
    places: dict[str, list[int]] = {}
    for hit in ranking:
        places.setdefault(hit.document, []).append(hit.index)
    assert all(indices == sorted(indices) for indices in places.values())
    for document in places:
        logits = [hit.logit for hit in ranking if hit.document == document]
        assert len(set(logits)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_of_other_contents_change_nothing_at_all(kind):
    # The same shapes, so the same sums: here nothing may move, not by a bit.
    reranker = tiny(kind)
    first, others = encoded(reranker, POOL[3:4]), encoded(reranker, POOL[10:14])
    changed = [type(filled)(tokens=filled.tokens[::-1].copy(), split=filled.split) for filled in others]
    model = reranker.scorer.model
    assert model(pack([*first, *others]))[0].item() == model(pack([*first, *changed]))[0].item()
