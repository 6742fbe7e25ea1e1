"""An evaluation as JSON and as run files: for other tools, and for checking our numbers with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossrank.evaluate.compare import Difference
from crossrank.evaluate.run import Outcome, Table
from crossrank.evaluate.runs import safe_name, write_qrels, write_run

__all__ = ["as_json", "write_runs"]


def as_json(
    tables: Sequence[Table], differences: Mapping[str, Sequence[Difference]], card: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that was measured: means, each query's values, differences, costs, the run card."""
    return {
        "card": dict(card),
        "collections": [
            {
                "name": table.collection.name,
                "queries": len(table.queries),
                "measures": list(table.measures),
                "ceiling": table.ceiling,
                "systems": [_system(outcome) for outcome in table.outcomes],
                "differences": [asdict(each) for each in differences[table.collection.name]],
            }
            for table in tables
        ],
    }


def _system(outcome: Outcome) -> dict[str, Any]:
    cost = None
    if outcome.cost is not None:
        cost = asdict(outcome.cost) | {"documents_per_second": outcome.cost.documents_per_second}
    return {
        "name": outcome.system,
        "scale": outcome.scale,
        "mean": {name: outcome.mean(name) for name in outcome.values},
        "cost": cost,
        "by_query": {name: dict(values) for name, values in outcome.values.items()},
    }


def write_runs(folder: Path, tables: Sequence[Table]) -> Iterator[Path]:
    """COLLECTION/qrels with the judgements that counted, and COLLECTION/SYSTEM.run for each system."""
    for table in tables:
        inside = folder / safe_name(table.collection.name)
        write_qrels(inside / "qrels", table.qrels)
        yield inside / "qrels"
        for outcome in table.outcomes:
            path = inside / f"{safe_name(outcome.system)}.run"
            write_run(path, outcome.run, safe_name(outcome.system))
            yield path
