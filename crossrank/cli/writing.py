"""What commands write: JSONL on standard output, notes and progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["counted", "note", "progress", "write_json"]

# Work that is done sooner than this shows no progress bar.
PATIENCE_SECONDS = 0.7


def write_json(value: object, *, indent: int | None = None) -> None:
    """One JSON value and a line feed, in UTF-8 whatever the locale."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        line = text.encode()
    except UnicodeEncodeError:  # "\ud800" is a JSON string that no UTF-8 can hold; escaped it goes out as it came in
        line = json.dumps(value, indent=indent).encode()
    sys.stdout.buffer.write(line + b"\n")


def note(text: str) -> None:
    """A line for a person, on standard error."""
    sys.stderr.write(f"{text}\n")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """1 document, 1,204 documents."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for done and total that draws a bar on standard error; None where that can draw none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        yield None
        return
    columns = TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False)
    task = bar.add_task(label)
    began = time.monotonic()

    def advance(done: int, total: int) -> None:
        if time.monotonic() - began > PATIENCE_SECONDS:
            bar.start()
            bar.update(task, completed=done, total=total, refresh=True)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
