"""The command line in this process: what it wrote where, and its exit code."""

from __future__ import annotations

import json
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
