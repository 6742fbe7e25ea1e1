"""What is installed is what is here."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_the_wheel_carries_the_bundled_model(wheel, name):
    assert f"crossrank/bundled/mini-en/{name}" in wheel


def test_the_wheel_carries_every_file_of_the_package(wheel):
    files = {path for path in (ROOT / "crossrank").rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= wheel


def test_the_wheel_carries_nothing_but_the_package(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"crossrank"}
