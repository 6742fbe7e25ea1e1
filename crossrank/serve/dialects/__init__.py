"""One file a wire format. Each has these names, and nothing else is asked of it:

    PATHS      the paths that are its own, or () where only keys or a prefix lead to it
    REQUEST    JSON Schema of the body it documents; it reads more
    RESPONSE   JSON Schema of what it writes
    STATUS     kinds of problem (crossrank/serve/problems.py) that it answers with a status of its own
    read       (Body, Defaults) -> Ask; raises Problem
    write      Answer -> what becomes JSON
    problem    the error body that all clients read -> its own

Paths that several dialects share are settled by a prefix such as /cohere, else in `choose` by keys in the body that
only one of them has, else by the server's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from crossrank.serve.dialects import (
    cohere,
    cohere_v2,
    infinity,
    jina,
    mixedbread,
    nim,
    ollama,
    predict,
    score,
    tei,
    voyage,
    weaviate,
    xinference,
)

__all__ = ["DIALECTS", "OWN", "SHARED", "choose"]

DIALECTS: dict[str, ModuleType] = {
    "jina": jina,
    "cohere": cohere,
    "cohere_v2": cohere_v2,
    "tei": tei,
    "predict": predict,
    "score": score,
    "voyage": voyage,
    "mixedbread": mixedbread,
    "nim": nim,
    "infinity": infinity,
    "xinference": xinference,
    "weaviate": weaviate,
    "ollama": ollama,
}

# Where more than one format lives.
SHARED = ("/rerank", "/v1/rerank", "/reranking", "/v1/reranking")
# A path of one format only -> its dialect.
OWN: dict[str, str] = {path: name for name, dialect in DIALECTS.items() for path in dialect.PATHS}


@dataclass(frozen=True, slots=True)
class Key:
    """A field that settles a shared path. The first of KEYS that a body has decides.

    null: whether it does as a null, too; elsewhere a null is an absent field.
    """

    field: str
    dialect: str
    null: bool = False


KEYS = (
    Key("texts", "tei"),
    Key("input", "mixedbread"),
    Key("passages", "nim"),
    Key("top_k", "voyage"),
    Key("return_len", "xinference", null=True),  # its client sends it so
    Key("rank_fields", "cohere"),
)


def choose(body: Mapping[str, Any], default: str) -> ModuleType:
    """The dialect of a body on a shared path."""
    for key in KEYS:
        if body.get(key.field) is not None or (key.null and key.field in body):
            return DIALECTS[key.dialect]
    # Voyage's client may say top_k: null for all; who says top_n beside it means another format.
    if "top_k" in body and "top_n" not in body:
        return DIALECTS["voyage"]
    return DIALECTS[default]
