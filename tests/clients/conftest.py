"""A server in a process of its own, and what every client's answer is compared with.

The clients' own requirements do not mix with ours, so `make test-clients` installs them into an environment of their
own, .clients, and runs this folder there.

A client that is not installed is skipped by name.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossrank import Reranker
from crossrank.ranking import best_first

ROOT = Path(__file__).resolve().parents[2]
KEY = "test-key"
QUERY = "Which planet is the largest?"
DOCUMENTS = [
    "Rivers carry sand to the sea.",
    "Jupiter is the largest planet of the solar system.",
    "",
    "Mercury is the smallest planet.",
    "Jupiter is the largest planet of the solar system.",
    "A recipe for bread needs flour, water and salt.",
]


@dataclass(frozen=True)
class Target:
    """Where the server is, and what it should say. order: indices, best first; scores: by index."""

    url: str
    scores: list[float]

    @property
    def order(self) -> list[int]:
        return best_first(self.scores)

    def check(self, pairs: list[tuple[int, float]], count: int | None = None) -> None:
        """(index, score) pairs as a client returned them are the first `count` of the ranking."""
        expected = self.order[:count]
        assert [index for index, _ in pairs] == expected
        assert [score for _, score in pairs] == pytest.approx([self.scores[index] for index in expected], abs=1e-5)

    def check_texts(self, pairs: list[tuple[str, float]], count: int | None = None) -> None:
        """The same for clients that return texts and no indices."""
        expected = self.order[:count]
        assert [text for text, _ in pairs] == [DOCUMENTS[index] for index in expected]
        assert [score for _, score in pairs] == pytest.approx([self.scores[index] for index in expected], abs=1e-5)


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """The bundled model behind a key, in float32."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "crossrank", "serve", "--port", str(port), "--api-key", KEY, "--device", "cpu"]
    env = {**os.environ, "NO_PROXY": "127.0.0.1"}
    server = subprocess.Popen([*command, "--no-playground"], cwd=ROOT, env=env)
    try:
        end = time.monotonic() + 90
        while not answers(f"{url}/ready"):
            assert server.poll() is None
            assert time.monotonic() < end, "the server did not become ready"
            time.sleep(0.2)
        reranker = Reranker.load(device="cpu")
        yield Target(url, reranker.score([(QUERY, document) for document in DOCUMENTS]))
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
