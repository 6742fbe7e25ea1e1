"""What the commands that write training data share: options, a bar for each phase, and the report of leaks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossrank.cli.writing import counted, note

if TYPE_CHECKING:
    from crossrank.train.leakage import Guard, Leak

__all__ = [
    "Against", "Data", "DocumentPrompt", "Into", "LeakThreshold", "Overwrite", "QueryPrompt",
    "guard_of", "leaks_json", "note_leaks", "phases",
]  # fmt: skip

LEAKS_SHOWN = 3

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Training data, JSONL or .jsonl.gz; docs/training-data.md.")]
Into = Annotated[Path, typer.Option("--into", metavar="FILE", help="Where to write; gzipped if it ends in .gz.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]
QueryPrompt = Annotated[
    str | None, typer.Option("--query-prompt", metavar="TEXT", help='Of a bi-encoder: "query: " for e5, say.')
]
DocumentPrompt = Annotated[
    str | None, typer.Option("--document-prompt", metavar="TEXT", help='Of a bi-encoder: "passage: " for e5, say.')
]
Against = Annotated[
    list[Path] | None,
    typer.Option("--against", metavar="FOLDER", help="A BEIR folder whose queries are left out; again for more."),
]
LeakThreshold = Annotated[
    float | None,
    typer.Option("--leak-threshold", metavar="SHARE", help="Of shared shingles, from which queries are the same; 0.7."),
]


def guard_of(against: Sequence[Path] | None, threshold: float | None) -> Guard | None:
    """What recognises evaluation queries; None where none were named."""
    from crossrank.train.leakage import THRESHOLD, Guard

    if not against:
        if threshold is not None:
            raise typer.BadParameter("goes with --against", param_hint="--leak-threshold")
        return None
    return Guard.of(against, THRESHOLD if threshold is None else threshold)


def note_leaks(leaks: Sequence[Leak]) -> None:
    """Say how many queries were left out, and the first of them."""
    if not leaks:
        return
    note(f"crossrank: {counted(len(leaks), 'query', 'queries')} left out: an evaluation asks the same")
    for leak in leaks[:LEAKS_SHOWN]:
        note(f"  {leak.where}: {leak.query!r} is {leak.similarity:.0%} {leak.evaluated!r} of {leak.collection}")


def leaks_json(leaks: Sequence[Leak]) -> dict[str, Any]:
    return {"leaks": len(leaks), "leak_examples": [asdict(leak) for leak in leaks[:LEAKS_SHOWN]]}


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None] | None]:
    """A callback for phase, done and total that draws a bar a phase on standard error; None where it is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                for earlier in tasks.values():
                    bar.update(earlier, visible=False)
                tasks[phase] = bar.add_task(phase, total=total)
            bar.update(tasks[phase], completed=done)

        yield advance
