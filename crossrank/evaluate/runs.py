"""Runs: for each query, documents and scores in order; and the one rule for that order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from crossrank.collections import Collection
from crossrank.errors import InputError
from crossrank.lines import BadLines, numbered

__all__ = ["Run", "in_order", "read_run", "refuse_spaces", "safe_name", "write_qrels", "write_run", "write_whole"]

Run = Mapping[str, Sequence[tuple[str, float]]]


def in_order(scores: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """Documents by descending score, equals by descending id.

    This is trec_eval's rule: it ignores the rank column, compares scores as 32-bit floats, and puts the greater id
    first. It neither favours nor spoils the first stage's order, as a stable sort would.
    """
    rounded = [(document, float(np.float32(score))) for document, score in scores]
    rounded.sort(key=lambda item: item[0].encode(), reverse=True)
    rounded.sort(key=lambda item: -item[1])
    return rounded


def read_run(path: Path) -> dict[str, list[tuple[str, float]]]:
    """A TREC run: query, Q0, document, rank, score, tag. The order is by score; the rank column is not believed."""
    found: dict[str, dict[str, float]] = {}
    bad = BadLines(path)
    for number, line in numbered(path):
        fields = line.split()
        if len(fields) != 6:
            bad.add(number, f"expected query, Q0, document, rank, score and tag, and there are {len(fields)} fields")
            continue
        query, document = fields[0], fields[2]
        try:
            score = float(fields[4])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            bad.add(number, f"the score should be a finite number, not {fields[4]!r}")
        elif document in found.setdefault(query, {}):
            bad.add(number, f"query {query} has document {document} twice")
        else:
            found[query][document] = score
    bad.stop()
    return {query: in_order(scores.items()) for query, scores in found.items()}


def refuse_spaces(collection: Collection) -> None:
    """InputError where an id has a space in it, or is empty: in a run it would be another number of fields."""
    for what, ids in (("query", collection.queries), ("document", collection.documents)):
        bad = next((each for each in ids if len(each.split()) != 1 or each != each.strip()), None)
        if bad is not None:
            raise InputError(
                f"{collection.source}: a TREC run cannot hold the {what} id {bad!r}: empty, or with spaces"
            )


def write_run(path: Path, run: Run, tag: str) -> None:
    """A TREC run file, best first. Equal scores are written a last bit apart, so that every tool, whatever its rule
    for ties, reads the order that was measured here."""
    rows = []
    for query, ranked in run.items():
        above = np.float32(np.inf)
        for rank, (document, score) in enumerate(ranked, 1):
            written = min(np.float32(score), np.nextafter(above, np.float32(-np.inf)))
            rows.append(f"{query} Q0 {document} {rank} {written!s} {tag}\n")
            above = written
    write_whole(path, "".join(rows))


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """A TREC qrels file."""
    rows = (f"{query} 0 {document} {gain}\n" for query, gains in qrels.items() for document, gain in gains.items())
    write_whole(path, "".join(rows))


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave the one that was there: never a part of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
