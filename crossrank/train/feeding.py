"""What a stage reads: its rows, drawn once, written to disk in order and mapped from there.

A run that was killed then reads on where it stopped, several processes read the same, and memory holds one batch.
"""

from __future__ import annotations

import itertools
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from crossrank.errors import InputError
from crossrank.train.leakage import Guard
from crossrank.train.losses import LOSSES, Row, rows_of
from crossrank.train.recipe import Stage
from crossrank.train.records import Record, Source, mix

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

    The same for the same arguments. InputError when the sources have nothing that the loss can learn from.
    """
    return itertools.islice(_rows(stage, data, seed, sieve), stage.steps * stage.batch)


def _rows(stage: Stage, data: Path, seed: int, sieve: Sieve) -> Iterator[Row]:
    chance = random.Random(f"{seed}:{stage.name}")
    sources = [Source(data / each.path, each.weight) for each in stage.source]
    fruitless = 0
    # A number of the stage's own: else every stage would begin with the same records of a file.
    for record in mix(sources, zlib.crc32(f"{seed}:{stage.name}".encode())):
        fruitless += 1
        found = rows_of(
            record,
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
            paths = ", ".join(str(source.path) for source in sources)
            raise InputError(
                f"stage {stage.name!r}: loss {stage.loss!r} needs {needs}, and {fruitless:,} records in a row of "
                f"{paths} were none; `crossrank mine` finds negatives"
                + (f" ({len(sieve.left_out):,} queries are a dev set's, too)" if sieve.left_out else "")
            )


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
