"""Cohere's rerank API, version 2: never any documents back; spans of the best passage when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossrank.ranking import Hit
from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body
from crossrank.serve.dialects import cohere, jina
from crossrank.serve.dialects import schemas as s
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ("/v2/rerank",)
STATUS = cohere.STATUS
THRESHOLD = 0.1  # of a span's score, where the request names none
REQUEST = s.body(
    ["query", "documents"],
    model=s.maybe(s.STRING),
    query=s.STRING,
    documents=s.DOCUMENTS,
    top_n=s.COUNT,
    max_tokens_per_doc=s.maybe({"type": "integer", "minimum": 1}),
    priority=s.maybe({"type": "integer", "minimum": 0, "maximum": 999}),
    relevant_spans=s.maybe(
        s.body(
            ["mode"],
            mode={"enum": ["enabled", "disabled"]},
            threshold=s.NUMBER,
            max_spans=s.maybe({"type": "integer", "minimum": 1}),
        )
    ),
)
RESPONSE = cohere.RESPONSE
problem = cohere.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read a request."""
    del defaults
    texts, documents = body.texts("documents")
    priority = body.whole("priority") or 0
    if not 0 <= priority <= 999:
        raise field_problem("priority", "should be from 0 to 999", priority)
    return Ask(
        model=body.string("model"),
        groups=[Group(query=cohere.query(body), texts=texts, documents=documents)],
        top_n=body.count("top_n"),
        document_tokens=body.count("max_tokens_per_doc"),
        priority=priority,
        options={"threshold": _threshold(body.get("relevant_spans"))},
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response. A span is the best window of a document: the whole of one that was read in one piece."""
    threshold = answer.ask.options["threshold"]
    results: list[dict[str, Any]] = []
    for hit in answer.ranking:
        results.append({"index": hit.index, "relevance_score": hit.score})
        if isinstance(threshold, float):
            results[-1]["relevant_spans"] = _spans(hit, threshold)
    return {"id": answer.id, "results": results, "meta": jina.meta(answer, "2")}


def _threshold(asked: object) -> float | None:
    """The least score of a span that is wanted; None where no spans are."""
    if asked is None:
        return None
    if not isinstance(asked, Mapping):
        raise field_problem("relevant_spans", 'should be an object with "mode"', asked)
    # Under their full names, so that an error names the field that was sent.
    options = Body({f"relevant_spans.{name}": value for name, value in asked.items()})
    mode = (options.string("relevant_spans.mode") or "").lower()
    if mode not in ("enabled", "disabled"):
        raise field_problem("relevant_spans.mode", "should be enabled or disabled", asked.get("mode"))
    options.count("relevant_spans.max_spans")  # at least one span is allowed, and no document has more here
    return float(options.real("relevant_spans.threshold", THRESHOLD)) if mode == "enabled" else None


def _spans(hit: Hit, threshold: float) -> list[dict[str, Any]]:
    start, end = hit.span
    return [{"start": start, "end": end, "score": hit.score}] if hit.score >= threshold and end > start else []
