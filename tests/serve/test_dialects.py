"""Each dialect over HTTP: what it must send back, and the scores the library itself gives."""

from __future__ import annotations

import json

import pytest

from crossrank.ranking import best_first
from crossrank.serve.dialects import SHARED, tei
from crossrank.serve.problems import Problem
from crossrank.serve.responses import problem_body

QUERY = "the river bank"
DOCUMENTS = ["a fox by the river", "", "snow on the mountain", "a fox by the river", "the bank of the river"]


@pytest.fixture(scope="module")
def scores(reranker):
    return reranker.score([(QUERY, document) for document in DOCUMENTS])


@pytest.fixture(scope="module")
def order(scores):
    return best_first(scores)


def ask(**more):
    return {"model": "any-name-at-all", "query": QUERY, "documents": DOCUMENTS, **more}


def close(expected):
    return pytest.approx(expected, abs=1e-5)


def answer(live, path, body, status=200):
    response = live.post(path, body)
    assert response.status_code == status, response.text
    return response.json()


def test_jina_has_every_field_that_either_generation_has(live, scores, order):
    body = answer(live, "/v1/rerank", ask())
    assert set(body) == {"model", "object", "id", "usage", "results", "meta"}
    assert (body["model"], body["object"]) == ("tiny", "list")
    assert [hit["index"] for hit in body["results"]] == order
    assert [hit["relevance_score"] for hit in body["results"]] == close([scores[i] for i in order])
    assert [hit["document"] for hit in body["results"]] == [{"text": DOCUMENTS[i]} for i in order]


def test_usage_is_the_tokens_that_were_scored(live, reranker):
    body = answer(live, "/v1/rerank", ask())
    total = reranker.rank(QUERY, DOCUMENTS).usage.total_tokens
    assert body["usage"] == {"total_tokens": total, "prompt_tokens": total}


def test_equal_documents_keep_their_own_indices_in_order(live):
    indices = [hit["index"] for hit in answer(live, "/v1/rerank", ask())["results"]]
    assert sorted(indices) == [0, 1, 2, 3, 4]
    assert indices.index(0) < indices.index(3)


@pytest.mark.parametrize(
    ("top_n", "count"),
    [(None, 5), (0, 5), (2, 2), (99, 5), ("2", 2), (2.0, 2), (2**63 - 1, 5), (10**300, 5), ("9" * 400, 5)],
)
def test_top_n_is_read_however_it_is_sent(live, top_n, count):
    assert len(answer(live, "/v1/rerank", ask(top_n=top_n))["results"]) == count


@pytest.mark.parametrize("word", [False, "false", "False", 0])
def test_documents_stay_away_however_that_is_said(live, word):
    assert "document" not in answer(live, "/v1/rerank", ask(return_documents=word))["results"][0]


def test_documents_of_any_shape_are_scored_alike_and_come_back_as_sent(live, reranker):
    text = "a fox by the river"
    sent = [text, {"text": text, "id": 7}, {"content": text}, {"content": [{"type": "text", "text": text}]}]
    body = answer(live, "/v1/rerank", {"query": QUERY, "documents": sent})
    assert [hit["relevance_score"] for hit in body["results"]] == close([reranker.score([(QUERY, text)])[0]] * 4)
    assert [hit["document"] for hit in body["results"]] == [{"text": text}, *sent[1:]]


def test_a_query_may_be_an_object(live):
    assert (
        answer(live, "/v1/rerank", ask(query={"text": QUERY}))["results"]
        == answer(live, "/v1/rerank", ask())["results"]
    )


def test_a_picture_is_refused_by_name(live):
    body = answer(live, "/v1/rerank", ask(documents=["x", {"image": "data:image/png;base64,AA"}]), 422)
    assert body["detail"] == "documents[1]: is a picture, and this model reads text only"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": "q", "documents": ["d"], "use_activation": False, "raw_scores": False}),
        ("/v1/score", {"text_1": "q", "text_2": "d", "use_activation": False, "raw_scores": False}),
        ("/rerank", {"query": "q", "texts": ["d"], "return_text": True, "return_documents": False}),
    ],
)
def test_fields_that_say_the_same_thing_twice_are_known_to_a_strict_server(serve, path, body):
    with serve(strict=True) as live:
        answer(live, path, body)
        assert "is not a field" in answer(live, path, {**body, "odd": 1}, 400 if "score" in path else 422)["detail"]


