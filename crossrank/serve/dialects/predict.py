"""Hugging Face text-embeddings-inference: POST /predict with pairs, as for a classifier of one label."""

from __future__ import annotations

from typing import Any

from crossrank.serve.asking import Answer, Ask, Defaults, Group
from crossrank.serve.body import Body, read_text
from crossrank.serve.dialects import schemas as s
from crossrank.serve.dialects import tei
from crossrank.serve.problems import field_problem

__all__ = ["PATHS", "REQUEST", "RESPONSE", "STATUS", "problem", "read", "write"]

PATHS = ("/predict",)
STATUS = tei.STATUS
LABEL = "LABEL_0"
PAIR = {"type": "array", "items": s.STRING, "minItems": 2, "maxItems": 2}
REQUEST = s.body(
    ["inputs"],
    inputs={"oneOf": [PAIR, {"type": "array", "items": PAIR, "minItems": 1}]},
    truncate=s.maybe(s.FLAG),
    raw_scores=s.FLAG,
)
RESPONSE = {"type": "array"}
problem = tei.problem


def read(body: Body, defaults: Defaults) -> Ask:
    """Read one pair, or a list of pairs."""
    del defaults
    inputs = body.listed("inputs")
    single = len(inputs) == 2 and all(isinstance(one, str) for one in inputs)
    groups = []
    for index, pair in enumerate([inputs] if single else inputs):
        if not isinstance(pair, list) or len(pair) != 2:
            raise field_problem(f"inputs[{index}]", "should be a pair of two texts", pair)
        query, text = (read_text(side, f"inputs[{index}][{at}]") for at, side in enumerate(pair))
        groups.append(Group(query=query, texts=[text], documents=[pair[1]], field="inputs"))
    body.known("truncation_direction")
    return Ask(
        model=body.string("model"),
        groups=groups,
        raw_scores=body.flag("raw_scores", False),
        truncate=body.flag("truncate", True),
        options={"single": single},
    )


def write(answer: Answer) -> list[Any]:
    """A list with the one label of a pair, or such a list for each pair."""
    labels = [[{"score": score, "label": LABEL}] for score in answer.in_order()]
    return labels[0] if answer.ask.options["single"] else labels
