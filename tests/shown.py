"""The documents' examples: a fenced `sh` or `python` block, and the `text` block after it that shows what it prints.

`python -m tests.shown` runs them all and writes what they print into the documents; test_documents.py compares.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "errors.md")
EXAMPLE = re.compile(
    r"(?<=^```)(sh|python)\n((?:(?!^```).*\n)*?)```\n\n```text\n((?:(?!^```).*\n)*)(?=^```)", re.MULTILINE
)
LAUNCHER = f'#!/bin/sh\nexec "{sys.executable}" -m crossrank "$@"\n'


@dataclass(frozen=True, slots=True)
class Example:
    """A block of a document, and what it is said to print."""

    document: Path
    language: str
    code: str
    output: str


def examples(document: Path) -> list[Example]:
    return [Example(document, *match.groups()) for match in EXAMPLE.finditer(document.read_text(encoding="utf-8"))]


def printed(language: str, code: str) -> str:
    """What a terminal of 80 columns shows that can do nothing but print, in the checkout's folder."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder, "crossrank")
        launcher.write_text(LAUNCHER)
        launcher.chmod(0o755)
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "80", "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", code] if language == "python" else ["sh", "-c", code]
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        ):
            os.close(theirs)
            text = b""
            # A terminal whose last user has gone answers with an error, on Linux, or with nothing.
            try:
                while part := os.read(ours, 65536):
                    text += part
            except OSError:
                pass
            os.close(ours)
    lines = text.decode().replace("\r\n", "\n").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def refresh(document: Path) -> None:
    """Write what the examples print today into a document."""

    def rewritten(match: re.Match[str]) -> str:
        return f"{match[1]}\n{match[2]}```\n\n```text\n{printed(match[1], match[2])}"

    document.write_text(EXAMPLE.sub(rewritten, document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    for each in DOCUMENTS:
        refresh(each)
