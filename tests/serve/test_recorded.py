"""Programs that no test can install: the bodies they send, and what they must read back, by their own sources."""

from __future__ import annotations

import pytest

TEXTS = ["a fox by the river", "snow on the mountain", "the bank of the river"]
QUERY = "river bank"


def results(body):
    return [(hit["index"], hit["relevance_score"]) for hit in body["results"]]


def every(body):
    return sorted(index for index, _ in results(body)) == [0, 1, 2]


JINA = {"model": "jina-reranker-v2-base-multilingual", "query": QUERY, "documents": TEXTS}
RECORDED = {
    "Open WebUI wants every document back": ("/v1/rerank", {**JINA, "top_n": 3}, every),
    "Dify's Jina plug-in": ("/v1/rerank", {**JINA, "top_n": None, "return_documents": False}, every),
    "Dify's Jina m0 plug-in": (
        "/v1/rerank",
        {**JINA, "query": {"text": QUERY}, "documents": [{"text": t} for t in TEXTS]},
        every,
    ),
    "Dify's OpenAI plug-in, parts": (
        "/v1/rerank",
        {**JINA, "documents": [{"content": [{"type": "text", "text": t}]} for t in TEXTS], "top_n": 3},
        every,
    ),
    "Dify's TEI plug-in reads the text": (
        "/rerank",
        {"query": QUERY, "texts": TEXTS, "return_text": True},
        lambda body: {one["text"] for one in body} == set(TEXTS) and all("score" in one for one in body),
    ),
    "Dify's Cohere plug-in reads document.text": (
        "/v1/rerank",
        {**JINA, "return_documents": True},
        lambda body: all(hit["document"]["text"] == TEXTS[hit["index"]] for hit in body["results"]),
    ),
    "RAGFlow's Jina provider reads usage": (
        "/v1/rerank",
        {**JINA, "top_n": 3},
        lambda body: body["usage"]["total_tokens"] > 0,
    ),
    "RAGFlow's Xinference provider sends words for booleans": (
        "/v1/rerank",
        {**JINA, "return_documents": "true", "return_len": "true"},
        lambda body: body["results"][0]["document"]["text"] and body["meta"]["tokens"]["input_tokens"] > 0,
    ),
    "Xinference's client sends nulls": (
        "/v1/rerank",
        {
            **JINA,
            "top_n": None,
            "max_chunks_per_doc": None,
            "return_documents": None,
            "return_len": None,
            "kwargs": "{}",
        },
        every,
    ),
    "LibreChat reads documents": (
        "/v1/rerank",
        {**JINA, "top_n": 5, "return_documents": True},
        lambda body: all(hit["document"]["text"] for hit in body["results"]),
    ),
    "LightRAG": ("/v1/rerank", {**JINA, "top_n": 2, "return_documents": False}, lambda body: len(results(body)) == 2),
    "LangChain4j reads prompt_tokens": (
        "/v1/rerank",
        {**JINA, "return_documents": False},
        lambda body: body["usage"]["prompt_tokens"] > 0 and every(body),
    ),
    "LlamaIndex's SiliconFlow": (
        "/v1/rerank",
        {**JINA, "top_n": 3, "return_documents": True, "max_chunks_per_doc": 1024, "overlap_tokens": 80},
        every,
    ),
    "Weaviate wants the order it sent": (
        "/weaviate/rerank",
        {"query": QUERY, "documents": TEXTS},
        lambda body: [one["document"] for one in body["scores"]] == TEXTS,
    ),
    "Milvus by TEI": (
        "/rerank",
        {"query": QUERY, "texts": TEXTS, "truncate": True, "truncation_direction": "Right"},
        lambda body: sorted(one["index"] for one in body) == [0, 1, 2],
    ),
    "LangChain's NVIDIA": (
        "/v1/ranking",
        {"model": "tiny", "query": {"text": QUERY}, "passages": [{"text": t} for t in TEXTS], "truncate": "END"},
        lambda body: sorted(one["index"] for one in body["rankings"]) == [0, 1, 2],
    ),
    "a gateway's extras": (
        "/v1/rerank",
        {**JINA, "truncate_prompt_tokens": -1, "cache_salt": "x", "instruction": "rank", "mm_processor_kwargs": {}},
        every,
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_request_gets_what_its_program_reads(live, name):
    path, body, reads = RECORDED[name]
    response = live.http.post(path, json=body, headers={"accept-encoding": "identity"})
    assert response.status_code == 200, response.text
    assert "content-encoding" not in response.headers
    assert reads(response.json())
