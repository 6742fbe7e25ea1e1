"""The recipe of tiny-en: a student of the bundled model, distilled for a few steps, loads in the published layout."""

from __future__ import annotations

import json

import pytest

from crossrank import Limits, Reranker
from crossrank.hub import find
from crossrank.train.students import Plan, build_student

RECIPE = "tiny-en"


def test_from_mini_en_to_a_student_that_loads(called, english_candidates, tmp_path, capsys):
    build_student(find("mini-en"), tmp_path / "student", Plan(layers=4, inner=768, jinabert=True))
    options = ("--student", tmp_path / "student", "--data", english_candidates, "--out", tmp_path / "run")
    called("distil", *options, "--pairs", 200)
    assert "held out: tiny-en | mini-en, bi-encoder, BM25" in capsys.readouterr().out
    reranker = Reranker.load(tmp_path / "run" / "model", device="cpu", limits=Limits(max_length=8192))
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["JinaBertModel"]
    assert Reranker.load(tmp_path / "run" / "model", device="cpu").limits.max_length == 256
    ranking = reranker.rank("where is salt sold", ["salt " * 3000, "It rained."])
    assert ranking[0].windows == 1
    assert ranking[0].tokens == pytest.approx(3006, abs=2)
