"""Training data: JSONL files -> Records -> one endless stream, mixed by weight.

A line is an object of one of these shapes; a line's other keys (ids, languages, sources) are left alone:

    {"query": q, "document": d, "label": 1}                      a labelled pair; true and false are 1 and 0
    {"query": q, "positive": d}                                  positives alone, for in-batch negatives or for mining
    {"query": q, "positive": d, "negative": d}                   a triplet
    {"query": q, "positives": [d], "negatives": [d, d]}          lists of either, in any mixture with the above
    {"query": q, "documents": [d, d], "labels": [2, 0]}          a query with graded documents
    {"query": q, "documents": [d, d], "scores": [3.1, -4.0]}     with a teacher's logits; "labels" may be there too

A document is a string, or an object that rendering.py writes as text. A file whose name ends in .gz is gzipped.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from crossrank.errors import InputError
from crossrank.lines import numbered
from crossrank.rendering import render_document

__all__ = ["BUFFER", "SHAPING", "Record", "Source", "as_row", "mix", "read_record", "read_records", "read_rows"]

# Lines of one source that are shuffled among each other: some megabytes, for lines of the usual kilobyte or two.
BUFFER = 4096

POSITIVES = "positive", "positives"
NEGATIVES = "negative", "negatives"
SHAPING = frozenset({"document", "label", "documents", "labels", "scores", *POSITIVES, *NEGATIVES})
SHAPES = (
    '{"query", "document", "label"}, {"query", "positive"|"positives"[, "negative"|"negatives"]}, '
    '{"query", "documents", "labels"} or {"query", "documents", "scores"[, "labels"]}'
)


@dataclass(frozen=True, slots=True)
class Record:
    """A query and its documents, each with a graded label, a teacher's logit, or both.

    labels, scores: one a document, or empty where the data has none. A label of 0 is not relevant. where: FILE:LINE.
    """

    query: str
    documents: tuple[str, ...]
    labels: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of records, and how often it is drawn from beside the others."""

    path: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError(f"{self.path}: a weight should be a number above 0, not {self.weight}; leave the file out")


def read_records(path: Path, *, unlabelled: bool = False) -> Iterator[Record]:
    """The records of a file, one line at a time.

    unlabelled: take {"query", "documents"} without labels or scores too, as a teacher does. InputError names the file
    and line of the first that is no record.
    """
    for where, row in read_rows(path):
        yield read_record(row, where, unlabelled=unlabelled)


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """FILE:LINE and the JSON object of each line that is not blank."""
    for number, line in numbered(path):
        where = f"{path}:{number}"
        yield where, _object(line, where)


def read_record(row: Mapping[str, Any], where: str, *, unlabelled: bool = False) -> Record:
    """The record that an object spells; `where` begins the InputError when it spells none."""
    keys = frozenset(row) & SHAPING
    if "query" not in row:
        raise _strange(row, where)
    query = _words(row["query"], f'{where}: "query"')
    if keys == {"document", "label"}:
        document, label = _document(row["document"], where, "document"), _number(row["label"], where, "label")
        return Record(query, (document,), (label,), where=where)
    if keys & {*POSITIVES} and keys <= {*POSITIVES, *NEGATIVES}:
        positives, negatives = (_side(row, names, where) for names in (POSITIVES, NEGATIVES))
        labels = (1.0,) * len(positives) + (0.0,) * len(negatives)
        return Record(query, positives + negatives, labels, where=where)
    if "documents" in keys and keys <= {"documents", "labels", "scores"}:
        documents = _documents(row["documents"], where, "documents")
        labels, scores = (_numbers(row.get(name), len(documents), where, name) for name in ("labels", "scores"))
        if not (labels or scores or unlabelled):
            raise InputError(
                f'{where}: "documents" without "labels" or "scores" has nothing to learn; `crossrank teach` adds scores'
            )
        return Record(query, documents, labels, scores, where)
    raise _strange(row, where)


def as_row(record: Record) -> dict[str, Any]:
    """The object that spells a record; read_record reads it back."""
    row: dict[str, Any] = {"query": record.query, "documents": list(record.documents)}
    if record.labels:
        row["labels"] = list(record.labels)
    if record.scores:
        row["scores"] = list(record.scores)
    return row


