"""`crossrank calibrate`: a map from scores to probabilities, and a threshold, stored with the model."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.reading import opened, parsed
from crossrank.cli.writing import note, progress, write_json
from crossrank.errors import InputError
from crossrank.inputs import Pair, Text, read_pair

if TYPE_CHECKING:
    from crossrank.tools.calibrate import Fitted

__all__ = ["command"]


class Method(StrEnum):
    """temperature: one number, keeps 0.5 where it was. platt: two. isotonic: any rising steps, wants many pairs."""

    temperature = "temperature"
    platt = "platt"
    isotonic = "isotonic"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A pair and whether its document is relevant, 0 or 1."""

    pair: Pair
    label: int


def command(
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS", help='JSONL of {"query", "document", "label"}, or a collection\'s folder, or - for stdin.'
        ),
    ],
    model: options.Model = None,
    method: Annotated[Method, typer.Option("--method", help="The family of maps to fit.")] = Method.platt,
    top_k: Annotated[
        int, typer.Option("--top-k", metavar="N", help="Of a collection: BM25's candidates for each query.")
    ] = 30,
    limit_queries: Annotated[
        int | None, typer.Option("--limit-queries", metavar="N", help="Of a collection: a sample of its queries.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, and store nothing.")] = False,
    dtype: options.Dtype = None,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    max_query: options.MaxQuery = None,
    overlap: options.Overlap = 80,
    budget: options.Budget = None,
    as_json: options.Json = False,
) -> None:
    """Fit scores to labels, so that a threshold means something.

    A label of 1 or more is relevant. The map and the suggested threshold go into calibration.json beside the weights,
    for `crossrank rank --min-score`. A probability then is that of pairs like the labelled ones: label what you will
    rank. Of a collection, candidates without a judgement count as not relevant.
    """
    from crossrank.calibration import weights_hash, write_calibration
    from crossrank.tools.calibrate import calibrate

    if labels.is_dir():
        pairs = _of_collection(labels, top_k, limit_queries)
    else:
        pairs = _read(labels)
    reranker = options.load(
        model,
        dtype=dtype,
        device=device,
        max_length=max_length,
        max_query=max_query,
        overlap=overlap,
        budget=budget,
    )
    with progress("scoring") as advance:
        logits = reranker.pair_logits([each.pair for each in pairs], advance)
    queries = [each.pair.query.text for each in pairs]
    fitted = calibrate(logits, [each.label for each in pairs], queries, method.value)
    checkpoint = reranker.checkpoint
    facts = _facts(fitted) | {"labels": labels.name, "dtype": reranker.dtype}
    if as_json or not sys.stdout.isatty():
        write_json({**facts, "map": asdict(fitted.calibration) | {"facts": None}}, indent=2)
    else:
        _print(fitted)
    if not dry_run:
        digest = weights_hash(checkpoint.folder, checkpoint.weights)
        path = write_calibration(checkpoint.folder, replace(fitted.calibration, weights=digest, facts=facts))
        note(f"crossrank: stored in {path}")


def _read(path: Path) -> list[Labelled]:
    pairs = []
    with opened(path) as source:
        for line in source:
            value = parsed(line)
            if not isinstance(value, dict):
                raise InputError(f'{line.where}: expected {{"query": ..., "document": ..., "label": ...}}')
            label = value.get("label")
            if not isinstance(label, (bool, int, float)):
                raise InputError(f'{line.where}: "label" should be a number, 1 or true for relevant, not {label!r}')
            pairs.append(Labelled(read_pair(value, line.where), int(label >= 1)))
    return pairs


def _of_collection(folder: Path, top_k: int, limit: int | None) -> list[Labelled]:
    """BM25's candidates of a collection's queries."""
    import crossrank.evaluate  # noqa: F401  # says what is not installed
    from crossrank.collections import chosen_queries, open_collection
    from crossrank.evaluate.first_stage import retrieve

    collection = open_collection(str(folder))
    queries = chosen_queries(collection, limit)
    stage = retrieve(collection, queries, top_k=top_k)
    return [
        Labelled(
            Pair(Text(collection.queries[query]), Text(collection.documents[document])),
            int(document in collection.relevant(query)),
        )
        for query in queries
        for document, _ in stage.run[query]
    ]


def _facts(fitted: Fitted) -> dict[str, object]:
    return {key: value for key, value in asdict(fitted).items() if key != "calibration"}


def _print(fitted: Fitted) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{fitted.pairs:,} pairs of {fitted.queries:,} queries, {fitted.relevant:,} relevant")
    console.print(f"calibration error (ECE)  {fitted.ece_before:.4f} before, {fitted.ece_after:.4f} after")
    console.print(f"log loss                 {fitted.loss_before:.4f} before, {fitted.loss_after:.4f} after\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("min-score", "precision", "recall", "F1", ""):
        table.add_column(name, justify="right")
    for at in sorted({*fitted.table, fitted.suggested}, key=lambda at: at.threshold):
        mark = "suggested" if at == fitted.suggested else ""
        table.add_row(f"{at.threshold:.3f}", f"{at.precision:.3f}", f"{at.recall:.3f}", f"{at.f1:.3f}", mark)
    console.print(table)
