"""`crossrank rank`: documents in, best first out."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.reading import Format, opened, read_documents
from crossrank.cli.writing import counted, note, progress, write_json
from crossrank.ranking import Hit, Ranking

if TYPE_CHECKING:
    from crossrank.reranker import Reranker

__all__ = ["command"]

Document = str | dict[str, object]


def command(
    query: Annotated[str, typer.Option("--query", "-q", metavar="TEXT", help="What the documents should answer.")],
    file: options.Input = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", metavar="N", help="How many to show; default: all.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", metavar="P", min=0.0, max=1.0, help="Leave out what is less probable than this."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help='auto: JSONL if every line begins with { or ", else lines.')
    ] = Format.auto,
    key: Annotated[
        str, typer.Option("--key", metavar="NAME", help="Where a JSON object has its text; without it, read whole.")
    ] = "text",
    model: options.Model = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    max_query: options.MaxQuery = None,
    overlap: options.Overlap = 80,
    budget: options.Budget = None,
    as_json: options.Json = False,
) -> None:
    """Rank documents for a query: lines or JSONL in, best first out.

    A line is a document, or a JSON string or object. Blank lines are skipped and not counted. On a terminal the answer
    is a table, in a pipe or with --json one JSON object a line: index (from 0), score, document as given; with windows
    and span (code points of the best window) for a document that was read in more than one, and query_truncated if so.
    With --min-score also probability: of the model's calibration, or the score itself where it has none.
    """
    with opened(file) as source:
        documents = read_documents(source, form)
    if not documents:
        note(f"crossrank: no documents in {source.name}")
        return
    texts = [_text(document, key) for document in documents]
    whole = sum(isinstance(d, dict) and not isinstance(d.get(key), str) for d in documents)
    if whole:
        note(f"crossrank: {counted(whole, 'object')} without a string under {key!r}, read whole; --key names another")
    reranker = options.load(
        model,
        dtype=dtype,
        device=device,
        max_length=max_length,
        max_query=max_query,
        overlap=overlap,
        budget=budget,
    )
    began = time.perf_counter()
    with progress("ranking") as advance:
        ranking = reranker.rank(query, texts, top_n=top_n, progress=advance)
    seconds = time.perf_counter() - began
    shown = [(hit, None) for hit in ranking] if min_score is None else _probable(reranker, ranking, min_score)
    if ranking.query_truncated:
        limit = reranker.limits.max_query
        note(f"crossrank: the query is longer than {limit} tokens and was cut there; --max-query sets the limit")
    if as_json or not sys.stdout.isatty():
        for hit, probability in shown:
            write_json(_record(hit, probability, ranking, documents))
        return
    from crossrank.cli.table import print_hits

    hits = [hit for hit, _ in shown]
    print_hits(hits, texts, None if min_score is None else [p for _, p in shown if p is not None])
    name = reranker.checkpoint.folder.name
    note(f"{_cost(ranking, len(documents), top_n)} · {seconds:.2f} s · {name}, {reranker.dtype} on {reranker.device}")


def _text(document: Document, key: str) -> str:
    if isinstance(document, str):
        return document
    value = document.get(key)
    return value if isinstance(value, str) else json.dumps(document, ensure_ascii=False)


def _probable(reranker: Reranker, ranking: Ranking, at_least: float) -> list[tuple[Hit, float]]:
    """The hits that are probable enough, with their probabilities."""
    from crossrank.calibration import read_calibration

    calibration = read_calibration(reranker.checkpoint.folder, reranker.checkpoint.weights)
    if calibration is None:
        note(
            "crossrank: the model has no calibration, so --min-score means its scores; `crossrank calibrate` makes one"
        )
    probable = [(hit, calibration.probability(hit.logit) if calibration else hit.score) for hit in ranking]
    return [(hit, probability) for hit, probability in probable if probability >= at_least]


def _record(hit: Hit, probability: float | None, ranking: Ranking, documents: list[Document]) -> dict[str, object]:
    record: dict[str, object] = {"index": hit.index, "score": hit.score, "document": documents[hit.index]}
    if probability is not None:
        record["probability"] = probability
    if hit.windows > 1:
        record |= {"windows": hit.windows, "span": list(hit.span)}
    if ranking.query_truncated:
        record["query_truncated"] = True
    return record


def _cost(ranking: Ranking, documents: int, top_n: int | None) -> str:
    cost = f"{counted(documents, 'document')}, {counted(ranking.usage.total_tokens, 'token')}"
    windowed = [hit for hit in ranking if hit.windows > 1]
    if windowed:
        shown = "shown " if top_n is not None and top_n < documents else ""
        windows = sum(hit.windows for hit in windowed)
        cost += f" · {len(windowed)} long {shown}read in {windows} windows"
    return cost
