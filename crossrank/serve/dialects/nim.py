"""NVIDIA NIM's ranking API: a query and passages as objects, logits out."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ("/v1/ranking", "/ranking")
STATUS = {"too_long": 400, "model": 404}
TEXT = s.body(["text"], text=s.STRING)
REQUEST = s.body(
    ["query", "passages"],
    model=s.maybe(s.STRING),
    query=TEXT,
    passages={"type": "array", "items": TEXT, "minItems": 1},
    truncate=s.maybe({"enum": ["NONE", "END"]}),
)
RESPONSE = s.body(["rankings"], rankings=s.array(index=s.INDEX, logit=s.NUMBER))
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("passages")
    truncate = (body.string("truncate") or "END").upper()
    if truncate not in ("NONE", "END"):
        raise field_problem("truncate", "should be NONE or END", truncate)
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents, field="passages")],
        raw_scores=True,
        truncate=truncate == "END",
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    rankings = [{"index": hit.index, "logit": hit.logit} for hit in answer.ranking]
    return {"rankings": rankings, "usage": jina.usage(answer)}
