"""The /api/rerank that community builds of Ollama answer, and Dify's Ollama plug-in calls."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ("/api/rerank",)
STATUS = {"validation": 400, "empty": 400, "model": 404}
REQUEST = s.body(["query", "documents"], model=s.maybe(s.STRING), query=s.STRING, documents=s.STRINGS, top_n=s.COUNT)
RESPONSE = s.body(
    ["model", "results"], model=s.STRING, results=s.array(index=s.INDEX, relevance_score=s.NUMBER, document=s.STRING)
)


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("documents")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    texts = answer.ask.groups[0].texts
    results = [
        {"index": hit.index, "relevance_score": hit.score, "document": texts[hit.index].text} for hit in answer.ranking
    ]
    return {"model": answer.model, "results": results}


def problem(body: dict[str, Any]) -> dict[str, Any]:
    """With `error` a string, as Ollama writes it."""
    return {**body, "error": body["message"]}
