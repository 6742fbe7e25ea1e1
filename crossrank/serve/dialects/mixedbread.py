"""Mixedbread's rerank API: `input` in, `data` out."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS: dict[str, int] = {}
REQUEST = s.body(
    ["query", "input"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    input=s.DOCUMENTS,
    top_k=s.COUNT,
    rank_fields=s.maybe({"type": "array", "items": s.STRING}),
    return_input=s.maybe(s.FLAG),
)
RESPONSE = s.body(
    ["usage", "model", "data", "object", "top_k", "return_input"],
    usage=s.OBJECT,
    model=s.STRING,
    data=s.array(index=s.INDEX, score=s.NUMBER, object=s.STRING),
    object={"const": "list"},
    top_k=s.INDEX,
    return_input=s.FLAG,
)
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    fields = body.get("rank_fields")
    if fields is not None and not (isinstance(fields, list) and all(isinstance(name, str) for name in fields)):
        raise field_problem("rank_fields", "should be a list of names of fields", fields)
    texts, documents = body.texts("input", fields or None)
    body.known("rewrite_query")
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents, field="input")],
        top_n=body.count("top_k"),
        return_documents=body.flag("return_input", False),
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    data = [
        {
            "index": hit.index,
            "score": hit.score,
            "input": hit.document if answer.ask.return_documents else None,
            "object": "rank_result",
        }
        for hit in answer.ranking
    ]
    return {
        "usage": {**jina.usage(answer), "completion_tokens": 0},
        "model": answer.model,
        "data": data,
        "object": "list",
        "top_k": len(data),
        "return_input": answer.ask.return_documents,
    }
