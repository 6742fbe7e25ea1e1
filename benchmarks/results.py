"""docs/results.md: BM25, a bi-encoder and the bundled models on every collection that is there, whatever it says.

    python -m benchmarks.results --data FOLDER --biencoder FOLDER [--limit-queries 30] [--top-k 50]

Interrupted, it goes on where it was when the same command is given again. Without a limit it takes hours on a CPU.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossrank.collections import open_collection
from crossrank.evaluate.card import run_card
from crossrank.evaluate.compare import Difference, compare, differences
from crossrank.evaluate.report import report_page
from crossrank.evaluate.results import as_json, write_runs
from crossrank.evaluate.run import Options, Outcome, Table, evaluate_one
from crossrank.evaluate.runs import write_whole
from crossrank.evaluate.systems import open_system
from crossrank.hub import DEFAULT, bundled_names

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Entry:
    """A collection and the measure that its field goes by. Long documents cost so much that fewer are read: depth is
    the most candidates a query, share the part of the limit of queries."""

    folder: str
    what: str
    measure: str
    depth: int | None = None
    share: float = 1.0


ENTRIES = (
    Entry("scifact", "claims to abstracts", "nDCG@10"),
    Entry("cranfield", "questions to abstracts, graded", "nDCG@10"),
    Entry("lisa", "long requests to abstracts", "nDCG@10"),
    Entry("cosqa_dev", "web queries to Python functions", "RR@10"),
    Entry("spider_tables", "questions to CREATE TABLE statements", "R@3"),
    Entry("toolbench_g1", "instructions to API documents", "R@3"),
    Entry("bfcl", "requests to function schemas", "R@3"),
    Entry("xquad", "questions to paragraphs, 12 languages", "R@10"),
    Entry("jaquad_dev", "Japanese questions to paragraphs", "nDCG@10"),
    Entry("qmsum", "questions to whole meetings", "nDCG@10", depth=10, share=0.1),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the collections' folders")
    parser.add_argument("--biencoder", type=Path, required=True, help="all-MiniLM-L6-v2's folder")
    parser.add_argument("--model", nargs="+", default=[*bundled_names(), f"{DEFAULT}@int8"], metavar="NAME[@DTYPE]")
    parser.add_argument("--limit-queries", type=int, help="a sample of each collection's queries")
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "results", help="for indexes and unfinished work")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--report", type=Path, help="also the page of `crossrank evaluate --report`")
    parser.add_argument("--json", type=Path, help="also the numbers of `crossrank evaluate --json`")
    parser.add_argument("--runs", type=Path, help="also the runs of `crossrank evaluate --runs`")
    options = parser.parse_args()
    encoder = replace(open_system(f"biencoder:{options.biencoder}"), name="all-MiniLM-L6-v2 bi-encoder")
    systems = [encoder, *map(open_system, options.model)]
    tables = []
    for entry in ENTRIES:
        if not (options.data / entry.folder).is_dir():
            sys.stderr.write(f"{entry.folder} is not in {options.data}, and is left out\n")
            continue
        limit = options.limit_queries and max(1, round(options.limit_queries * entry.share))
        depth = min(options.top_k, entry.depth or options.top_k)
        chosen = Options(top_k=depth, measures=(entry.measure,), limit_queries=limit, work=options.work)
        tables.append(evaluate_one(open_collection(str(options.data / entry.folder)), systems, chosen, progress))
    card = run_card(
        tables,
        systems,
        Options(top_k=options.top_k, measures=("nDCG@10",), limit_queries=options.limit_queries, work=options.work),
        ["python", "-m", "benchmarks.results", *sys.argv[1:]],
    )
    compared = {table.collection.name: list(differences(table, table.measures[0])) for table in tables}
    write_whole(options.out, "\n".join(page(tables, card, command(options))) + "\n")
    if options.report:
        write_whole(options.report, report_page(tables, compared, card))
    if options.json:
        write_whole(options.json, json.dumps(as_json(tables, compared, card), indent=1) + "\n")
    if options.runs:
        list(write_runs(options.runs, tables))


def progress(collection: str, system: str, done: int, total: int) -> None:
    if done in (0, total) or done % 10 == 0:
        sys.stderr.write(f"{collection}: {system}: {done} of {total}\n")


def command(options: argparse.Namespace) -> str:
    """As given, without the paths of the machine it was given on."""
    words = ["python", "-m", "benchmarks.results", "--data", "DATA", "--biencoder", "all-MiniLM-L6-v2"]
    if options.limit_queries:
        words += ["--limit-queries", str(options.limit_queries)]
    words += ["--model", *options.model]
    return shlex.join([*words, "--top-k", str(options.top_k)])


def page(tables: Sequence[Table], card: dict[str, object], made_by: str) -> Iterator[str]:
    sampled = any(len(table.queries) < len(table.collection.usable) for table in tables)
    machine = card["machine"]
    yield "# Results"
    yield ""
    yield "Made by one command, and not edited:"
    yield ""
    yield f"    {made_by}"
    yield ""
    yield f"{str(card['finished'])[:10]}, crossrank {card['versions']['crossrank']}, {machine['processor']},"
    yield f"{machine['threads']} threads, torch {card['versions']['torch']}. Each model reorders BM25's best"
    yield f"{card['options']['top_k']} documents (qmsum: 10), nothing forced in. [evaluation.md](evaluation.md) says"
    yield "how all of this is measured."
    if sampled:
        yield ""
        yield "**A sample**: each collection's queries were drawn by hash, as many as the column says. With so few,"
        yield "only large differences show; without `--limit-queries` the same command makes the full table."
    yield ""
    yield "## Quality"
    yield ""
    names = [outcome.system for outcome in tables[0].outcomes]
    yield f"| collection | queries | measure | ceiling | {' | '.join(names)} |"
    yield f"|---|--:|---|--:|{'--:|' * len(names)}"
    entries = {entry.folder: entry for entry in ENTRIES}
    for table in tables:
        measure, of = table.measures[0], len(table.collection.usable)
        count = f"{len(table.queries):,}" if len(table.queries) == of else f"{len(table.queries):,} of {of:,}"
        top = max(outcome.mean(measure) for outcome in table.outcomes)
        cells = [cell(table, outcome, measure, top) for outcome in table.outcomes]
        ceiling = f"{table.outcomes[0].mean(table.ceiling):.3f}"
        what = entries[table.collection.name].what
        yield f"| {table.collection.name}: {what} | {count} | {measure} | {ceiling} | {' | '.join(cells)} |"
    means = [sum(t.outcomes[i].mean(t.measures[0]) for t in tables) / len(tables) for i in range(len(names))]
    yield f"| **mean** | | | | {' | '.join(f'{mean:.3f}' for mean in means)} |"
    yield ""
    yield "▲ ▼: better or worse than BM25, p < 0.05 in that one comparison (paired randomisation test). Ceiling: BM25's"
    yield "recall at the depth that is reranked; no reranker finds what is not there."
    yield ""
    yield "## Differences"
    yield ""
    yield "| collection | comparison | difference | 95 % interval | p | queries better, worse |"
    yield "|---|---|--:|---|--:|---|"
    for table in tables:
        yield from rows(table)
    yield ""
    yield "## Speed and memory"
    yield ""
    yield "| system | documents a second | tokens a second | peak memory |"
    yield "|---|--:|--:|--:|"
    for place in range(1, len(names)):
        yield cost([table.outcomes[place] for table in tables])
    yield ""
    yield "Over all collections. A document counts once for each query that it was scored for; the bi-encoder encodes"
    yield "it once for all of them. Memory is the whole process's, corpora and libraries included."


def cell(table: Table, outcome: Outcome, measure: str, top: float) -> str:
    value = f"{outcome.mean(measure):.3f}"
    if outcome.mean(measure) == top:
        value = f"**{value}**"
    if outcome is table.outcomes[0]:
        return value
    difference = compare(table, table.outcomes[0], outcome, measure)
    return value if difference.p >= 0.05 else f"{value} {'▲' if difference.mean > 0 else '▼'}"


def rows(table: Table) -> Iterator[str]:
    """Each model against BM25 and the bi-encoder, another dtype of a model against the model."""
    first, encoder, *models = table.outcomes
    named = {each.system: each for each in models}
    for after in models:
        plain = named.get(after.system.rpartition(" ")[0])
        for before in (first, encoder) if plain is None else (plain,):
            yield row(table.collection.name, compare(table, before, after, table.measures[0]))


def row(name: str, each: Difference) -> str:
    interval = f"{each.low:+.3f} to {each.high:+.3f}"
    chance = f"{each.p:.3f}" if each.p >= 0.0005 else "<0.001"
    versus = f"{each.after} against {each.before}"
    return f"| {name} | {versus} | {each.mean:+.3f} | {interval} | {chance} | {each.wins}, {each.losses} |"


def cost(outcomes: Sequence[Outcome]) -> str:
    costs = [outcome.cost for outcome in outcomes if outcome.cost is not None]
    seconds = sum(each.seconds for each in costs)
    tokens = sum(each.tokens for each in costs) if all(each.tokens for each in costs) else None
    peak = max((each.peak for each in costs if each.peak), default=None)
    read = "–" if tokens is None else f"{tokens / seconds:,.0f}"
    memory = "–" if peak is None else f"{peak / 2**20:,.0f} MiB"
    return f"| {outcomes[0].system} | {sum(each.documents for each in costs) / seconds:,.1f} | {read} | {memory} |"


if __name__ == "__main__":
    main()
