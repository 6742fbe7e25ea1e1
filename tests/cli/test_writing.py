"""Standard output and standard error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from crossrank.cli.writing import counted, progress, write_json


def test_json_is_utf8_and_one_line(capfdbinary):
    write_json({"document": "naïve 中\nline"})
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == '{"document": "naïve 中\\nline"}\n'.encode()


def test_a_lone_surrogate_goes_out_escaped_as_it_came_in(capfdbinary):
    write_json({"document": "\ud800 é"})
    sys.stdout.flush()
    out = capfdbinary.readouterr().out
    assert json.loads(out) == {"document": "\ud800 é"}


@pytest.mark.parametrize(("number", "words"), [(0, "0 pairs"), (1, "1 pair"), (1204, "1,204 pairs")])
def test_counts_read_as_english(number, words):
    assert counted(number, "pair") == words
    assert counted(2, "query", "queries") == "2 queries"


def test_progress_is_silent_where_standard_error_is_no_terminal():
    with progress("ranking") as advance:
        assert advance is None


@pytest.mark.parametrize(
    ("patience", "term", "shows"), [(0, "xterm", True), (1000, "xterm", False), (0, "dumb", False)]
)
def test_progress_shows_for_long_work_where_it_can_be_drawn(patience, term, shows):
    code = (
        "from crossrank.cli import writing\n"
        f"writing.PATIENCE_SECONDS = {patience}\n"
        "with writing.progress('ranking') as advance:\n"
        "    if advance: advance(1, 4); advance(2, 4)\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=theirs, check=True, env={**os.environ, "TERM": term, "COLUMNS": "80"}
    )
    os.write(theirs, b"end")
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert ("ranking" in shown and "50%" in shown) is shows
    assert shows or shown == "end"
