"""Lines of data files, plain or gzipped. What is wrong with them is said by file and line, all at once."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crossrank.errors import InputError

__all__ = ["BadLines", "json_objects", "numbered"]

SHOWN = 10


class BadLines:
    """Collects complaints about a file and raises them together, the first ten in full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complaints: list[str] = []

    def add(self, line: int, complaint: str) -> None:
        self.complaints.append(f"{self.path}:{line}: {complaint}")

    def stop(self) -> None:
        """InputError if there was any complaint."""
        if self.complaints:
            more = len(self.complaints) - SHOWN
            tail = f"\nand {more:,} more bad lines" if more > 0 else ""
            raise InputError("\n".join(self.complaints[:SHOWN]) + tail)


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends; empty lines are passed over."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path}:{number}: byte 0x{byte:02x} is not UTF-8; `iconv -f latin1 -t utf-8` may convert the file"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def json_objects(path: Path, take: Callable[[dict[str, Any]], None]) -> None:
    """Give every JSON object of a JSONL file to `take`; a KeyError, TypeError or ValueError from it is the line's."""
    bad = BadLines(path)
    for number, line in numbered(path):
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"expected an object, not {type(value).__name__}")
            take(value)
        except KeyError as error:
            bad.add(number, f"no {error.args[0]!r}")
        except (TypeError, ValueError) as error:
            bad.add(number, str(error))
    bad.stop()
