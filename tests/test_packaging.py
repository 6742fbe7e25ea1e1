"""What is installed is what is here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


LARGEST = 100_000_000  # bytes of a wheel


def built(project: Path, folder: Path) -> set[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    assert made.stat().st_size < LARGEST
    return set(zipfile.ZipFile(made).namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_the_wheel_carries_the_bundled_model(wheel, name):
    assert f"crossrank/bundled/mini-en/{name}" in wheel


def test_the_wheel_carries_every_file_of_the_package(wheel):
    files = {path for path in (ROOT / "crossrank").rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= wheel


def test_the_wheel_carries_nothing_but_the_package(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"crossrank"}


def test_the_companion_carries_its_model_and_says_where(tmp_path):
    names = built(ROOT / "models" / "mini-multilingual", tmp_path)
    model = "crossrank_mini_multilingual/mini-multilingual"
    assert {f"{model}/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md")} <= names
    assert "crossrank_mini_multilingual-0.1.0.dist-info/entry_points.txt" in names
