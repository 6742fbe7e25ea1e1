"""`crossrank mine`: hard negatives for training data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options, training
from crossrank.cli.writing import counted, note, write_json

if TYPE_CHECKING:
    from crossrank.train.mining import Mined

__all__ = ["command"]

MARGIN = 0.05  # of the positive's score, where a judge is there and nothing else was asked for
SNIPPET = 100


class Sampling(StrEnum):
    """The names in crossrank.train.negatives.SAMPLINGS, here without importing it."""

    top = "top"
    random = "random"


def command(
    data: training.Data,
    into: training.Into,
    corpus: Annotated[
        list[Path] | None,
        typer.Option("--corpus", metavar="FILE", help="JSONL of documents to search; default: those of DATA; again."),
    ] = None,
    bm25: Annotated[bool, typer.Option("--bm25/--no-bm25", help="Search with BM25.")] = True,
    biencoder: Annotated[
        Path | None,
        typer.Option("--biencoder", metavar="FOLDER", help="Search with a sentence-transformers model, too."),
    ] = None,
    reranker: Annotated[
        str | None,
        typer.Option("--reranker", metavar="MODEL", help="Judges what was found; its logits are written as scores."),
    ] = None,
    negatives: Annotated[int, typer.Option("--negatives", metavar="N", help="For each query.")] = 8,
    range_min: Annotated[int, typer.Option("--range-min", metavar="RANK", help="The first that is taken, from 0.")] = 0,
    range_max: Annotated[int, typer.Option("--range-max", metavar="RANK", help="The first that is not taken.")] = 100,
    pool: Annotated[
        int | None, typer.Option("--pool", metavar="N", help="Candidates to judge; default: 3 for each negative.")
    ] = None,
    relative_margin: Annotated[
        float | None,
        typer.Option(
            "--relative-margin",
            metavar="SHARE",
            help=f"How far below the positive's score, as a share of it; default: {MARGIN} with a judge.",
        ),
    ] = None,
    absolute_margin: Annotated[
        float | None, typer.Option("--absolute-margin", metavar="X", help="How far below the positive's score.")
    ] = None,
    max_score: Annotated[
        float | None, typer.Option("--max-score", metavar="X", help="The most that a negative may score.")
    ] = None,
    sampling: Annotated[Sampling, typer.Option("--sampling", help="Of the candidates in range.")] = Sampling.top,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of random sampling.")] = 0,
    against: training.Against = None,
    leak_threshold: training.LeakThreshold = None,
    query_prompt: training.QueryPrompt = None,
    document_prompt: training.DocumentPrompt = None,
    overwrite: training.Overwrite = False,
    dtype: options.Dtype = None,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    max_query: options.MaxQuery = None,
    overlap: options.Overlap = 80,
    budget: options.Budget = None,
    as_json: options.Json = False,
) -> None:
    """Add hard negatives to training data.

    A negative is a document that BM25 or a bi-encoder ranks high and that is not among the query's positives. With a
    reranker, or else the bi-encoder, as judge, one that scores too near the positive is dropped: it may be a positive
    that nobody marked. Interrupted or killed, the same command goes on where it was. A sample goes to a terminal.
    """
    import crossrank.train  # noqa: F401  # says what is not installed
    from crossrank.biencoder import BiEncoder
    from crossrank.train.mining import mine, sample
    from crossrank.train.negatives import Mining
    from crossrank.train.resuming import refuse_output

    _refuse_unread({"--query-prompt": query_prompt, "--document-prompt": document_prompt}, "--biencoder", biencoder)
    _refuse_unread(
        {"--dtype": dtype, "--max-length": max_length, "--max-query": max_query, "--budget": budget},
        "--reranker",
        reranker,
    )
    judged = biencoder is not None or reranker is not None
    asked = relative_margin is not None or absolute_margin is not None or max_score is not None
    mining = Mining(
        negatives=negatives,
        range_min=range_min,
        range_max=range_max,
        pool=pool,
        relative_margin=relative_margin if asked else MARGIN if judged else None,
        absolute_margin=absolute_margin,
        max_score=max_score,
        sampling=sampling.value,
        seed=seed,
    )
    refuse_output(into, overwrite=overwrite)
    guard = training.guard_of(against, leak_threshold)
    encoder = judge = None
    if biencoder is not None:
        encoder = BiEncoder(biencoder, device=device, query_prompt=query_prompt, document_prompt=document_prompt)
    if reranker is not None:
        judge = options.load(
            reranker,
            dtype=dtype,
            device=device,
            max_length=max_length,
            max_query=max_query,
            overlap=overlap,
            budget=budget,
        )
    with training.phases() as advance:
        done = mine(
            data,
            into,
            mining,
            bm25=bm25,
            encoder=encoder,
            reranker=judge,
            corpora=corpus or (),
            guard=guard,
            overwrite=overwrite,
            progress=advance,
        )
    training.note_leaks(done.leaks)
    if done.scores_dropped:
        note(
            f"crossrank: {counted(done.scores_dropped, 'record')} written without their scores, which the negatives "
            "have not got; with --reranker, or by `crossrank teach` afterwards, all documents get some"
        )
    if not done.written:
        note(f"crossrank: {into} is empty; no query ended with a positive and a negative")
    if as_json or not sys.stdout.isatty():
        numbers = {name: value for name, value in asdict(done).items() if name != "leaks"}
        write_json({**numbers, **training.leaks_json(done.leaks)}, indent=2)
        return
    _print(done, sample(into), into)


def _refuse_unread(given: Mapping[str, object], needed: str, model: object) -> None:
    """Wrong usage for an option of a model that was not named."""
    for name, value in given.items():
        if value is not None and model is None:
            raise typer.BadParameter(f"goes with {needed}", param_hint=name)


def _print(done: Mined, shown: list[tuple[str, list[str], list[str]]], into: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from crossrank.cli.table import clean

    console = Console()
    found = ", ".join(f"{number:,} by {name}" for name, number in done.found_by.items()) or "none"
    facts = [
        ("searched", counted(done.corpus, "document")),
        ("read", counted(done.records, "record")),
        ("written", f"{counted(done.written, 'record')} to {into}"),
        ("left out", f"{done.without_positive:,} without a positive, {done.without_negative:,} without a negative"),
        ("negatives", f"{done.negatives:,}: {found}"),
        ("passed over", f"{done.own_documents:,} of the query's own, {done.too_near:,} too near its positives"),
    ]
    if done.mean_rank is not None:
        facts.append(("mean rank", f"{done.mean_rank:.1f}"))
    if done.positive_score is not None and done.negative_score is not None:
        facts.append(("mean score", f"positives {done.positive_score:.3f}, negatives {done.negative_score:.3f}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    console.print(table)
    for query, right, wrong in shown:
        console.print(Text(f"\n{clean(query)[:SNIPPET]}", style="bold"))
        for mark, texts in (("+", right), ("-", wrong)):
            for text in texts:
                console.print(Text(f"  {mark} {clean(text)[:SNIPPET]}"))
