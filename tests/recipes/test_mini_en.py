"""The recipe of mini-en on a hundred and twenty facts: pools, states, candidates, training, a folder that loads."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint

RECIPE = "dual"


@pytest.fixture(scope="module")
def prepared(recipe, english_base, english_data, tmp_path_factory):
    """work/texts, work/start, work/states and work/candidates of two sources."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:

        def call(name, *arguments):
            patch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
            recipe(name).main()

        call("texts", "--data", english_data, "--only", "tldr", "strategyqa_facts", "--out", work / "texts")
        call("start", "--base", english_base, "--texts", work / "texts", "--out", work / "start")
        states = ("--model", work / "start", "--texts", work / "texts", "--out", work / "states")
        call("states", *states)
        call("choose", "--texts", work / "texts", "--states", work / "states", "--out", work / "candidates")
    return work


def test_the_start_scores_by_cosine_and_words(prepared):
    reranker = Reranker.load(prepared / "start", device="cpu")
    assert reranker.checkpoint.architecture == "dual"
    documents = ["In Delft, salt is sold at the harbour.", "In Delft, bread is sold at the harbour.", "It rained."]
    assert [hit.index for hit in reranker.rank("where is salt sold in Delft", documents)] == [0, 1, 2]


def test_candidates_hold_the_answer_first_and_the_cosine_of_each(prepared):
    arrays = dict(np.load(prepared / "candidates" / "en_tldr.npz"))
    assert arrays["documents"].shape == (120, 24)
    assert arrays["label"][:, 0].all()
    assert (arrays["cosines"][:, 0] > arrays["cosines"][:, 1:].mean(1)).mean() > 0.9


def test_scores_from_kept_states_are_the_engines_own(recipe, prepared):
    lists, train = recipe("lists"), recipe("train")
    pools = lists.open_pools(prepared / "states", prepared / "candidates")
    sampled = lists.sample(pools, [1.0, 1.0], random.Random(0))
    assert sampled.label.shape == (lists.QUERIES, lists.GROUP)
    assert sampled.label.any(1).all()
    model = read_checkpoint(prepared / "start").model
    with torch.inference_mode():
        mix, pieces = model.head.mix.weight[0], model.head.pieces.weight[:, 0]
        apart = train.teacher_of(sampled, mix, pieces) - train.scores_of(model, sampled)
        assert apart.std() < 1e-4, "before training, cosine and words are all there is"
        kept, computed = train.scores_of(model, sampled), model(sampled.batch).view(sampled.label.shape)
    assert torch.allclose(kept, computed, atol=2e-2), "states are kept in fp16"


def test_training_ends_in_a_model_that_loads_and_is_not_done_twice(called, prepared, tmp_path, capsys):
    options = ("--model", prepared / "start", "--states", prepared / "states")
    options += ("--candidates", prepared / "candidates", "--out", tmp_path / "run", "--pairs", 180)
    called("train", *options)
    assert "held out: model bi-encoder: en" in capsys.readouterr().out
    called("train", *options)
    assert "step" not in capsys.readouterr().out
    before, after = (
        read_checkpoint(folder).model.state_dict() for folder in (prepared / "start", tmp_path / "run/model")
    )
    moved = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert not [name for name in moved if name.startswith(("embeddings.", "blocks.0.", "blocks.5."))]
    assert {"marks.weight", "blocks.7.down.weight", "head.mix.weight"} <= moved
    scores = Reranker.load(tmp_path / "run/model", device="cpu").score(
        [("salt in Delft", "In Delft, salt."), ("a", "b")]
    )
    assert scores[0] > scores[1]