def test_teis_clients_read_that_a_server_is_overloaded_where_waiting_may_help():
    for kind in ("overloaded", "requests", "tokens", "deadline"):
        assert tei.problem(problem_body(Problem(kind, "no"), "id"))["error_type"] == "Overloaded"


@pytest.mark.parametrize(
    ("spans", "field"),
    [
        ({"mode": "on"}, "relevant_spans.mode"),
        ({"mode": 1}, "relevant_spans.mode"),
        ({"mode": "enabled", "threshold": "high"}, "relevant_spans.threshold"),
        ({"mode": "enabled", "max_spans": -1}, "relevant_spans.max_spans"),
    ],
)
def test_a_field_of_a_field_is_named_in_full(live, spans, field):
    body = answer(live, "/v2/rerank", ask(relevant_spans=spans), 400)
    assert body["message"].startswith(f"{field}: ")


def test_unknown_fields_change_nothing(live):
    extra = {"return_len_": "true", "kwargs": "{}", "cache_salt": "x", "truncate_prompt_tokens": None, "user": "u"}
    assert answer(live, "/v1/rerank", ask(**extra))["results"] == answer(live, "/v1/rerank", ask())["results"]


def test_windows_and_cuts_are_told_in_meta(live):
    long = "snow on the mountain " * 60 + "the river bank"
    body = answer(live, "/v1/rerank", {"query": QUERY + " again" * 200, "documents": [long, "short"]})
    assert body["meta"]["query_truncated"] is True
    assert body["meta"]["warnings"]
    (windowed,) = body["meta"]["windowed"]
    start, end = windowed["span"]
    assert windowed["index"] == 0
    assert windowed["windows"] > 1
    assert 0 <= start < end <= len(long)


def test_a_text_that_does_not_fit_is_refused_when_truncation_is_off(live):
    long = "snow on the mountain " * 60
    assert answer(live, "/v1/rerank", ask(documents=["x", long], truncation=False), 422)["detail"].startswith(
        "documents[1]"
    )
    body = answer(live, "/rerank", {"query": QUERY, "texts": ["x", long], "truncate": False}, 413)
    assert body["error_type"] == "Validation"
    assert body["message"].startswith("texts[1]")


@pytest.mark.parametrize("field", ["texts", "input", "passages", "rank_fields", "top_k"])
def test_a_null_is_an_absent_field_and_decides_nothing(live, field):
    body = answer(live, "/v1/rerank", ask(top_n=2, **{field: None}))
    assert body["object"] == "list"
    assert [hit["document"] for hit in body["results"]]
    assert len(body["results"]) == 2


def test_a_null_that_a_client_always_sends_tells_its_format(live):
    assert "data" in answer(live, "/v1/rerank", ask(top_k=None))
    assert "meta" in answer(live, "/v1/rerank", ask(top_n=None, return_len=None))


def test_search_units_count_what_was_scored_and_not_what_comes_back(live):
    documents = [f"document {number}" for number in range(250)]
    for top_n in (None, 1):
        body = answer(live, "/v1/rerank", {"query": "q", "documents": documents, "top_n": top_n})
        assert body["meta"]["billed_units"]["search_units"] == 3


def test_logits_are_given_under_either_name(live):
    raw, other = (
        answer(live, "/v1/rerank", ask(**field)) for field in ({"raw_scores": True}, {"use_activation": False})
    )
    assert [hit["relevance_score"] for hit in raw["results"]] == [hit["relevance_score"] for hit in other["results"]]


def test_documents_are_cut_at_the_length_asked_for(live, reranker):
    whole, head = "a fox by the river and snow on the mountain", "a fox by"
    cut = answer(live, "/v1/rerank", ask(documents=[whole], max_doc_length=3))
    tokens = reranker.checkpoint.tokenizer.encode([head])[0]
    expected = whole[: reranker.checkpoint.tokenizer.offsets(whole)[2, 1]]
    assert len(tokens) >= 3
    assert cut["results"][0]["relevance_score"] == close(reranker.score([(QUERY, expected)])[0])
    assert cut["meta"]["warnings"] == ["1 documents were cut to the length that the request set"]


