"""Real servers on loopback, with a small model of random weights: in a thread of this process, or as a command."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from crossrank import Reranker
from crossrank.serve.app import Service
from crossrank.serve.options import ServeOptions
from crossrank.serve.server import Server, server_for
from tests import checkpoints

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Live:
    """A running server."""

    url: str
    service: Service
    server: Server
    http: httpx.Client

    @property
    def app(self) -> FastAPI:
        return self.server.config.app

    def post(self, path: str, body: dict, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


Serve = Callable[..., "contextmanager[Live]"]


@contextmanager
def running(options: ServeOptions) -> Iterator[Live]:
    """A server with these options, ready: on a free port, or on the unix socket that they name."""
    listener = None if options.uds else socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}" if listener else "http://localhost"
    transport = httpx.HTTPTransport(uds=options.uds) if options.uds else None
    service = Service.of(options)
    server, failures = server_for(service)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener] if listener else None)))
    thread.start()
    # No proxy of the environment may stand between a test and its own server.
    with httpx.Client(base_url=url, timeout=30, trust_env=False, transport=transport) as http:
        try:
            until(lambda: server.started and (options.lazy or service.models.ready or failures))
            assert not failures, failures
            yield Live(url, service, server, http)
        finally:
            server.should_exit = True
            thread.join(30)
            if listener:
                listener.close()
    assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen]:
    """The command itself, as an operator starts it."""
    command = [sys.executable, "-m", "crossrank", "serve", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)


def answers(client: httpx.Client, path: str = "/ready") -> int:
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A checkpoint in the layout of cross-encoder/ms-marco-MiniLM, of random weights and 128 positions."""
    return checkpoints.bert(positions=128).write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def reranker(folder) -> Reranker:
    """The same model as the library loads it: what every answer is compared with."""
    return Reranker.load(folder, device="cpu")


@pytest.fixture
def serve(folder) -> Callable[..., object]:
    """serve(field=value, ...) as a context: a server of the small model with these options."""

    def start(**fields: object) -> object:
        return running(ServeOptions(**{"model": (f"tiny={folder}",), "device": "cpu", **fields}))

    return start


@pytest.fixture(scope="session")
def live(folder) -> Iterator[Live]:
    """One server with the default options, for tests that leave nothing behind in it."""
    with running(ServeOptions(model=(f"tiny={folder}",), device="cpu")) as server:
        yield server
