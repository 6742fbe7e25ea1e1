"""Jina's rerank API, both generations, and what gateways add to it. Source: the OpenAPI files of api.jina.ai.

vLLM's, llama.cpp's and SiliconFlow's rerank routes are subsets of it, in and out.
"""

from __future__ import annotations

from typing import Any

from crossrank.inputs import Text
from crossrank.ranking import Hit
from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "as_object", "meta", "problem", "read", "usage", "write"]

PATHS = ()
STATUS: dict[str, int] = {}
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.DOCUMENTS,
    top_n=s.COUNT,
    return_documents=s.maybe(s.FLAG),
    truncation=s.maybe({**s.FLAG, "description": "false: refuse text that does not fit in one piece."}),
    max_doc_length=s.maybe({"type": "integer", "minimum": 1, "description": "Cut documents to so many tokens."}),
)
RESPONSE = s.body(
    ["model", "object", "id", "usage", "results"],
    model=s.STRING,
    object={"const": "list"},
    id=s.STRING,
    usage=s.body(["total_tokens", "prompt_tokens"], total_tokens=s.INDEX, prompt_tokens=s.INDEX),
    results=s.array(index=s.INDEX, relevance_score=s.NUMBER),
    meta=s.OBJECT,
)


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    texts, documents = body.texts("documents")
    body.known("return_embeddings", "overlap_tokens", "max_chunks_per_doc")
    lengths = [body.count(name) for name in ("max_doc_length", "max_tokens_per_doc")]
    # Each is read whatever the other says: a field that no one reads is unknown to --strict.
    activated, raw = body.flag("use_activation", True), body.flag("raw_scores", False)
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
        return_documents=body.flag("return_documents", defaults.return_documents),
        raw_scores=raw or not activated,
        truncate=body.flag("truncation", True),
        document_tokens=min((n for n in lengths if n), default=None),
        priority=body.whole("priority") or 0,
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response: the second generation's, with the first's usage, and a `meta` beside it."""
    return {
        "model": answer.model,
        "object": "list",
        "id": answer.id,
        "usage": usage(answer),
        "results": [_result(answer, hit) for hit in answer.ranking],
        "meta": meta(answer, "1"),
    }


def problem(body: dict[str, Any]) -> dict[str, Any]:
    """The error body as it is."""
    return body


def usage(answer: Answer) -> dict[str, int]:
    """Tokens that were scored, special tokens, query and every window counted."""
    return {"total_tokens": answer.tokens, "prompt_tokens": answer.tokens}


def meta(answer: Answer, version: str) -> dict[str, Any]:
    """What Cohere's clients look for, then what was cut and which documents were read in windows."""
    windowed = [
        {"index": hit.index, "windows": hit.windows, "span": list(hit.span)}
        for hit in answer.ranking
        if hit.windows > 1
    ]
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": answer.search_units},
        "tokens": {"input_tokens": answer.tokens, "output_tokens": 0},
        "warnings": list(answer.warnings),
        "query_truncated": answer.ranking.query_truncated,
        "windowed": windowed,
    }


def as_object(document: object) -> object:
    """A document as an object: itself if it is one, else with its text under "text"."""
    if isinstance(document, Text):
        document = document.text
    return {"text": document} if isinstance(document, str) else document


def _result(answer: Answer, hit: Hit) -> dict[str, Any]:
    result: dict[str, Any] = {"index": hit.index, "relevance_score": answer.score(hit)}
    if answer.ask.return_documents:
        result["document"] = as_object(hit.document)
    return result
