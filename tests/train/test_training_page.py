"""docs/training.md, done as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from crossrank.checkpoint import read_checkpoint
from crossrank.hub import find
from crossrank.train.bridge import PackedModule, cross_encoder
from crossrank.train.dev import measure, read_dev
from crossrank.train.losses import LOSSES
from crossrank.train.recipe import SCHEDULES, Dev, Mixed, Monitoring, Recipe, Stage
from crossrank.train.records import read_records
from tests.shown import LAUNCHER, ROOT

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+\.\d+(?:e-?\d+)?")
SMALL = {'("train.jsonl", 500), ("dev.jsonl", 50)': '("train.jsonl", 40), ("dev.jsonl", 8)', "steps = 60": "steps = 5"}


def section(title: str) -> list[tuple[str, str]]:
    """The blocks of a section, with their languages."""
    text = PAGE[PAGE.index(f"\n## {title}\n") + 1 :]
    return BLOCK.findall(text.partition("\n## ")[0])


def walk(folder: Path, changes: dict[str, str]) -> list[tuple[str, str]]:
    """Do the walk-through in a folder; what each command shows on the page, and what it printed."""
    (folder / "bin").mkdir()
    launcher = folder / "bin" / "crossrank"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    path = f"{launcher.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    shown = []
    for language, code in section("Ten minutes, from nothing"):
        for old, new in changes.items():
            code = code.replace(old, new)
        if language == "toml":
            (folder / "screws.toml").write_text(code)
        elif language == "text":
            shown[-1] = (code, shown[-1][1])
        else:
            command = [sys.executable, "-c", code] if language == "python" else ["sh", "-c", code]
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert done.returncode == 0, done.stdout
            shown.append(("", done.stdout))
    return [(page, printed) for page, printed in shown if page]


def test_the_walk_through_works_on_small_data(tmp_path):
    (page, trained), (_, ranked) = walk(tmp_path, SMALL)
    lines, wanted = ([NUMBER.sub("#", line) for line in text.splitlines()] for text in (trained, page))
    assert lines[-1] == wanted[-1]
    assert {wanted[1], wanted[-2]} <= set(lines)  # the baseline and the gain, printed
    assert json.loads(ranked).keys() == {"index", "score", "document"}
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 40


def test_the_baseline_is_the_one_that_the_page_shows(tmp_path):
    ((_, code),) = (block for block in section("Ten minutes, from nothing") if block[0] == "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    model = cross_encoder(PackedModule(read_checkpoint(find("mini-en"))), "cpu")
    met = measure(model, read_dev(Dev(path="dev.jsonl"), tmp_path))
    assert met == pytest.approx(float(re.search(r"training: nDCG@10 dev (\d\.\d+)", PAGE)[1]), abs=0.005)


@pytest.mark.slow
def test_the_walk_through_gains_what_it_shows(tmp_path):
    (page, trained), (answer, ranked) = walk(tmp_path, {})
    before, after = (float(re.search(rf"{name}: nDCG@10 dev (\d\.\d+)", page)[1]) for name in ("training", "screws"))
    met = [float(re.search(rf"{name}: nDCG@10 dev (\d\.\d+)", trained)[1]) for name in ("training", "screws")]
    assert met == pytest.approx([before, after], abs=0.02)
    assert json.loads(ranked)["index"] == json.loads(answer)["index"]


def test_every_shape_of_data_on_the_page_is_read(tmp_path):
    ((_, lines),) = (block for block in section("Data") if block[0] == "json")
    (tmp_path / "data.jsonl").write_text(lines)
    assert len(list(read_records(tmp_path / "data.jsonl"))) == len(lines.splitlines())


def test_the_python_on_the_page_runs():
    ((_, code),) = (block for block in section("From Python") if block[0] == "python")
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["loss"]).__name__ == "BinaryCrossEntropyLoss"


@pytest.mark.parametrize("kind", [Recipe, Stage, Dev, Mixed, Monitoring])
def test_every_key_of_a_recipe_is_on_the_page(kind):
    lacking = [field.name for field in fields(kind) if not re.search(rf"[`\[.]{field.name}[`\].]", PAGE)]
    assert lacking == []


@pytest.mark.parametrize("name", [*LOSSES, *SCHEDULES, *{key for loss in LOSSES.values() for key in loss.options}])
def test_every_loss_option_and_schedule_is_on_the_page(name):
    assert f"`{name}`" in PAGE
