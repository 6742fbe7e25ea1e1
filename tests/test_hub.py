"""From a name to a folder. The hub itself is never asked: these tests run without a network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest

from crossrank import ModelNotFound, Reranker, hub
from tests.checkpoints import bert, tiny


def test_a_path_is_a_folder(tmp_path):
    assert hub.find(tmp_path) == tmp_path
    assert hub.find(str(tmp_path)) == tmp_path


def test_a_path_from_home_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert hub.find("~/model") == tmp_path / "model"


def test_a_folder_here_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert hub.find("org/model") == Path("org/model")


def test_no_name_is_the_bundled_model():
    assert hub.find() == hub.find("mini-en") == hub.BUNDLED / "mini-en"
    assert "mini-en" in hub.bundled_names()


def test_a_companion_package_brings_its_model(tmp_path, monkeypatch):
    told = tmp_path / "crossrank_toy-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: crossrank-toy\nVersion: 1\n")
    (told / "entry_points.txt").write_text("[crossrank.models]\ntoy = crossrank_toy\n")
    bert().write(tmp_path / "crossrank_toy" / "toy")
    (tmp_path / "crossrank_toy" / "__init__.py").write_text("raise AssertionError('it is data, and not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert hub.find("toy") == tmp_path / "crossrank_toy" / "toy"
    assert {"toy", "mini-en"} <= set(hub.bundled_names())
    assert Reranker.load("toy", device="cpu").rank("bees", ["red", "bees"])


def test_a_companion_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(hub.COMPANIONS, "toy", "crossrank-toy")
    with pytest.raises(ModelNotFound, match="'toy' is a package of its own, which is not installed: crossrank-toy"):
        hub.find("toy")


@pytest.mark.parametrize("name", ["", "nothing-of-this-name", "./absent/folder", "~/absent/x", "a/b/c", "org/"])
def test_a_name_that_is_nothing_says_what_it_could_be(name):
    with pytest.raises(ModelNotFound, match=r"neither a folder here, .* \(.*mini-en.*\), nor a hub name"):
        hub.find(name)


def test_a_hub_name_that_cannot_be_had_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match=r"could not be had from the hub .*`hf download org/absent"):
        hub.find("org/absent")


def test_a_name_that_the_hub_would_refuse_is_not_found(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound):
        hub.find("org/what is this?")


def test_a_model_in_the_hubs_cache_loads_offline(tmp_path, monkeypatch):
    cached(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: _cached(tmp_path, name, options))
    pairs = [("the fox", "a red fox")]
    assert Reranker.load("org/cached").score(pairs) == tiny("bert").score(pairs)


class Between(BaseHTTPRequestHandler):
    """What may stand between us and the hub, by `mode`: a proxy, a line that drops, a portal, another service."""

    mode = ""

    def do_GET(self) -> None:
        if self.mode == "dropped":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(403 if self.mode == "refused" else 200)
        self.end_headers()
        self.wfile.write({"portal": b"<html>please sign in</html>", "strange": b'{"a": 1}'}.get(self.mode, b""))

    do_HEAD = do_CONNECT = do_GET

    def log_message(self, *_: object) -> None:
        pass


FINDS = """
from crossrank import ModelNotFound, hub
print(hub.find("org/cached"))
try:
    hub.find("org/absent")
except ModelNotFound as error:
    print(error)
"""


@pytest.mark.parametrize("mode", ["refused", "dropped", "portal", "strange"])
def test_a_model_in_the_hubs_cache_loads_whatever_stands_between(mode, tmp_path):
    folder = cached(tmp_path / "hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Mode", (Between,), {"mode": mode}))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    # In a process of its own: huggingface_hub reads these once.
    told = {"HTTPS_PROXY": address} if mode == "refused" else {"HF_ENDPOINT": address}
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGINGFACE_"))}
    ours = {name: value for name, value in ours.items() if not name.upper().endswith("_PROXY")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", FINDS],
            env={**ours, **told, "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    found, absent = done.stdout.splitlines()
    assert found == str(folder)
    assert "'org/absent' is not a folder here and could not be had from the hub" in absent
    assert "LocalEntryNotFound" not in absent  # what the network did, not that the cache lacks it too


def test_a_name_that_no_folder_can_have_is_not_found():
    with pytest.raises(ModelNotFound, match="cannot be looked for as a folder: File name too long"):
        hub.find("x" * 300)


def cached(cache: Path) -> Path:
    """Put org/cached into a cache of the hub's; returns its folder."""
    commit = "0" * 40
    entry = cache / "models--org--cached"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text(commit)
    return bert().write(entry / "snapshots" / commit)


def _cached(cache: Path, name: str, options: dict) -> str:
    assert not any(pattern.endswith((".py", "*")) for pattern in options["allow_patterns"])
    return download(name, cache_dir=cache, local_files_only=True, **options)


download = huggingface_hub.snapshot_download
