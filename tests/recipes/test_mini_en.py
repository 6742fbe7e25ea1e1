"""The recipe of mini-en on a hundred and twenty facts: from candidates to a folder that loads."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from crossrank import Reranker

RECIPE = "mini-en"


def test_candidates_hold_the_answer_first_and_what_each_retriever_thinks(english_candidates):
    arrays = dict(np.load(english_candidates / "tldr.npz"))
    assert arrays["candidates"].shape == (120, 24)
    assert arrays["label"][:, 0].all()
    assert arrays["bm25"].max() == pytest.approx(1)
    assert (arrays["bm25"][:, 0] > arrays["bm25"][:, 1:].mean(1)).mean() > 0.9, "answers share their queries' words"
    assert np.abs(arrays["cosine"]).max() <= 1.001


def test_from_candidates_to_a_model_that_loads(called, english_base, english_candidates, tmp_path, capsys):
    options = ("--data", english_candidates, "--base", english_base, "--out", tmp_path / "run")
    called("train", *options, "--pairs", 90)
    assert "held out: model | bi-encoder BM25 teacher" in capsys.readouterr().out
    called("train", *options, "--pairs", 90)
    assert "step" not in capsys.readouterr().out, "a finished run is not trained again"
    called("export", "--state", tmp_path / "run" / "state.pt", "--out", tmp_path / "model", "--base", english_base)
    reranker = Reranker.load(tmp_path / "model", device="cpu")
    logits = reranker.score([("where is salt sold in Delft", text) for text in ("In Delft, salt.", "Rain.")], raw=True)
    assert len({round(logit, 3) for logit in logits}) == 2, "scores that are all alike rank nothing"
    written = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert reranker.limits.max_length == written["model_max_length"]


def test_a_list_of_the_loss_is_a_query_with_an_answer_among_wrong_ones(recipe, english_candidates):
    train = recipe("train")
    lists = train.sample(train.open_pools(english_candidates), random.Random(0), train.LATE_ODDS)
    assert lists.label.shape == lists.teacher.shape == (len(lists.pairs) // train.GROUP, train.GROUP)
    assert lists.label.any(1).all()
    assert not lists.label.all(1).any()
