"""Xinference's rerank API: `document` is an object or null, and `meta` has its tokens when asked for."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS = {"validation": 400, "empty": 400}
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.DOCUMENTS,
    top_n=s.COUNT,
    return_documents=s.maybe(s.FLAG),
    return_len=s.maybe(s.FLAG),
)
RESPONSE = s.body(
    ["id", "results", "meta"],
    id=s.STRING,
    results=s.array(index=s.INDEX, relevance_score=s.NUMBER, document={}),
    meta=s.OBJECT,
)
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("documents")
    body.known("kwargs", "max_chunks_per_doc")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
        return_documents=body.flag("return_documents", False),
        options={"tokens": body.flag("return_len", False)},
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    results = [
        {
            "index": hit.index,
            "relevance_score": hit.score,
            "document": jina.as_object(hit.document) if answer.ask.return_documents else None,
        }
        for hit in answer.ranking
    ]
    tokens = {"input_tokens": answer.tokens, "output_tokens": 0} if answer.ask.options["tokens"] else None
    warnings = list(answer.warnings) or None
    return {
        "id": answer.id,
        "results": results,
        "meta": {"api_version": None, "billed_units": None, "tokens": tokens, "warnings": warnings},
    }
