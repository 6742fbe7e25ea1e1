"""The command itself: started, driven, and stopped by signals, as an operator would."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from crossrank import InputError, ModelNotFound, Reranker
from crossrank.cli import app
from crossrank.serve.app import Service
from crossrank.serve.options import ServeOptions, Source, read_source
from crossrank.serve.server import server_for
from tests.serve.conftest import answers, client, free_port, started, until

LARGE = {"query": "the river", "documents": ["a fox by the river " * 20] * 200}


def test_sigterm_under_load_loses_no_accepted_request(folder):
    port = free_port()
    with (
        started("--model", f"tiny={folder}", "--port", str(port), "--drain-delay", "1") as process,
        client(port) as http,
    ):
        until(lambda: answers(http) == 200, 60)
        statuses: list[int] = []
        refused: list[float] = []

        def work() -> None:
            # A connection each request, as after a load balancer has taken the server out.
            while not refused:
                try:
                    statuses.append(
                        httpx.post(f"{http.base_url}/v1/rerank", json=LARGE, timeout=30, trust_env=False).status_code
                    )
                except httpx.ConnectError:
                    refused.append(time.monotonic())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) > 4)
        before = len(statuses)
        process.send_signal(signal.SIGTERM)
        until(lambda: answers(http) == 503, 5)
        for thread in threads:
            thread.join(30)
        assert process.wait(30) == 0
    assert set(statuses) == {200}
    assert len(statuses) > before
    assert len(refused) >= 1


def test_a_flag_beats_its_variable_and_a_variable_beats_the_default(folder):
    port = free_port()
    variables = {"CROSSRANK_PORT": "1", "CROSSRANK_MODEL": f"named={folder}", "CROSSRANK_API_KEY": "one two"}
    with started("--port", str(port), **variables) as process, client(port) as http:
        until(lambda: answers(http) == 200, 60)
        for key in ("one", "two"):
            models = http.get("/v1/models", headers={"x-api-key": key}).json()
            assert models["data"][0]["id"] == "named"
        assert http.get("/v1/models").status_code == 401
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"model_loaded", "request"} <= {line.get("event") for line in lines}
    assert '"one"' not in log


@pytest.mark.slow
def test_a_unix_socket_will_do(folder, tmp_path):
    path = str(tmp_path / "rank.sock")
    with started("--model", f"tiny={folder}", "--uds", path, "--requests-per-minute", "100") as process:
        transport = httpx.HTTPTransport(uds=path)
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=10) as http:
            until(Path(path).exists, 60)
            until(lambda: answers(http) == 200, 60)
            assert http.post("/v1/rerank", json={"query": "q", "documents": ["d"]}).status_code == 200
            for caller in ("10.0.0.1", "10.0.0.2"):  # a proxy says who asks, and each has an allowance of its own
                told = http.post("/v1/rerank", json={}, headers={"x-forwarded-for": caller})
                assert told.headers["x-ratelimit-remaining-requests"] == "99"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": ("no/such/folder/at/all",)}, ModelNotFound, "no model"),
        ({"model": ("a=x?colour=red",)}, InputError, "only dtype and device"),
        ({"model": ("a=x", "a=y")}, InputError, "two models are named 'a'"),
        ({"dialect": "klingon"}, InputError, "is not one of jina"),
        ({"ssl_keyfile": "key.pem"}, InputError, "needs both"),
        ({"deadline": 0.0}, InputError, "more than 0 seconds"),
        ({"max_documents": 0}, InputError, "1 or more"),
        ({"requests_per_minute": 0}, InputError, "1 or more"),
        ({"drain_timeout": -1.0}, InputError, "0 seconds or more"),
        ({"keep_alive": float("inf")}, InputError, "0 seconds or more"),
        ({"port": 99_999}, InputError, "from 0 to 65535"),
        ({"api_key": ("a", " ")}, InputError, "api_key is empty"),
        ({"api_key_file": ""}, InputError, "api_key_file is empty"),
        ({"max_text_characters": 0}, InputError, "1 or more"),
        ({"log_level": "loud"}, InputError, "debug, info, warning, error"),
        ({"ssl_keyfile": "no.pem", "ssl_certfile": "no.pem"}, InputError, "no such file"),
        ({"max_length": 3}, InputError, "no room"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_starts(folder, fields, error, words):
    with pytest.raises(error, match=words):
        begin({"model": (str(folder),), **fields})


@pytest.mark.parametrize("name", ["api_key", "api_key_file"])
@pytest.mark.parametrize("blank", ["", " "])
def test_a_variable_for_keys_that_came_out_empty_does_not_open_the_server(name, blank):
    variables, flag = {f"CROSSRANK_{name.upper()}": blank}, "--" + name.replace("_", "-")

    def refusal(*flags: str) -> str:  # a level that is none ends the command where the variable does not
        return CliRunner().invoke(app, ["serve", "--log-level", "loud", *flags], env=variables).output

    assert "to let everyone in" in refusal()
    assert "log_level should be" in refusal(flag, "k")


def test_parts_of_a_second_are_kept(folder):
    options = ServeOptions(model=(str(folder),), keep_alive=0.5, drain_timeout=0.25)
    config = server_for(Service.of(options))[0].config
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (0.5, 0.25)


def begin(fields: dict) -> None:
    """What the command does before it listens, and then the load."""
    options = Service.of(ServeOptions(**fields)).options
    Reranker.load(options.sources[0].folder, limits=options.limits)


def test_a_model_is_called_by_its_name_its_folder_or_its_hub_name(folder, tmp_path):
    assert read_source(f"mine={folder}?dtype=int8") == Source("mine", str(folder), "int8", None)
    assert read_source(str(folder)).name == folder.name
    tried = tmp_path / "lr=1e-5" / "m"
    tried.mkdir(parents=True)
    assert read_source(f"{tried}?dtype=int8") == Source("m", str(tried), "int8", None)
    assert read_source(f"mine={tried}") == Source("mine", str(tried), None, None)
    assert read_source("org/model", dtype="bfloat16") == Source("org/model", "org/model", "bfloat16", None)
    assert [source.folder for source in ServeOptions().sources] == [None]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with started("--model", str(tmp_path), "--port", str(free_port())) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "no model.safetensors" in log


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with started("--model", f"tiny={folder}", "--port", str(port)) as process:
            _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"could not listen on 127.0.0.1:{port}" in log


@pytest.mark.slow
def test_tls_is_uvicorns(folder, tmp_path):
    openssl = shutil.which("openssl") or pytest.skip("no openssl")
    key, chain = str(tmp_path / "key.pem"), str(tmp_path / "chain.pem")
    making = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*making, *names, "-keyout", key, "-out", chain], check=True, capture_output=True)
    port = free_port()
    flags = ["--model", f"tiny={folder}", "--port", str(port), "--ssl-keyfile", key, "--ssl-certfile", chain]
    context = ssl.create_default_context(cafile=chain)
    with started(*flags), httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as http:
        until(lambda: answers(http) == 200, 60)
        assert http.post("/v1/rerank", json={"query": "q", "documents": ["d"]}).status_code == 200
