"""Hugging Face text-embeddings-inference: POST /rerank with `texts`, a bare list back.

A long text is read in windows where TEI would cut it, on whichever side: so `truncation_direction` changes nothing.
"""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import schemas as s

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ()
STATUS = {"empty": 400, "too_long": 413, "compute": 424}
REQUEST = s.body(
    ["query", "texts"],
    query=s.STRING,
    texts=s.STRINGS,
    truncate=s.maybe(s.FLAG),
    raw_scores=s.FLAG,
    return_text=s.FLAG,
    truncation_direction={"enum": ["left", "right", "Left", "Right"]},
)
RESPONSE = s.array(index=s.INDEX, score=s.NUMBER)
TYPES = {
    "overloaded": "Overloaded",
    "requests": "Overloaded",
    "tokens": "Overloaded",
    "deadline": "Overloaded",
    "compute": "Backend",
    "internal": "Backend",
    "loading": "Unhealthy",
    "worker": "Unhealthy",
    "empty": "Empty",
}


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("texts")
    body.known("truncation_direction")
    # Each is read whatever the other says: a field that no one reads is unknown to --strict.
    wanted = [body.flag(name, False) for name in ("return_text", "return_documents")]
    return Ask(
        model=body.string("model"),
        groups=[Group(query=body.text("query"), texts=texts, documents=documents, field="texts")],
        top_n=body.count("top_n"),
        return_documents=any(wanted),
        raw_scores=body.flag("raw_scores", False),
        truncate=body.flag("truncate", True),
    )


def write(answer: Answer) -> list[dict[str, Any]]:
    """Write a response."""
    results: list[dict[str, Any]] = []
    texts = answer.ask.groups[0].texts
    for hit in answer.ranking:
        results.append({"index": hit.index, "score": answer.score(hit)})
        if answer.ask.return_documents:
            results[-1]["text"] = texts[hit.index].text
    return results


def problem(body: dict[str, Any]) -> dict[str, Any]:
    """With `error` a string and TEI's error type beside it."""
    return {**body, "error": body["message"], "error_type": TYPES.get(body["error"]["type"], "Validation")}
