"""Cohere's rerank API, version 1: objects ranked by chosen fields, documents back only when asked for."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "query", "read", "write"]

PATHS = ()
STATUS = {"validation": 400, "empty": 400, "too_long": 400, "model": 404}
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.DOCUMENTS,
    top_n=s.COUNT,
    rank_fields=s.maybe({"type": "array", "items": s.STRING}),
    return_documents=s.maybe(s.FLAG),
    max_chunks_per_doc=s.maybe({"type": "integer", "minimum": 1}),
)
RESPONSE = s.body(
    ["id", "results", "meta"],
    id=s.STRING,
    results=s.array(index=s.INDEX, relevance_score=s.NUMBER),
    meta=s.OBJECT,
)


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults  # Cohere's own default for return_documents is part of its format
    fields = body.get("rank_fields")
    if fields is not None and not (isinstance(fields, list) and all(isinstance(name, str) for name in fields)):
        raise field_problem("rank_fields", "should be a list of names of fields", fields)
    texts, documents = body.texts("documents", fields or None)
    body.known("max_chunks_per_doc")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=query(body), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
        return_documents=body.flag("return_documents", False),
        document_tokens=body.count("max_tokens_per_doc"),
        priority=body.whole("priority") or 0,
    )


def query(body: Body) -> Any:
    """The query; Cohere refuses one of white space only."""
    read = body.text("query")
    if not read.text.strip():
        raise field_problem("query", "must not be empty or be only whitespace", read.text)
    return read


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    results: list[dict[str, Any]] = []
    for hit in answer.ranking:
        results.append({"index": hit.index, "relevance_score": hit.score})
        if answer.ask.return_documents:
            results[-1]["document"] = jina.as_object(hit.document)
    return {"id": answer.id, "results": results, "meta": jina.meta(answer, "1")}


def problem(body: dict[str, Any]) -> dict[str, Any]:
    """With the id that Cohere's errors carry."""
    return {**body, "id": body["request_id"]}