def test_cohere_v1_ranks_objects_by_the_fields_asked_for(live, reranker):
    sent = [{"title": "fox", "body": "a river"}, {"title": "snow", "body": "the bank"}]
    body = answer(live, "/v1/rerank", ask(documents=sent, rank_fields=["title", "body"], return_documents=True))
    expected = reranker.score([(QUERY, "title: fox\nbody: a river"), (QUERY, "title: snow\nbody: the bank")])
    assert {hit["index"]: hit["relevance_score"] for hit in body["results"]} == close(dict(enumerate(expected)))
    assert all(hit["document"] == sent[hit["index"]] for hit in body["results"])
    assert body["meta"]["api_version"] == {"version": "1"}


def test_cohere_v2_returns_no_documents(live, scores, order):
    body = answer(live, "/v2/rerank", ask(return_documents=True, max_tokens_per_doc=4096))
    assert body["results"] == [{"index": i, "relevance_score": close(scores[i])} for i in order]
    assert set(body) == {"id", "results", "meta"}
    assert body["meta"]["billed_units"] == {"search_units": 1}


def test_cohere_v2_spans_are_code_points_of_the_best_window(live):
    long = "\U0001f98a snow on the mountain " * 40 + "the river bank"
    spans = {"mode": "enabled", "threshold": 0.0}
    result = answer(live, "/v2/rerank", ask(documents=[long], relevant_spans=spans))["results"][0]
    (span,) = result["relevant_spans"]
    assert 0 <= span["start"] < span["end"] <= len(long)
    assert span["score"] == result["relevance_score"]
    none = answer(live, "/v2/rerank", ask(relevant_spans={"mode": "enabled", "threshold": 1.0}))
    assert all(hit["relevant_spans"] == [] for hit in none["results"])


def test_tei_answers_with_a_bare_list(live, scores, order):
    body = answer(live, "/rerank", {"query": QUERY, "texts": DOCUMENTS, "truncation_direction": "Right"})
    assert body == [{"index": i, "score": close(scores[i])} for i in order]


def test_tei_gives_logits_and_texts_when_asked(live, reranker):
    body = answer(live, "/rerank", {"query": QUERY, "texts": DOCUMENTS, "raw_scores": True, "return_text": True})
    logits = reranker.score([(QUERY, document) for document in DOCUMENTS], raw=True)
    assert {one["index"]: one["score"] for one in body} == close(dict(enumerate(logits)))
    assert all(one["text"] == DOCUMENTS[one["index"]] for one in body)


def test_tei_predicts_pairs_in_their_order(live, scores):
    body = answer(live, "/predict", {"inputs": [[QUERY, document] for document in DOCUMENTS]})
    assert [labels[0]["score"] for labels in body] == close(scores)
    assert answer(live, "/predict", {"inputs": [QUERY, DOCUMENTS[0]]}) == [
        {"score": close(scores[0]), "label": "LABEL_0"}
    ]


@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_score_takes_one_query_and_many_texts_under_any_name(live, scores, names):
    body = answer(live, "/v1/score", {names[0]: QUERY, names[1]: DOCUMENTS})
    assert [one["score"] for one in body["data"]] == close(scores)
    assert [one["index"] for one in body["data"]] == [0, 1, 2, 3, 4]


def test_score_takes_as_many_queries_as_texts(live, reranker):
    queries = [f"{QUERY} {n}" for n in range(5)]
    body = answer(live, "/score", {"text_1": queries, "text_2": DOCUMENTS})
    assert [one["score"] for one in body["data"]] == close(reranker.score(list(zip(queries, DOCUMENTS, strict=True))))
    assert answer(live, "/score", {"text_1": queries[:2], "text_2": DOCUMENTS}, 400)["error"]["message"]


def test_voyage_says_top_k_and_data(live, scores, order):
    body = answer(live, "/v1/rerank", ask(top_k=2, return_documents=True, truncation=True))
    best = order[:2]
    assert body["data"] == [{"index": i, "relevance_score": close(scores[i]), "document": DOCUMENTS[i]} for i in best]
    assert body["usage"]["total_tokens"] > 0