def mix(sources: Sequence[Source], seed: int, *, skip: int = 0, buffer: int = BUFFER) -> Iterator[Record]:
    """Records without end, each drawn from a source with the probability that its weight has among the weights.

    A source gives every record once before it gives one again, in an order that differs each time round. Lines change
    places with some `buffer` others, no more: a file sorted by topic stays roughly so unless it is shuffled once. The
    stream is the same for the same arguments, and with `skip` it begins that many records later, for which lines are
    read again but not parsed. At most `buffer` lines of each source are in memory.
    """
    if not sources:
        raise InputError("a mix needs at least one source")
    if skip < 0 or buffer < 1:
        raise InputError(f"skip should be at least 0 and buffer at least 1, not {skip} and {buffer}")
    streams = [_endless(source.path, f"{seed}:{place}", buffer) for place, source in enumerate(sources)]
    bounds = list(itertools.accumulate(source.weight for source in sources))
    chance = random.Random(f"{seed}:mix")
    while True:
        path, number, line = next(streams[chance.choices(range(len(streams)), cum_weights=bounds)[0]])
        if skip:
            skip -= 1
            continue
        where = f"{path}:{number}"
        yield read_record(_object(line, where), where)


def _endless(path: Path, seed: str, buffer: int) -> Iterator[tuple[Path, int, str]]:
    """A file's lines, time and again, in an order that only seed and round decide."""
    for turn in itertools.count():
        chance = random.Random(f"{seed}:{turn}")
        held: list[tuple[int, str]] = []
        empty = True
        for line in numbered(path):
            empty = False
            if len(held) < buffer:
                held.append(line)
                continue
            place = chance.randrange(buffer)
            held[place], line = line, held[place]
            yield path, *line
        if empty:
            raise InputError(f"{path} has no records")
        chance.shuffle(held)
        for line in held:
            yield path, *line


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except RecursionError as error:
        raise InputError(f"{where}: JSON nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: a record is an object, not {_kind(value)}; a line is {SHAPES}")
    return value


def _strange(row: Mapping[str, Any], where: str) -> InputError:
    found = ", ".join(f'"{key}"' for key in row) or "none"
    return InputError(f"{where}: no record has just these keys: {found}. A line is {SHAPES}")


def _side(row: Mapping[str, Any], names: tuple[str, str], where: str) -> tuple[str, ...]:
    """The documents under a singular and a plural key, of which either may be absent. "positive" may hold a list."""
    found: tuple[str, ...] = ()
    for name in names:
        if name in row:
            value = row[name]
            many = isinstance(value, list) or name == names[1]
            found += _documents(value, where, name) if many else (_document(value, where, name),)
    return found


def _documents(values: object, where: str, name: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise InputError(f'{where}: "{name}" should be a list of documents, not {_kind(values)}')
    if not values and name not in NEGATIVES:
        raise InputError(f'{where}: "{name}" is an empty list; leave the line out')
    return tuple(_document(value, where, f"{name}[{place}]") for place, value in enumerate(values))


def _document(value: object, where: str, name: str) -> str:
    if value == {}:
        raise InputError(f'{where}: "{name}" is an empty object; a document needs words')
    try:
        return _words(render_document(value), f'{where}: "{name}"')
    except TypeError as error:
        raise InputError(f'{where}: "{name}": {error}') from error


def _words(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} should be a string, not {_kind(value)}")
    if not value.strip():
        raise InputError(f"{name} is blank; it needs words")
    return value


def _numbers(values: object, count: int, where: str, name: str) -> tuple[float, ...]:
    if values is None:
        return ()
    if not isinstance(values, list) or len(values) != count:
        met = f"{len(values)}" if isinstance(values, list) else _kind(values)
        raise InputError(f'{where}: "{name}" should be a list of {count} numbers, one a document, not {met}')
    return tuple(_number(value, where, f"{name}[{place}]") for place, value in enumerate(values))


def _number(value: object, where: str, name: str) -> float:
    if isinstance(value, (bool, int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InputError(f'{where}: "{name}" should be a finite number, not {json.dumps(value, ensure_ascii=False)[:40]}')


def _kind(value: object) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case dict():
            return "an object"
    return "a list"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
