"""The options that commands share, each spelled once: its type, its flag and its line of help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crossrank.reranker import Reranker

__all__ = [
    "Budget",
    "Device",
    "Dtype",
    "DtypeName",
    "Input",
    "Json",
    "MaxLength",
    "MaxQuery",
    "Model",
    "Overlap",
    "load",
]


class DtypeName(StrEnum):
    """The keys of crossrank.scorer.DTYPES, here without importing torch."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="A folder, a bundled name or a hub name; default: mini-en."),
]
Dtype = Annotated[
    DtypeName | None, typer.Option("--dtype", help="Precision; default: float32 on a CPU, bfloat16 on a GPU.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="cpu, cuda or cuda:N; default: a GPU if there is one.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", metavar="TOKENS", help="Of a pair; default: the model's own limit.")
]
MaxQuery = Annotated[
    int | None, typer.Option("--max-query", metavar="TOKENS", help="Of a query; default: 512, at most half a pair.")
]
Overlap = Annotated[int, typer.Option("--overlap", metavar="TOKENS", help="That windows of a long document share.")]
Budget = Annotated[
    int | None, typer.Option("--budget", metavar="TOKENS", help="At a time: what bounds memory; default: by device.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on a terminal too; in a pipe it is JSON anyway.")]
Input = Annotated[
    Path | None,
    typer.Argument(metavar="FILE|-", help="UTF-8; without it, or with -, standard input.", show_default=False),
]


def load(
    model: str | None,
    *,
    dtype: DtypeName | None = None,
    device: str | None = None,
    max_length: int | None = None,
    max_query: int | None = None,
    overlap: int = 80,
    budget: int | None = None,
) -> Reranker:
    """The reranker that these options ask for."""
    from crossrank.reranker import Reranker
    from crossrank.windows import Limits

    limits = Limits(max_length=max_length, max_query=max_query, overlap=overlap, budget=budget)
    return Reranker.load(model, device=device, dtype=dtype.value if dtype else None, limits=limits)
