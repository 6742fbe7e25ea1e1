"""Weaviate's reranker-transformers container: documents with their scores, in the order they came."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS: dict[str, int] = {}
REQUEST = s.body(["query", "documents"], query=s.STRING, documents=s.STRINGS)
RESPONSE = s.body(["query", "scores"], query=s.STRING, scores=s.array(document=s.STRING, score=s.NUMBER))
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request; a single text under `property` is the container's older form."""
    del defaults
    body.known("property")
    if body.get("documents") is None and isinstance(body.get("property"), str):
        sent: list[object] = [body.get("property")]
        texts = [body.text("property")]
    else:
        texts, sent = body.texts("documents")
    return Ask(model=body.string("model"), groups=[Group(query=body.text("query"), texts=texts, documents=sent)])


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    group = answer.ask.groups[0]
    pairs = zip(group.texts, answer.in_order(), strict=True)
    return {
        "query": group.query.text,
        "scores": [{"document": text.text, "score": score} for text, score in pairs],
        "property": None,
        "score": None,
    }
