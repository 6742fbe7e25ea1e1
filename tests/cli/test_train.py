from __future__ import annotations

import json

import pytest

from tests.train.worlds import write_world


@pytest.fixture
def recipe(tmp_path):
    return write_world(tmp_path)


def test_a_recipe_becomes_a_model_that_ranks(run, recipe, tmp_path):
    ran = run("train", recipe, "--into", tmp_path / "out", "--cpu", "--set", "labels.steps=12")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[1].startswith("before training: nDCG@10 dev ")
    assert ran.err.rstrip().endswith(f"the model is in {tmp_path / 'out'}")
    assert json.loads((tmp_path / "out" / "training.json").read_text())["recipe"]["stage"][0]["steps"] == 12
    ranked = run("rank", "--model", tmp_path / "out", "--query", "fox", "--json", stdin=b"a fox\nparis\n")
    assert ranked.code == 0, ranked.err


def test_a_key_that_is_unknown_is_one_line_and_an_exit_code(run, recipe, tmp_path):
    ran = run("train", recipe, "--into", tmp_path / "out", "--set", "labels.learning_rat=1")
    assert (ran.code, ran.out) == (3, "")
    assert "unknown key 'learning_rat'; did you mean 'learning_rate'?" in ran.err


def test_a_run_that_collapses_is_one_line_and_an_exit_code(run, recipe, tmp_path):
    options = ["labels.learning_rate=3.0", "labels.schedule=constant", "labels.warmup=0", "labels.steps=40"]
    ran = run("train", recipe, "--into", tmp_path / "out", "--cpu", *(f"--set={option}" for option in options))
    assert ran.code == 1
    assert "crossrank: training stopped at step" in ran.err.splitlines()[-1]
