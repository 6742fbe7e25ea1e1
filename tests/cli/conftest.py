"""The command line in this process: what it wrote where, and its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossrank.cli import app
from tests import checkpoints


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict]:
        """Standard output as JSONL."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A tiny MS MARCO MiniLM, 512 tokens."""
    return checkpoints.bert().write(tmp_path_factory.mktemp("cli") / "minilm")


@pytest.fixture(scope="session")
def run():
    """run("rank", "--query", ..., stdin=b"..."): an error that is not reported as one line is raised here."""

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, prog_name="crossrank")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def terminal():
    """terminal("rank", ..., stdin=b"..."): what a terminal of 80 columns shows of a process of its own.

    Without `stdin` the terminal is its standard input too, with end-of-file typed.
    """

    def terminal(*arguments: object, stdin: bytes | None = None) -> str:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "crossrank", *(str(argument) for argument in arguments)]
        if stdin is None:
            os.write(ours, b"\x04")
        given = {"stdin": theirs} if stdin is None else {"input": stdin}
        subprocess.run(command, stdout=theirs, stderr=theirs, check=True, env=environment, **given)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux, once all is read and nobody writes
            pass
        os.close(ours)
        return shown.decode().replace("\r\n", "\n")

    return terminal
