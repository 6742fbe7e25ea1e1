"""Jina's model methods over a Reranker."""

from __future__ import annotations

import math

import pytest

from crossrank import InputError, Limits
from crossrank.adapters import JinaReranker
from tests import checkpoints
from tests.vocabularies import letters

QUERY = "what is the capital of france"
DOCUMENTS = ["paris is the capital of france", "berlin is the capital of germany", "", "a red fox"]


@pytest.fixture(scope="module")
def jina() -> JinaReranker:
    return JinaReranker(checkpoints.tiny("jina_v2"))


def test_compute_score_of_one_pair_is_a_bare_float(jina):
    score = jina.compute_score([QUERY, DOCUMENTS[0]])
    assert isinstance(score, float)
    assert jina.compute_score([[QUERY, DOCUMENTS[0]]]) == score


def test_compute_score_of_several_pairs_is_a_list_in_order(jina):
    scores = jina.compute_score([[QUERY, document] for document in DOCUMENTS], batch_size=2)
    assert scores == pytest.approx(jina.reranker.score([(QUERY, document) for document in DOCUMENTS]), abs=1e-6)
    assert len(set(scores)) == len(DOCUMENTS)
    assert jina.predict([[QUERY, document] for document in DOCUMENTS], batch_size=2) == scores
    assert jina.compute_score([]) == []


def test_compute_score_truncates_where_rerank_reads_windows(jina):
    long = letters(3000)
    first = " ".join(long.split()[: 1024 - 4 - 6])
    cut = jina.compute_score([QUERY, long])
    assert cut == pytest.approx(jina.compute_score([QUERY, first]), abs=1e-6)
    assert jina.rerank(QUERY, [long])[0]["relevance_score"] >= cut - 1e-6


def test_rerank_gives_documents_scores_and_plain_indices_best_first(jina):
    results = jina.rerank(QUERY, DOCUMENTS)
    assert [set(result) for result in results] == [{"document", "relevance_score", "index"}] * 4
    assert [result["document"] for result in results] == [DOCUMENTS[result["index"]] for result in results]
    assert all(type(result["index"]) is int for result in results)
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_rerank_takes_the_first_top_n_and_all_for_none_and_zero(jina):
    everything = jina.rerank(QUERY, DOCUMENTS)
    assert jina.rerank(QUERY, DOCUMENTS, top_n=2) == everything[:2]
    assert jina.rerank(QUERY, DOCUMENTS, top_n=0) == everything
    assert jina.rerank(QUERY, DOCUMENTS, top_n=99) == everything
    assert jina.rerank(QUERY, []) == []


def test_rerank_scores_explicit_windows_and_keeps_the_best(jina):
    """cap = max_length - query with its specials - 2, and neighbours share `overlap` tokens."""
    words = letters(100).split()
    cap = 64 - (6 + 2) - 2
    starts = [0, cap - 10, 100 - cap]
    parts = [" ".join(words[start : start + cap]) for start in starts]
    expected = max(jina.compute_score([[QUERY, part] for part in parts]))
    asked = {"max_length": 64, "max_query_length": 32}
    assert jina.rerank(QUERY, [" ".join(words)], overlap=10, **asked)[0]["relevance_score"] == pytest.approx(expected)
    assert jina.rerank(QUERY, [" ".join(words)], overlap_tokens=10, **asked)[0]["relevance_score"] == pytest.approx(
        expected
    )


def test_two_values_for_the_overlap_are_refused(jina):
    with pytest.raises(InputError, match="overlap 10 and overlap_tokens 20 are two names of one setting"):
        jina.rerank(QUERY, DOCUMENTS, overlap=10, overlap_tokens=20)


def test_a_query_limit_above_half_the_length_is_refused(jina):
    with pytest.raises(InputError, match="max_query 600 must not pass half of max_length 1024"):
        jina.rerank(QUERY, DOCUMENTS, max_query_length=600)


def test_a_call_leaves_the_rerankers_limits_alone(jina):
    before = jina.reranker.limits
    jina.rerank(QUERY, DOCUMENTS, max_length=64, max_query_length=16)
    assert jina.reranker.limits is before


def test_a_model_shorter_than_1024_tokens_uses_its_own_length(tmp_path):
    jina = JinaReranker.load(checkpoints.bert().write(tmp_path), device="cpu")
    assert [result["index"] for result in jina.rerank(QUERY, DOCUMENTS)] == [
        hit.index for hit in jina.reranker.rank(QUERY, DOCUMENTS)
    ]
    with pytest.raises(InputError, match="max_length 1024 is more than the model's 512 tokens"):
        jina.rerank(QUERY, DOCUMENTS, max_length=1024)


def test_scores_are_probabilities(jina):
    logits = jina.reranker.score([(QUERY, DOCUMENTS[0])], raw=True)
    assert jina.compute_score([QUERY, DOCUMENTS[0]]) == pytest.approx(1 / (1 + math.exp(-logits[0])))


def test_a_rerankers_shorter_limit_is_kept_by_compute_score():
    short = JinaReranker(checkpoints.tiny("jina_v2", limits=Limits(max_length=32)))
    long = letters(100)
    assert short.compute_score([QUERY, long]) == pytest.approx(
        short.compute_score([QUERY, " ".join(long.split()[: 32 - 4 - 6])]), abs=1e-6
    )
