"""Voyage's rerank API: `top_k` in, `data` out, documents as plain strings."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS = {"validation": 400, "empty": 400, "too_long": 400}
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.STRINGS,
    top_k=s.COUNT,
    return_documents=s.maybe(s.FLAG),
    truncation=s.maybe(s.FLAG),
)
RESPONSE = s.body(
    ["object", "data", "model", "usage"],
    object={"const": "list"},
    data=s.array(index=s.INDEX, relevance_score=s.NUMBER),
    model=s.STRING,
    usage=s.OBJECT,
)
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("documents")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents)],
        top_n=body.count("top_k"),
        return_documents=body.flag("return_documents", False),
        truncate=body.flag("truncation", True),
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    data: list[dict[str, Any]] = []
    texts = answer.ask.groups[0].texts
    for hit in answer.ranking:
        data.append({"index": hit.index, "relevance_score": hit.score})
        if answer.ask.return_documents:
            data[-1]["document"] = texts[hit.index].text
    return {"object": "list", "data": data, "model": answer.model, "usage": {"total_tokens": answer.tokens}}