def test_mixedbread_says_input_and_data(live, scores, order):
    body = answer(live, "/v1/reranking", {"model": "m", "query": QUERY, "input": DOCUMENTS, "return_input": True})
    assert [one["index"] for one in body["data"]] == order
    assert [one["score"] for one in body["data"]] == close([scores[i] for i in order])
    assert body["data"][0]["input"] == DOCUMENTS[order[0]]


def test_nim_gives_logits(live, reranker, order):
    passages = [{"text": document} for document in DOCUMENTS]
    body = answer(live, "/v1/ranking", {"query": {"text": QUERY}, "passages": passages, "truncate": "END"})
    logits = reranker.score([(QUERY, document) for document in DOCUMENTS], raw=True)
    assert body["rankings"] == [{"index": i, "logit": close(logits[i])} for i in order]


def test_infinity_sends_documents_as_plain_strings_when_asked(live, order):
    body = answer(live, "/infinity/rerank", ask(return_documents=True))
    assert [hit["document"] for hit in body["results"]] == [DOCUMENTS[i] for i in order]
    assert body["object"] == "rerank"
    assert "document" not in answer(live, "/infinity/rerank", ask())["results"][0]


def test_xinference_sends_a_null_document_and_its_tokens_when_asked(live, order):
    body = answer(live, "/v1/rerank", ask(return_documents="false", return_len="true", kwargs="{}"))
    assert [hit["index"] for hit in body["results"]] == order
    assert all(hit["document"] is None for hit in body["results"])
    assert body["meta"]["tokens"]["input_tokens"] > 0


def test_weaviate_keeps_the_order_that_was_sent(live, scores):
    body = answer(live, "/weaviate/rerank", {"query": QUERY, "documents": DOCUMENTS})
    assert body["query"] == QUERY
    assert [one["document"] for one in body["scores"]] == DOCUMENTS
    assert [one["score"] for one in body["scores"]] == close(scores)


def test_ollama_gives_model_and_results(live, order):
    body = answer(live, "/api/rerank", ask(top_n=2))
    assert [hit["document"] for hit in body["results"]] == [DOCUMENTS[i] for i in order[:2]]


@pytest.mark.parametrize("path", [*SHARED, "/v1/v1/rerank", "/v1/rerank/", "//v1//rerank"])
def test_every_spelling_of_the_path_answers(live, path):
    assert answer(live, path, ask())["results"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/rerank", {"query": "q", "documents": []}, 422),
        ("/rerank", {"query": "q", "texts": []}, 400),
        ("/v2/rerank", {"model": "m", "query": "q", "documents": []}, 400),
        ("/v2/rerank", {"model": "m", "query": " ", "documents": ["d"]}, 400),
        ("/v1/rerank", {"documents": ["d"]}, 422),
        ("/v1/score", {"text_1": "q"}, 400),
        ("/v1/rerank", {"query": "q", "documents": "d"}, 422),
        ("/v1/rerank", {"query": "q", "documents": [1]}, 422),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": -1}, 422),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": float("inf")}, 422),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": -(10**400)}, 422),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": "nan"}, 422),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "priority": 10**400}, 422),
    ],
)
def test_a_refusal_has_a_word_for_every_kind_of_client(live, path, body, status):
    sent = json.dumps(body).replace("Infinity", "1e400")  # how a number that large looks in JSON
    response = live.http.post(path, content=sent, headers={"content-type": "application/json; charset=utf-8"})
    assert response.status_code == status, response.text
    told = response.json()
    assert isinstance(told["detail"], str)
    assert told["detail"]
    assert told["message"] == told["detail"]
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["code"].startswith("VALIDATION")
    assert isinstance(told["error"], str if "texts" in body else dict)


def test_the_operator_may_choose_what_a_bare_path_speaks(serve):
    with serve(dialect="infinity", return_documents=False) as live:
        assert answer(live, "/rerank", ask())["object"] == "rerank"
        assert "document" not in answer(live, "/jina/v1/rerank", ask())["results"][0]


def test_a_strict_server_names_the_unknown_field(serve):
    with serve(strict=True) as live:
        assert answer(live, "/v1/rerank", ask(top=3), 422)["errors"][0]["field"] == "top"
        assert answer(live, "/v1/rerank", ask(top_n=3, return_documents=False))["results"]
