"""Infinity's rerank API: as Jina's, but a document comes back as a plain string, and only when asked for."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS: dict[str, int] = {}
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.STRINGS,
    top_n=s.COUNT,
    return_documents=s.FLAG,
    raw_scores=s.FLAG,
)
RESPONSE = s.body(
    ["object", "results", "model", "usage", "id", "created"],
    object={"const": "rerank"},
    results=s.array(index=s.INDEX, relevance_score=s.NUMBER),
    model=s.STRING,
    usage=s.OBJECT,
    id=s.STRING,
    created=s.INDEX,
)
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("documents")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
        return_documents=body.flag("return_documents", False),
        raw_scores=body.flag("raw_scores", False),
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    results: list[dict[str, Any]] = []
    texts = answer.ask.groups[0].texts
    for hit in answer.ranking:
        results.append({"index": hit.index, "relevance_score": answer.score(hit)})
        if answer.ask.return_documents:
            results[-1]["document"] = texts[hit.index].text
    return {
        "object": "rerank",
        "results": results,
        "model": answer.model,
        "usage": jina.usage(answer),
        "id": f"infinity-{answer.id}",
        "created": answer.created,
    }
