"""What a stage reads: its rows, drawn once, written to disk in order and mapped from there.

A run that was killed then reads on where it stopped, several processes read the same, and memory holds one batch.
"""

from __future__ import annotations

import itertools
import os
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from crossrank.errors import InputError
from crossrank.inputs import Text
from crossrank.train.leakage import Guard
from crossrank.train.losses import LOSSES, Row, rows_of
from crossrank.train.recipe import Stage
from crossrank.train.records import BUFFER, Record, Source, mix

__all__ = ["InOrder", "Sieve", "draw", "open_rows", "write_rows"]

CHUNK = 1000  # rows written at a time
FRUITLESS = 2_000  # records in a row without one that a loss can learn from: there will be none


class InOrder(DefaultBatchSampler):
    """Batches of the rows as they lie on disk: they were shuffled when they were drawn."""

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: object = None,
        seed: int = 0,
    ) -> None:
        super().__init__(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


class Sieve:
    """Leaves out records whose query a dev set asks too, and counts the queries that it left out."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.left_out: set[str] = set()

    def passes(self, record: Record) -> bool:
        if self.guard.find(record.query) is None:
            return True
        self.left_out.add(record.query)
        return False


def draw(stage: Stage, data: Path, seed: int, sieve: Sieve) -> Iterator[Row]:
    """The rows of a stage, stage.steps * stage.batch of them, from its sources by their weights.

    The same for the same arguments. InputError when the sources have nothing that the loss can learn from, or too few
    queries for a batch of a loss that learns from other queries' documents.
    """
    rows = _rows(stage, data, seed, sieve)
    if LOSSES[stage.loss].shape == "tuples":
        rows = _apart(rows, stage, data)
    return itertools.islice(rows, stage.steps * stage.batch)


def _rows(stage: Stage, data: Path, seed: int, sieve: Sieve) -> Iterator[Row]:
    chance = random.Random(f"{seed}:{stage.name}")
    sources = [Source(data / each.path, each.weight) for each in stage.source]
    fruitless = 0
    # A number of the stage's own: else every stage would begin with the same records of a file.
    for record in mix(sources, zlib.crc32(f"{seed}:{stage.name}".encode())):
        fruitless += 1
        found = rows_of(
            _readable(record),
            stage.loss,
            stage.target,
            documents=stage.documents,
            temperature=stage.temperature,
            chance=chance,
        )
        for row in found if sieve.passes(record) else ():
            fruitless = 0
            yield row
        if fruitless > FRUITLESS:
            needs = {
                "tuples": "a query with a document labelled 1 and, unless documents = 1, one labelled 0",
                "pairs": "a query and a document",
            }.get(LOSSES[stage.loss].shape, f"a query with two documents or more whose {stage.target} differ")
            raise InputError(
                f"stage {stage.name!r}: loss {stage.loss!r} needs {needs}, and {fruitless:,} records in a row of "
                f"{_paths(stage, data)} were none; `crossrank mine` finds negatives"
                + (f" ({len(sieve.left_out):,} queries are a dev set's, too)" if sieve.left_out else "")
            )


def _apart(rows: Iterator[Row], stage: Stage, data: Path) -> Iterator[Row]:
    """The rows in such an order that no batch holds a query twice, or a query's positive in another row.

    The loss would take the positive for a negative. What does not go into a batch is the first to go into the next.
    """
    held: list[Row] = []
    while True:
        waiting, held = iter(held), []
        queries: set[str] = set()
        positives: set[str] = set()
        documents: set[str] = set()
        size = 0
        for row in itertools.chain(waiting, rows):
            query, positive, *negatives = row.values()
            if query in queries or positive in documents or not positives.isdisjoint(negatives):
                held.append(row)
                if len(held) > BUFFER:
                    raise _too_few(held, stage, data)
                continue
            queries.add(query)
            positives.add(positive)
            documents.update((positive, *negatives))
            yield row
            size += 1
            if size == stage.batch:
                break
        held += waiting


def _too_few(held: list[Row], stage: Stage, data: Path) -> InputError:
    queries, positives = (len({row[name] for row in held}) for name in ("query", "positive"))
    return InputError(
        f"stage {stage.name!r}: loss {stage.loss!r} takes other queries' documents for wrong ones, so a batch may hold "
        f"neither a query twice nor its positive in another row, and {len(held):,} rows of {_paths(stage, data)} wait "
        f"for a batch of {stage.batch} that they fit in ({queries:,} queries, {positives:,} positives); a smaller "
        "batch, fewer documents or more queries would do"
    )


def _paths(stage: Stage, data: Path) -> str:
    return ", ".join(str(data / each.path) for each in stage.source)


def _readable(record: Record) -> Record:
    """The record as it is when served: Arrow holds no lone surrogate, and no tokenizer reads one."""
    return replace(record, query=Text(record.query).text, documents=tuple(Text(text).text for text in record.documents))


def write_rows(rows: Iterator[Row], path: Path) -> None:
    """Write rows as an Arrow stream, which appears whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    chunk = list(itertools.islice(rows, CHUNK))
    schema = pyarrow.schema([(name, _type(value)) for name, value in chunk[0].items()])
    with pyarrow.OSFile(str(partial), "wb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
        while chunk:
            stream.write_batch(pyarrow.RecordBatch.from_pylist(chunk, schema=schema))
            chunk = list(itertools.islice(rows, CHUNK))
    os.replace(partial, path)


def open_rows(path: Path) -> Dataset:
    """The rows of a file, mapped into memory."""
    return Dataset.from_file(str(path))


def _type(value: object) -> pyarrow.DataType:
    match value:
        case str():
            return pyarrow.string()
        case list():
            return pyarrow.list_(_type(value[0]))
    return pyarrow.float32()
