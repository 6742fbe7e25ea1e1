"""From a name to a folder. The hub itself is never asked: these tests run without a network."""

from __future__ import annotations

from pathlib import Path

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
    commit = "0" * 40
    entry = tmp_path / "models--org--cached"
    bert().write(entry / "snapshots" / commit)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: _cached(tmp_path, name, options))
    pairs = [("the fox", "a red fox")]
    assert Reranker.load("org/cached").score(pairs) == tiny("bert").score(pairs)


def _cached(cache: Path, name: str, options: dict) -> str:
    assert not any(pattern.endswith((".py", "*")) for pattern in options["allow_patterns"])
    return download(name, cache_dir=cache, local_files_only=True, **options)


download = huggingface_hub.snapshot_download
