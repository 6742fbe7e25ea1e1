"""A first reading of training data, before hours are spent on it: lines checked and counted, leaks found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossrank.errors import InputError
from crossrank.train.leakage import Guard, Leak
from crossrank.train.records import SHAPING, Record, read_record, read_rows

__all__ = ["BLOCK_DOCUMENTS", "Row", "Survey", "blocks", "survey", "watched"]

# Enough for full batches, and few enough that a kill loses seconds on a GPU and a minute on a CPU.
BLOCK_DOCUMENTS = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A record, and what else its line said: ids, sources, languages."""

    record: Record
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds. rows: records that stay. leaks: those that do not. digest: SHA-256 of the file."""

    path: Path
    rows: int
    leaks: tuple[Leak, ...]
    digest: str


def survey(
    path: Path,
    guard: Guard | None = None,
    *,
    unlabelled: bool = False,
    take: Callable[[Record], None] | None = None,
) -> Survey:
    """Read a file through; `take` is given each record that stays. InputError names the first bad line."""
    leaks: list[Leak] = []
    rows = 0
    for where, row in read_rows(path):
        record = read_record(row, where, unlabelled=unlabelled)
        leak = guard.find(record.query, where) if guard else None
        if leak:
            leaks.append(leak)
            continue
        rows += 1
        if take:
            take(record)
    if not rows:
        raise InputError(f"{path} has no records" + (f" but {len(leaks):,} that leak" if leaks else ""))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Survey(path, rows, tuple(leaks), digest)


def blocks(seen: Survey, documents: int, *, unlabelled: bool = False) -> Iterator[list[Row]]:
    """The rows that stay, in order, in blocks of about so many documents: the same blocks each time."""
    leaking = {leak.where for leak in seen.leaks}
    block: list[Row] = []
    size = 0
    for where, row in read_rows(seen.path):
        if where in leaking:
            continue
        record = read_record(row, where, unlabelled=unlabelled)
        block.append(Row(record, {key: value for key, value in row.items() if key not in SHAPING | {"query"}}))
        size += len(record.documents)
        if size >= documents:
            yield block
            block, size = [], 0
    if block:
        yield block


def watched(drawn: Iterator[list[Row]], total: int, progress: Callable[[int, int], None] | None) -> Iterator[list[Row]]:
    """Blocks as they come, with progress told of the rows behind each."""
    done = 0
    for block in drawn:
        if progress:
            progress(done, total)
        yield block
        done += len(block)
