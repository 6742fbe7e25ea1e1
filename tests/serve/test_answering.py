"""From a request to its answer: what is refused unread, stretches of tokens, and a thread apart for long texts."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossrank.serve import answering
from tests.serve.conftest import until

BODY = {"query": "the river", "documents": ["a fox", "the bank"]}


def test_a_body_that_comes_after_its_own_deadline_is_a_504_that_says_how_long_that_was(live):
    def late():
        yield b'{"query": "q", '
        time.sleep(0.3)
        yield b'"documents": ["d"]}'

    response = live.http.post("/v1/rerank", content=late(), headers={"x-request-timeout": "0.1"})
    assert response.status_code == 504
    assert response.json()["detail"] == "no answer within 0.1 seconds"


def test_a_request_far_too_large_for_its_deadline_is_a_413_before_its_tokens_are_made(serve):
    with serve() as live:
        live.service.models.served["tiny"].loaded.batcher.speed = 1e-3
        refused = live.post("/v1/rerank", BODY)
        assert (refused.status_code, refused.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert "send fewer or shorter documents" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", {"query": "q" * 1001, "documents": ["d"]}, "query"),
        ("/v1/rerank", {"query": "q", "documents": ["d", "d" * 1001], "max_doc_length": 1}, "documents[1]"),
        ("/rerank", {"query": "q", "texts": ["d" * 1001]}, "texts[0]"),
        ("/v1/score", {"text_1": ["q", "q"], "text_2": ["d", "d" * 1001]}, "text_2[1]"),
    ],
)
def test_a_text_of_more_characters_than_the_server_takes_is_named(serve, path, body, field):
    with serve(max_text_characters=1000) as live:
        refused = live.post(path, body)
        assert refused.status_code == 413
        assert refused.json()["message"].startswith(f"{field}: has 1001 characters; this server takes 1000")


def test_a_large_request_s_tokens_are_made_in_stretches_that_others_pass(serve, reranker, monkeypatch):
    monkeypatch.setattr(answering, "STRETCH_CHARACTERS", 1000)
    with serve() as live:
        made, reranked = [], live.service.models.served["tiny"].loaded.reranker
        prepare = reranked.prepare

        def watched(query, texts):
            made.append(len(texts))
            return prepare(query, texts)

        reranked.prepare = watched
        texts = [f"fox {number}" for number in range(200)]
        body = live.post("/v1/rerank", {"query": "river", "documents": texts}).json()
        assert made == [64, 64, 64, 8]
        made.clear()
        live.post("/v1/rerank", {"query": "river", "documents": ["fox " * 100] * 5 + ["fox " * 300, "fox"]})
        assert made == [2, 2, 1, 1, 1]
    scores = {hit["index"]: hit["relevance_score"] for hit in body["results"]}
    assert scores == pytest.approx({hit.index: hit.score for hit in reranker.rank("river", texts)}, abs=1e-5)


@pytest.mark.parametrize("work", ["_prepare", "_rankings"])
def test_long_texts_never_hold_every_thread(serve, monkeypatch, work):
    """Two of them are in hand, and go on however long; a small request is answered all the same."""
    done, held = getattr(answering, work), threading.Event()

    def holding(reranker, ask, *rest):
        assert ask.characters() < 1000 or held.wait(20)
        return done(reranker, ask, *rest)

    monkeypatch.setattr(answering, work, holding)
    monkeypatch.setattr(answering, "STRETCH_CHARACTERS", 1000)
    with serve() as live, ThreadPoolExecutor(2) as pool:
        batcher = live.service.models.served["tiny"].loaded.batcher
        before = batcher.orders
        long = [pool.submit(live.post, "/v1/rerank", {"query": "q", "documents": ["fox " * 300]}) for _ in range(2)]
        try:
            until(lambda: batcher.orders == before + 2 and (work == "_prepare" or not batcher.jobs))
            assert live.post("/v1/rerank", BODY, x_request_timeout="5").status_code == 200
        finally:
            held.set()
        assert [one.result().status_code for one in long] == [200, 200]
