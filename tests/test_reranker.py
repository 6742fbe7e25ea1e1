"""The public face: load, rank, score."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossrank import CheckpointError, InputError, Limits, ModelNotFound, Pair, Reranker, Text
from crossrank.adapters import JinaReranker
from crossrank.reranker import sigmoid
from tests.checkpoints import RECIPES, bert, dual, tiny
from tests.vocabularies import framed_apart, letters, wordpiece

QUERY = "what is the capital of france"
DOCUMENTS = ["paris", "berlin is the capital of germany", "a red fox", "", "the capital of france is paris", "🙂"]


@pytest.mark.parametrize("kind", RECIPES)
def test_a_ranking_is_the_scores_in_order(kind):
    reranker = tiny(kind)
    ranking = reranker.rank(QUERY, DOCUMENTS)
    logits = reranker.score([(QUERY, document) for document in DOCUMENTS], raw=True)
    assert [hit.index for hit in ranking] == sorted(range(6), key=lambda i: -logits[i])
    for hit in ranking:
        assert hit.document == DOCUMENTS[hit.index]
        assert hit.logit == pytest.approx(logits[hit.index], abs=1e-5)
        assert hit.score == sigmoid(hit.logit)
        assert hit.windows == 1
        assert hit.span == (0, len(DOCUMENTS[hit.index]))


def test_top_n_takes_the_first_of_the_whole_ranking():
    reranker = tiny("bert")
    whole = reranker.rank(QUERY, DOCUMENTS)
    for top_n in (1, 3, 6, 60):
        assert reranker.rank(QUERY, DOCUMENTS, top_n=top_n).hits == whole.hits[:top_n]
    assert reranker.rank(QUERY, DOCUMENTS, top_n=1).usage == whole.usage


@pytest.mark.parametrize("top_n", [0, -1, True, False])
def test_a_top_n_that_asks_for_nothing_is_refused(top_n):
    with pytest.raises(InputError, match=f"top_n should be a whole number from 1, .*not {top_n}"):
        tiny("bert").rank(QUERY, DOCUMENTS, top_n=top_n)


def test_no_documents_rank_as_nothing():
    ranking = tiny("bert").rank(QUERY, [])
    assert ranking.hits == ()
    assert ranking.usage.total_tokens == 0
    assert tiny("bert").score([]) == []


def test_tokens_are_counted_as_they_go_through_the_model():
    ranking = tiny("bert").rank("the fox", ["a b c", ""])
    assert {hit.index: hit.tokens for hit in ranking} == {0: 2 + 3 + 3, 1: 2 + 3}
    assert ranking.usage.total_tokens == 13
    assert ranking.usage.query_tokens == 4
    assert not ranking.query_truncated


def test_a_template_longer_than_a_pair_may_be_is_said_when_limits_are_set(tmp_path):
    folder = dual().write(tmp_path)
    prompts = "what is the capital of france ", "paris is the capital "
    framed_apart(wordpiece(), *prompts).save(str(folder / "tokenizer.json"))
    assert Reranker.load(folder, device="cpu", limits=Limits(max_length=26)).rank(letters(40), [letters(99)])
    words = "max_length 24 and max_query 12 leave no room for a document, since 12 more tokens are the model's own"
    with pytest.raises(InputError, match=words):
        Reranker.load(folder, device="cpu", limits=Limits(max_length=24))
    with pytest.raises(InputError, match=words):
        JinaReranker.load(folder, device="cpu").rerank(QUERY, DOCUMENTS, max_length=24)


def test_a_long_query_is_cut_and_the_ranking_says_so():
    reranker = tiny("bert", limits=Limits(max_query=10))
    kept, cut = letters(8), f"{letters(8)} {letters(5, 9)}"
    ranking = reranker.rank(cut, DOCUMENTS)
    assert ranking.query_truncated
    assert ranking.usage.query_tokens == 10
    assert not reranker.rank(kept, DOCUMENTS).query_truncated
    assert [hit.logit for hit in ranking] == [hit.logit for hit in reranker.rank(kept, DOCUMENTS)]


def test_a_long_document_is_scored_by_its_best_window():
    reranker = tiny("bert", limits=Limits(max_length=32, overlap=4))
    words = letters(70).split()
    [hit] = reranker.rank("the fox", [" ".join(words)])
    # 32 tokens less the query's 2 and 3 special ones leave 27; a window begins 23 after the one before.
    windows = [words[0:27], words[23:50], words[43:70]]
    logits = reranker.score([("the fox", " ".join(window)) for window in windows], raw=True)
    assert hit.windows == 3
    assert hit.logit == pytest.approx(max(logits), abs=1e-5)
    assert np.ptp(logits) > 1e-3
    start, end = hit.span
    assert " ".join(words)[start:end] == " ".join(windows[int(np.argmax(logits))])


def test_scores_come_in_the_order_of_the_pairs_whatever_their_queries():
    reranker = tiny("bert")
    queries = ["fox", "paris", "fox", "berlin", "paris", "fox"]
    pairs = list(zip(queries, DOCUMENTS, strict=True))
    alone = [reranker.score([pair], raw=True)[0] for pair in pairs]
    np.testing.assert_allclose(reranker.score(pairs, raw=True), alone, atol=1e-5, rtol=0)
    assert np.std(alone) > 0.1


def test_pairs_may_come_in_any_shape_and_from_a_generator():
    shapes = [("fox", "a"), ["fox", "a"], {"query": "fox", "document": {"text": "a"}}, Pair(Text("fox"), Text("a"))]
    scores = tiny("bert").score(shape for shape in shapes)
    assert len(scores) == 4
    assert len(set(scores)) == 1


def test_long_pairs_are_scored_by_their_best_window_too():
    reranker = tiny("bert", limits=Limits(max_length=32, overlap=4))
    pairs = [("the fox", letters(70)), ("paris", "a"), ("the fox", letters(100, 3))]
    expected = [reranker.rank(query, [document])[0].logit for query, document in pairs]
    np.testing.assert_allclose(reranker.score(pairs, raw=True), expected, atol=1e-5, rtol=0)


def test_a_score_is_the_sigmoid_of_its_logit():
    pairs = [(QUERY, document) for document in DOCUMENTS]
    logits = tiny("bert").score(pairs, raw=True)
    assert tiny("bert").score(pairs) == [pytest.approx(1 / (1 + math.exp(-logit))) for logit in logits]
    assert min(logits) < max(logits)


@pytest.mark.parametrize("logit", [-1000.0, -30.0, 0.0, 30.0, 1000.0, math.inf, -math.inf])
def test_the_sigmoid_neither_overflows_nor_leaves_its_range(logit):
    assert 0 <= sigmoid(logit) <= 1
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1, abs=1e-15)
    assert (sigmoid(logit) > 0.5) == (logit > 0)


@pytest.mark.parametrize(
    "text", ["", " ", "\x00", "a\x00b", "\ud800", "🙂👩‍👩‍👧‍👧", "e\u0301", "\u202e", "\n\t", "\ufeff", "\U0010ffff"]
)
@pytest.mark.parametrize("kind", RECIPES)
def test_any_text_can_be_scored_on_either_side(kind, text):
    scores = tiny(kind).score([(text, "a red fox"), ("the fox", text), (text, text)])
    assert all(0 < score < 1 for score in scores)


def test_progress_ends_at_the_number_of_windows():
    calls = []
    reranker = tiny("bert", limits=Limits(max_length=32, budget=64))
    ranking = reranker.rank("fox", [letters(100), "a"], progress=lambda done, total: calls.append((done, total)))
    windows = sum(hit.windows for hit in ranking)
    assert calls[-1] == (windows, windows)
    assert windows > 4


def test_limits_beyond_the_model_are_refused_on_loading(tmp_path):
    with pytest.raises(InputError, match="max_length 513 is more than the model's 512 tokens"):
        Reranker.load(bert().write(tmp_path), limits=Limits(max_length=513))


def test_a_model_that_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(CheckpointError, match="lacks config.json"):
        Reranker.load(tmp_path)
    with pytest.raises(ModelNotFound):
        Reranker.load("nothing-of-this-name")


def test_threads_that_share_a_reranker_get_the_scores_they_get_alone():
    reranker = tiny("bert", limits=Limits(max_length=64, budget=128))
    jobs = [(letters(3, n), [letters(n * m % 90, m) for m in range(12)]) for n in range(1, 17)]
    alone = [reranker.rank(*job).hits for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: reranker.rank(*job).hits, jobs)) == alone


def test_the_bundled_model_puts_the_answer_first(bundled):
    ranking = bundled.rank(
        "What is the capital of France?", ["Berlin is in Germany.", "Paris is the capital of France."]
    )
    assert ranking[0].index == 1
    assert ranking[0].score > ranking[1].score
