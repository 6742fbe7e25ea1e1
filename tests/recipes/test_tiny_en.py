"""The recipe of tiny-en on a hundred and twenty facts: candidates, a teacher, a student of it that loads."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from crossrank import Limits, Reranker
from crossrank.train.students import Plan, build_student

RECIPE = "tiny-en"


def test_candidates_hold_the_answer_first_and_what_each_retriever_thinks(english_candidates):
    arrays = dict(np.load(english_candidates / "tldr.npz"))
    assert arrays["candidates"].shape == (120, 24)
    assert arrays["label"][:, 0].all()
    assert arrays["bm25"].max() == pytest.approx(1)
    assert (arrays["bm25"][:, 0] > arrays["bm25"][:, 1:].mean(1)).mean() > 0.9, "answers share their queries' words"
    assert np.abs(arrays["cosine"]).max() <= 1.001


def test_from_candidates_to_a_student_that_loads(called, english_base, english_candidates, tmp_path, capsys):
    options = ("--data", english_candidates, "--base", english_base, "--out", tmp_path / "run")
    called("train", *options, "--pairs", 90)
    assert "held out: model | bi-encoder BM25 teacher" in capsys.readouterr().out
    called("train", *options, "--pairs", 90)
    assert "step" not in capsys.readouterr().out, "a finished run is not trained again"
    called("export", "--state", tmp_path / "run" / "state.pt", "--out", tmp_path / "teacher", "--base", english_base)
    reranker = Reranker.load(tmp_path / "teacher", device="cpu")
    logits = reranker.score([("where is salt sold in Delft", text) for text in ("In Delft, salt.", "Rain.")], raw=True)
    assert len({round(logit, 3) for logit in logits}) == 2, "scores that are all alike rank nothing"
    written = json.loads((tmp_path / "teacher" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert reranker.limits.max_length == written["model_max_length"]

    # Of a teacher that trained for a moment only, the layer that was written is still unfit to be a gated one.
    plan = Plan(layers=(0, 1, 2, 3), inner=768, jinabert=True)
    build_student(tmp_path / "teacher", tmp_path / "student", plan)
    options = ("--teacher", tmp_path / "teacher", "--student", tmp_path / "student", "--data", english_candidates)
    called("distil", *options, "--out", tmp_path / "distilled", "--pairs", 200)
    assert "held out: tiny-en | teacher, bi-encoder, BM25" in capsys.readouterr().out
    model = tmp_path / "distilled" / "model"
    assert json.loads((model / "config.json").read_text(encoding="utf-8"))["architectures"] == ["JinaBertModel"]
    assert Reranker.load(model, device="cpu").limits.max_length == 256
    long = Reranker.load(model, device="cpu", limits=Limits(max_length=8192))
    ranking = long.rank("where is salt sold", ["salt " * 3000, "It rained."])
    (whole,) = (hit for hit in ranking if hit.index == 0)
    assert whole.windows == 1
    assert whole.tokens == pytest.approx(3006, abs=2)


def test_a_list_of_the_loss_is_a_query_with_an_answer_among_wrong_ones(recipe, english_candidates):
    train = recipe("train")
    lists = train.sample(train.open_pools(english_candidates), random.Random(0), train.LATE_ODDS)
    assert lists.label.shape == lists.teacher.shape == (len(lists.pairs) // train.GROUP, train.GROUP)
    assert lists.label.any(1).all()
    assert not lists.label.all(1).any()
