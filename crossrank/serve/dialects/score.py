"""vLLM's score API: pairs of texts in, their scores in the same order out."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body, read_text
from crossrank.serve.dialects import jina
from crossrank.serve.dialects import schemas as s
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ("/score", "/v1/score")
STATUS = {"validation": 400, "empty": 400, "too_long": 400, "model": 404}
SIDES = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
ONE_OR_MORE = {"oneOf": [s.STRING, s.STRINGS]}
REQUEST = s.body(["text_1", "text_2"], model=s.maybe(s.STRING), text_1=ONE_OR_MORE, text_2=ONE_OR_MORE)
RESPONSE = s.body(
    ["id", "object", "created", "model", "data", "usage"],
    id=s.STRING,
    object={"const": "list"},
    created=s.INDEX,
    model=s.STRING,
    data=s.array(index=s.INDEX, object=s.STRING, score=s.NUMBER),
    usage=s.OBJECT,
)
problem = jina.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read 1:1, 1:N or N:N pairs under any of the names they go by."""
    del defaults
    for names in SIDES:
        if body.get(names[0]) is not None and body.get(names[1]) is not None:
            break
    else:
        raise field_problem("text_1", "text_1 and text_2 are required (or queries and documents)", None)
    left, right = (_side(body, name) for name in names)
    if len(left) == 1:
        texts = [read_text(one, f"{names[1]}[{index}]") for index, one in enumerate(right)]
        groups = [Group(query=read_text(left[0], names[0]), texts=texts, documents=right, field=names[1])]
    elif len(left) == len(right):
        groups = [
            Group(
                query=read_text(one, f"{names[0]}[{index}]"),
                texts=[read_text(other, f"{names[1]}[{index}]")],
                documents=[other],
                field=names[1],
            )
            for index, (one, other) in enumerate(zip(left, right, strict=True))
        ]
    else:
        raise field_problem(names[1], f"should hold as many as {names[0]} ({len(left)}), not {len(right)}", right)
    # Each is read whatever the other says: a field that no one reads is unknown to --strict.
    activated, raw = body.flag("use_activation", True), body.flag("raw_scores", False)
    return Ask(
        model=body.string("model"),
        groups=groups,
        raw_scores=raw or not activated,
        priority=body.whole("priority") or 0,
    )


def write(answer: Answer) -> dict[str, Any]:
    """Write a response."""
    return {
        "id": answer.id,
        "object": "list",
        "created": answer.created,
        "model": answer.model,
        "data": [{"index": i, "object": "score", "score": score} for i, score in enumerate(answer.in_order())],
        "usage": jina.usage(answer),
    }


def _side(body: Body, name: str) -> list[Any]:
    return body.listed(name) if isinstance(body.get(name), list) else [body.need(name)]
