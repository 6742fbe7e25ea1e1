"""Files and standard input -> numbered lines of text -> documents and pairs.

A line is text when it is UTF-8 without NUL bytes; a byte order mark at the start is dropped, and so is the carriage
return of a Windows line. Blank lines are skipped and count for nothing but the line number.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from crossrank.errors import InputError

__all__ = ["Format", "Line", "Source", "opened", "parsed", "read_documents"]


class Format(StrEnum):
    """How `rank` reads its input. auto: JSONL if every line that is not blank begins with { or ", else lines."""

    auto = "auto"
    lines = "lines"
    jsonl = "jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank, counted from 1."""

    number: int
    raw: bytes
    source: str

    @property
    def where(self) -> str:
        """FILE:LINE, as compilers write it."""
        return f"{self.source}:{self.number}"

    @property
    def text(self) -> str:
        """The line without its end. InputError when it is not text."""
        if b"\0" in self.raw:
            raise InputError(f"{self.where}: a NUL byte, so this is no text file; give UTF-8 lines or JSONL")
        try:
            return self.raw.decode("utf-8-sig" if self.number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            byte = self.raw[error.start]
            raise InputError(
                f"{self.where}: byte 0x{byte:02x} at column {error.start + 1} is not UTF-8; "
                "`iconv -f latin1 -t utf-8` may convert it"
            ) from error


@dataclass(frozen=True, slots=True)
class Source:
    """An open input, line by line. size: its bytes where they are known, for a progress bar."""

    name: str
    stream: Iterable[bytes]
    size: int | None

    def __iter__(self) -> Iterator[Line]:
        for number, raw in enumerate(self.stream, 1):
            text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if text.strip(b" \t\r\n"):
                yield Line(number, raw, self.name)


@contextmanager
def opened(path: Path | None) -> Iterator[Source]:
    """A file, or standard input for None and `-`. InputError when it cannot be read."""
    if path is None or str(path) == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed; give a FILE")
        if sys.stdin.isatty():
            sys.stderr.write("crossrank: reading the terminal; end with Ctrl-D\n")
        yield Source("stdin", sys.stdin.buffer, None)
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    with stream:
        size = path.stat().st_size if path.is_file() else None
        yield Source(str(path), stream, size)


def parsed(line: Line) -> object:
    """The JSON value on a line. InputError when there is none."""
    try:
        return json.loads(line.text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise InputError(f"{line.where}: JSON nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{line.where}: not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise InputError(f"{line.where}: not JSON: {error}") from error


def read_documents(source: Source, form: Format) -> list[str | dict[str, object]]:
    """All documents of an input: lines of text, or JSON strings and objects.

    Raises InputError with file and line for the first that is neither.
    """
    lines = list(source)
    guessed = form is Format.auto and bool(lines) and all(_begins_as_json(line) for line in lines)
    if form is not Format.jsonl and not guessed:
        return [line.text for line in lines]
    documents = []
    for line in lines:
        try:
            documents.append(_document(line))
        except InputError as error:
            if guessed:
                reason = 'every line begins with { or ", so they are read as JSONL; --format lines reads them as text'
                raise InputError(f"{error} ({reason})") from error
            raise
    return documents


def _document(line: Line) -> str | dict[str, object]:
    value = parsed(line)
    if isinstance(value, (str, dict)):
        return value
    raise InputError(f"{line.where}: a document is a JSON string or object, not {_kind(value)}")


def _begins_as_json(line: Line) -> bool:
    raw = line.raw.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.raw
    return raw.lstrip()[:1] in (b"{", b'"')


def _kind(value: object) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return "a number"
        case Mapping():
            return "an object"
        case str():
            return "a string"
    return "a list"


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
