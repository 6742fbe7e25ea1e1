"""`crossrank teach`: a teacher's scores, written into training data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options, training
from crossrank.cli.writing import counted, write_json

if TYPE_CHECKING:
    from crossrank.train.teaching import Taught, Teacher

__all__ = ["command"]

BIENCODER = "biencoder:"


def command(
    data: training.Data,
    into: training.Into,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            "-t",
            metavar="MODEL",
            help="A folder, a bundled or a hub name, or biencoder:FOLDER; again for an ensemble; default: mini-en.",
        ),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", metavar="W", help="Of each teacher, in their order; default: all alike."),
    ] = None,
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
    """Write a teacher's scores into training data.

    Scores are logits, of a bi-encoder 20 times the cosine; several teachers give their weighted mean. Labels stay, and
    records without labels are taken too. Interrupted or killed, the same command goes on where it was.
    """
    import crossrank.train  # noqa: F401  # says what is not installed
    from crossrank.train.resuming import refuse_output
    from crossrank.train.teaching import biencoder_teacher, reranker_teacher, teach

    names = teacher or ["mini-en"]
    if weight and len(weight) != len(names):
        raise typer.BadParameter(f"is given {len(weight)} times for {len(names)} teachers", param_hint="--weight")
    refuse_output(into, overwrite=overwrite)
    guard = training.guard_of(against, leak_threshold)
    teachers: list[Teacher] = []
    for name, share in zip(names, weight or [1.0] * len(names), strict=True):
        if name.startswith(BIENCODER):
            from crossrank.biencoder import BiEncoder

            folder = Path(name.removeprefix(BIENCODER)).expanduser()
            encoder = BiEncoder(folder, device=device, query_prompt=query_prompt, document_prompt=document_prompt)
            teachers.append(biencoder_teacher(encoder, share))
            continue
        reranker = options.load(
            name,
            dtype=dtype,
            device=device,
            max_length=max_length,
            max_query=max_query,
            overlap=overlap,
            budget=budget,
        )
        teachers.append(reranker_teacher(reranker, share))
    with training.phases() as advance:
        tell = None if advance is None else lambda done, total: advance("teaching", done, total)
        taught = teach(data, into, teachers, guard=guard, overwrite=overwrite, progress=tell)
    training.note_leaks(taught.leaks)
    if as_json or not sys.stdout.isatty():
        numbers = {name: value for name, value in asdict(taught).items() if name != "leaks"}
        named = {"teachers": [each.name for each in teachers]}
        write_json({**named, **numbers, **training.leaks_json(taught.leaks)}, indent=2)
        return
    _print(taught, teachers, into)


def _print(taught: Taught, teachers: Sequence[Teacher], into: Path) -> None:
    typer.echo(f"{counted(taught.rows, 'record')}, {counted(taught.documents, 'document')} scored, written to {into}")
    typer.echo(f"by {', '.join(f'{each.name} ({each.weight:g})' for each in teachers)}")
    typer.echo(f"scores: mean {taught.mean:.3f}, standard deviation {taught.deviation:.3f}")
    if taught.agreement is not None:
        pairs = counted(taught.ordered, "pair of labelled documents", "pairs of labelled documents")
        typer.echo(f"in the labels' order: {taught.agreement:.1%} of {pairs}")
