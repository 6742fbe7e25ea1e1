"""What an interrupted evaluation goes on from: one JSON line for every query that is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from crossrank.errors import InputError

__all__ = ["Done", "Journal"]


@dataclass(frozen=True, slots=True)
class Done:
    """One query's scores and what they cost. peak: the process's largest resident memory so far, in bytes."""

    query: str
    scores: dict[str, float]
    seconds: float
    tokens: int | None
    peak: int | None


class Journal:
    """A file of finished queries. Its name holds a hash of everything that decides the scores, so a change of model,
    data, first stage or limits finds another file, and nothing stale is ever read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Done] = {}
        self.ready_seconds = 0.0
        self._file: BinaryIO | None = None

    @contextmanager
    def open(self) -> Iterator[Journal]:
        """Read what is there, and hold the file for writing; InputError if another process holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            _hold(file, self.path)
            file.truncate(self._read(file))
            self._file = file
            try:
                yield self
            finally:
                self._file = None

    def ready(self, seconds: float) -> None:
        """Record the time that a system worked on the texts before the first query."""
        self.ready_seconds = seconds
        self._write({"ready_seconds": seconds})

    def add(self, done: Done) -> None:
        self.done[done.query] = done
        self._write(asdict(done))

    def _write(self, row: dict[str, object]) -> None:
        assert self._file is not None, "a journal is written while it is open"
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def _read(self, file: BinaryIO) -> int:
        """Take in the whole lines, and return where they end: a process killed while writing leaves a torn one."""
        file.seek(0)
        data = file.read()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                if "ready_seconds" in row:
                    self.ready_seconds = max(self.ready_seconds, row["ready_seconds"])
                else:
                    self.done[row["query"]] = Done(**row)
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"{self.path}:{number} is damaged ({error}); delete the file to begin anew") from error
        return whole


def _hold(file: BinaryIO, path: Path) -> None:
    """Keep other processes from the file until it is closed, where the system has such locks."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"another process is at this very evaluation and holds {path}; wait for it") from error
