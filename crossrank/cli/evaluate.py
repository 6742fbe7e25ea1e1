"""`crossrank evaluate`: does a reranker help, and what does it cost?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.writing import note
from crossrank.errors import InputError

if TYPE_CHECKING:
    from crossrank.evaluate.compare import Difference
    from crossrank.evaluate.run import Cost, Options, Table

__all__ = ["command"]

Progress = Callable[[str, str, int, int], None]

FILE_WIDTH = 200  # columns, where the tables do not go to a terminal: nothing is cut off


def command(
    collections: Annotated[
        list[str],
        typer.Argument(
            metavar="COLLECTION",
            help="A BEIR or TREC folder, FOLDER#PREFIX for the ids that begin so, irds:ID, or a suite's name.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="M",
            help="NAME[@DTYPE], biencoder:FOLDER, crossencoder:FOLDER, flashrank:FOLDER or run:FILE; again for more. "
            "Default: mini-en.",
        ),
    ] = None,
    first_stage: Annotated[
        str | None,
        typer.Option("--first-stage", metavar="bm25|RUN", help="Or candidates, judged; default: the suite's, or bm25."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", help="Candidates to rerank for each query.")] = 100,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME", help="Such as nDCG@10, R@3, RR@10, AP, P@5; again for more."),
    ] = None,
    limit_queries: Annotated[
        int | None, typer.Option("--limit-queries", metavar="N", help="A sample of each collection's queries.")
    ] = None,
    inject_relevant: Annotated[
        bool,
        typer.Option("--inject-relevant", help="Add relevant documents that the first stage missed; this flatters."),
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there.")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", metavar="DIR", help="Write TREC runs and qrels there.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write one HTML page there, pictures and all.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", envvar="CROSSRANK_DATA", help="Where suites find their folders.")
    ] = Path("data"),
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Of a suite, evaluate the collections that are there.")
    ] = False,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="For indexes and interrupted work; default: in the user's cache."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the sample and the tests.")] = 0,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    max_query: options.MaxQuery = None,
    overlap: options.Overlap = 80,
    budget: options.Budget = None,
) -> None:
    """Measure ranking quality on judged collections, and what it costs.

    Each model reorders the first stage's candidates, whose own order stands beside it. Work that is interrupted goes on
    where it was when the same command is given again. Without --measure: those of the suite, or nDCG@10, R@10, RR@10.
    """
    import crossrank.evaluate  # noqa: F401  # says what is not installed, before anything is read
    from crossrank.collections import open_collection
    from crossrank.evaluate.card import run_card
    from crossrank.evaluate.compare import differences
    from crossrank.evaluate.measures import DEFAULT, parse
    from crossrank.evaluate.run import Options, evaluate
    from crossrank.evaluate.runs import refuse_spaces, write_whole
    from crossrank.evaluate.systems import open_system
    from crossrank.windows import Limits

    for path in (json_file, report):
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder; a file to write would do")
    if runs is not None and runs.exists() and not runs.is_dir():
        raise InputError(f"{runs} is a file; a folder to write runs into would do")
    plain = Options(
        first_stage=first_stage or "bm25",
        top_k=top_k,
        measures=tuple(parse(measure or DEFAULT)),
        limit_queries=limit_queries,
        inject_relevant=inject_relevant,
        seed=seed,
        work=work or _cache(),
    )
    groups = _groups(collections, plain, data, skip_missing=skip_missing, own_measures=not measure, stage=first_stage)
    limits = Limits(max_length=max_length, max_query=max_query, overlap=overlap, budget=budget)
    systems = [open_system(spec, device=device, limits=limits) for spec in model or ["mini-en"]]
    opened = [([open_collection(spec) for spec in specs], chosen) for specs, chosen in groups]
    _refuse_twins([collection.name for members, _ in opened for collection in members])
    if runs is not None:
        for collection in (each for members, _ in opened for each in members):
            refuse_spaces(collection)
    tables: list[Table] = []
    with _progress() as advance:
        for members, chosen in opened:
            tables += evaluate(members, systems, chosen, advance)
    compared = {table.collection.name: list(differences(table, table.measures[0], seed)) for table in tables}
    card = run_card(tables, systems, plain, ["crossrank", *sys.argv[1:]])
    _print(tables, compared)
    if json_file is not None:
        from crossrank.evaluate.results import as_json

        write_whole(json_file, json.dumps(as_json(tables, compared, card), indent=1, ensure_ascii=False) + "\n")
    if runs is not None:
        from crossrank.evaluate.results import write_runs

        note(f"crossrank: {len(list(write_runs(runs, tables)))} files in {runs}")
    if report is not None:
        from crossrank.evaluate.report import report_page

        write_whole(report, report_page(tables, compared, card))


def _groups(
    names: Sequence[str], plain: Options, data: Path, *, skip_missing: bool, own_measures: bool, stage: str | None
) -> list[tuple[list[str], Options]]:
    """Collections that are measured alike: each suite in its own way where none was asked for, the rest as `plain`."""
    from crossrank.evaluate.measures import parse
    from crossrank.evaluate.suites import find_members, read_suite, suite_names

    suites = [name for name in names if name in suite_names() and not Path(name).is_dir()]
    single = [name for name in names if name not in suites]
    groups = [(single, plain)] if single else []
    for name in suites:
        suite = read_suite(name)
        found = find_members(suite, data, skip_missing=skip_missing)
        if len(found) < len(suite.collections):
            note(f"crossrank: suite {name}: {len(found)} of its {len(suite.collections)} collections are here")
        measures = tuple(parse([suite.measure, *suite.also])) if own_measures else plain.measures
        groups.append((found, replace(plain, measures=measures, first_stage=stage or suite.first_stage)))
    return groups


def _refuse_twins(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two collections are called {twice[0]!r}; name each once, in folders of different names")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossrank" / "evaluate"


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar for each system on each collection, on standard error; None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def advance(collection: str, system: str, done: int, total: int) -> None:
            key = (collection, system)
            if key not in tasks:
                tasks[key] = bar.add_task(f"{collection}: {system}", total=total)
            bar.update(tasks[key], completed=done, visible=done < total)

        yield advance


def _print(tables: Sequence[Table], compared: dict[str, list[Difference]]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    for table in tables:
        first = table.outcomes[0]
        against = {each.after: each for each in compared[table.collection.name] if each.before == first.system}
        grid = Grid(box=None, pad_edge=False, header_style="bold")
        grid.add_column("system", no_wrap=True)
        for name in (*table.measures, "Δ", "p", "docs/s", "ms/query", "MiB"):
            grid.add_column(name, justify="right", no_wrap=True)
        for outcome in table.outcomes:
            difference, cost = against.get(outcome.system), outcome.cost
            row = [f"{outcome.mean(name):.3f}" for name in table.measures]
            row += [f"{difference.mean:+.3f}", _chance(difference.p)] if difference else ["", ""]
            row += _cost(cost, len(table.queries)) if cost else ["", "", ""]
            grid.add_row(outcome.system, *row)
        console.print(Text(f"{table.collection.name}: {_counts(table)}", style="bold"))
        console.print(grid)
        ceiling = f"no reranker passes its {table.ceiling} {first.mean(table.ceiling):.3f}"
        console.print(Text(f"Δ, p: {table.measures[0]} against {first.system}; {ceiling}\n", style="dim"))


def _chance(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "<.001"


def _cost(cost: Cost, queries: int) -> list[str]:
    speed = cost.documents_per_second
    pace = ["", ""] if speed is None else [f"{speed:,.0f}", f"{1000 * cost.seconds / queries:,.1f}"]
    return [*pace, f"{cost.peak / 2**20:,.0f}" if cost.peak else ""]


def _counts(table: Table) -> str:
    usable = len(table.collection.usable)
    of = f" of {usable:,}" if len(table.queries) < usable else ""
    gap = f"; {table.gap}" if str(table.gap) else ""
    return f"{len(table.collection.documents):,} documents, {len(table.queries):,}{of} queries{gap}"
