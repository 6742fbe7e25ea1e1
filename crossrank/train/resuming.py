"""Long work that outlives a kill: finished blocks wait in a file beside the output, which then appears whole.

    .OUT.part    the key of the work on its first line, then one JSON line a block: its rows and its counts

The key is a hash of everything that decides the rows, so work is only ever continued with the same options, data and
models. Blocks are cut from the input alike in every run, so an interrupted run's rows equal an uninterrupted one's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from crossrank.errors import InputError

__all__ = ["Block", "key_of", "refuse_output", "resumed"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are done, and numbers to be summed over all blocks."""

    rows: list[dict[str, Any]]
    counts: dict[str, float]


def key_of(*parts: object) -> str:
    """A hash of what decides the rows: options, digests of files, names of models."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def refuse_output(out: Path, *, overwrite: bool) -> None:
    """InputError for an output that is already there, before any work is put into it."""
    if out.is_dir():
        raise InputError(f"{out} is a folder; a file to write would do")
    if out.exists() and not overwrite:
        raise InputError(f"{out} is there already; another name, or --overwrite, would do")


def resumed(out: Path, key: str, blocks: Iterable[Item], work: Callable[[Item], Block]) -> dict[str, float]:
    """Do the work on each block that an earlier run has not done, write all rows to `out`, and return the counts.

    `out` is JSONL, gzipped if its name ends in .gz, and is whole or absent. InputError when the part that waits is of
    other work, or another process is at it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    with part.open("ab+") as file:
        _hold(file, part)
        done = _continue(file, part, key)
        for item in islice(blocks, done, None):
            block = work(item)
            file.write(_line({"rows": block.rows, "counts": block.counts}))
            file.flush()
        counts = _publish(file, out)
    part.unlink()
    return counts


def _continue(file: BinaryIO, part: Path, key: str) -> int:
    """How many blocks are done. The line that a killed process left torn is cut off."""
    file.seek(0)
    first = file.readline()
    if not first.endswith(b"\n"):
        file.truncate(0)
        file.write(_line({"key": key}))
        file.flush()
        return 0
    if first != _line({"key": key}):
        raise InputError(
            f"{part} holds unfinished work with other options, data or models; give the same ones to go on, "
            "or delete it to begin anew"
        )
    whole, done = file.tell(), 0
    while file.readline().endswith(b"\n"):
        whole, done = file.tell(), done + 1
    file.truncate(whole)
    return done


def _publish(file: BinaryIO, out: Path) -> dict[str, float]:
    counts: defaultdict[str, float] = defaultdict(float)
    half = out.with_name(f".{out.name}.{os.getpid()}")
    file.seek(0)
    file.readline()
    try:
        with half.open("wb") as raw, _packed(raw, out) as target:
            for line in file:
                block = json.loads(line)
                for name, number in block["counts"].items():
                    counts[name] += number
                target.writelines(map(_line, block["rows"]))
        os.replace(half, out)
    finally:
        half.unlink(missing_ok=True)
    return dict(counts)


@contextmanager
def _packed(raw: BinaryIO, out: Path) -> Iterator[Any]:
    if out.suffix != ".gz":
        yield raw
        return
    # Without a name and a time inside, equal rows make equal files.
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as target:
        yield target


def _line(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot hold
        return json.dumps(value).encode() + b"\n"


def _hold(file: BinaryIO, part: Path) -> None:
    """Keep other processes from the file until it is closed, where the system has such locks."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process is at this very work and holds {part}; wait for it") from error
