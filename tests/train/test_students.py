from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from crossrank import Reranker
from crossrank.checkpoint import read_tensors
from crossrank.errors import CheckpointError, InputError
from crossrank.train.students import Plan, build_student, spread
from tests.checkpoints import RECIPES, bert
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 5, n), letters(n * n % 37, n + 100)) for n in range(8)]


def scores(folder):
    return Reranker.load(folder, device="cpu").score(PAIRS, raw=True)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_student_with_all_layers_is_its_teacher_score_for_score(kind, tmp_path):
    teacher = RECIPES[kind]().write(tmp_path / "teacher")
    built = build_student(teacher, tmp_path / "student", Plan())
    assert scores(tmp_path / "student") == scores(teacher)
    assert built.parameters == built.teacher_parameters


@pytest.mark.parametrize("kind", sorted(RECIPES.keys() - {"dual", "modernbert"}))
def test_a_student_has_the_layers_that_were_picked(kind, tmp_path):
    """Layers that are copies of one another: then it must not matter which are picked, but how many."""
    recipe = RECIPES[kind](layers=3)
    same = {name: recipe.tensors[_of_layer_0(name)].clone() for name in recipe.tensors}
    teacher = recipe.with_tensors(same).write(tmp_path / "teacher")
    found = []
    for pick in [(0, 2), (1, 0), (2, 1)]:
        folder = tmp_path / f"{pick[0]}{pick[1]}"
        assert build_student(teacher, folder, Plan(layers=pick)).layers == pick
        found.append(scores(folder))
    assert found[0] == found[1] == found[2] != scores(teacher)


def _of_layer_0(name):
    for stem in ("encoder.layer.", "encoder.layers."):
        if stem in name:
            head, _, tail = name.partition(stem)
            return f"{head}{stem}0.{tail.partition('.')[2]}"
    return name


def test_a_modernbert_student_keeps_each_layers_reach(tmp_path):
    """Layers 0 and 3 of six see all, the others neighbours."""
    teacher = RECIPES["modernbert"](layers=6).write(tmp_path / "teacher")
    assert build_student(teacher, tmp_path / "student", Plan(layers=(0, 2, 3))).layers == (0, 2, 3)
    _, old = read_tensors(teacher)
    _, new = read_tensors(tmp_path / "student")
    assert torch.equal(new["model.layers.2.attn.Wqkv.weight"], old["model.layers.3.attn.Wqkv.weight"])
    student = Reranker.load(tmp_path / "student", device="cpu").checkpoint
    assert [block.attention.window for block in student.model.blocks] == [None, 8, None]
    with pytest.raises(InputError, match="first layer has no norm before it"):
        build_student(teacher, tmp_path / "other", Plan(layers=(1, 2)))
    with pytest.raises(CheckpointError, match="no rule says how this tensor is narrowed"):
        build_student(teacher, tmp_path / "other", Plan(width=16))
    assert not (tmp_path / "other").exists()


def test_layers_that_are_picked_in_order_keep_their_own_weights(tmp_path):
    teacher = bert(layers=4).write(tmp_path / "teacher")
    build_student(teacher, tmp_path / "student", Plan(layers=(1, 3)))
    _, old = read_tensors(teacher)
    _, new = read_tensors(tmp_path / "student")
    for name, tensor in new.items():
        source = name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")
        assert torch.equal(tensor, old[source]), name


def test_a_jinabert_of_four_layers_out_of_six_keeps_its_slopes(tmp_path):
    """Four layers alone would mean another tail of slopes to whoever loads it."""
    teacher = RECIPES["jina_v1"](layers=6).write(tmp_path / "teacher")
    build_student(teacher, tmp_path / "student", Plan(layers=4))
    settings = Reranker.load(tmp_path / "student", device="cpu").checkpoint.settings
    assert (settings["num_hidden_layers"], settings["alibi_tail"]) == (4, "canonical")


@pytest.mark.parametrize(
    ("total", "count", "layers"),
    [(12, 6, (0, 2, 4, 7, 9, 11)), (12, 12, tuple(range(12))), (6, 3, (0, 2, 5)), (6, 2, (0, 5)), (3, 1, (0,))],
)
def test_layers_are_spread_with_the_first_and_the_last_among_them(total, count, layers):
    assert spread(total, count) == layers


def test_an_encoder_without_a_classifier_gets_a_new_one_when_asked(tmp_path):
    recipe = bert().renamed("bert.", "").without("classifier", "pooler")
    teacher = recipe.with_tensors({"cls.predictions.bias": torch.zeros(3)}).write(tmp_path / "teacher")
    with pytest.raises(CheckpointError, match="an encoder without a classifier"):
        build_student(teacher, tmp_path / "student", Plan())
    for seed in (1, 1, 2):
        folder = tmp_path / f"student{len(list(tmp_path.iterdir()))}"
        build_student(teacher, folder, Plan(new_head=seed))
    first, again, other = (scores(folder) for folder in sorted(tmp_path.glob("student?")))
    assert first == again != other
    assert np.ptp(first) > 0


def test_a_new_head_is_refused_where_there_is_one(tmp_path):
    teacher = bert().write(tmp_path / "teacher")
    with pytest.raises(InputError, match="teacher has a classifier; a new head is added to an encoder without one"):
        build_student(teacher, tmp_path / "student", Plan(new_head=0))
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("inputs", [None, ["input_ids", "attention_mask"]])
def test_a_new_head_scores_as_much_in_sentence_transformers(inputs, tmp_path):
    """A tokenizer that says nothing of token types gives them here, and none there."""
    teacher = bert().renamed("bert.", "").without("classifier", "pooler").write(tmp_path / "teacher")
    told = {"tokenizer_class": "TokenizersBackend", "pad_token": "[PAD]"}
    told |= {} if inputs is None else {"model_input_names": inputs}
    (teacher / "tokenizer_config.json").write_text(json.dumps(told))
    build_student(teacher, tmp_path / "student", Plan(new_head=0))
    theirs = CrossEncoder(str(tmp_path / "student"), device="cpu", num_labels=1)
    predicted = theirs.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(predicted, scores(tmp_path / "student"), atol=1e-6)


def test_the_tokenizer_and_the_settings_come_along(tmp_path):
    teacher = bert().changed(id2label={"0": "relevant"}).write(tmp_path / "teacher")
    (teacher / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    (teacher / "calibration.json").write_text("{}")
    build_student(teacher, tmp_path / "student", Plan(layers=1))
    found = sorted(path.name for path in (tmp_path / "student").iterdir())
    assert found == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    config = json.loads((tmp_path / "student" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["id2label"]) == (1, {"0": "relevant"})


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (Plan(layers=0), "1 to 3, not 0"),
        (Plan(layers=4), "1 to 3, not 4"),
        (Plan(layers=(0, 3)), "distinct numbers from 0 to 2, not 0, 3"),
        (Plan(layers=(1, 1)), "distinct numbers"),
        (Plan(layers=()), "distinct numbers"),
        (Plan(width=20), "a multiple of 8, a head's, from 8 to 32, not 20"),
        (Plan(width=64), "from 8 to 32, not 64"),
        (Plan(inner=0), "from 1 to 64, not 0"),
        (Plan(jinabert=True, max_length=0), "max_length should be at least 1"),
    ],
)
def test_a_plan_that_the_teacher_cannot_fill_is_refused_and_nothing_is_written(plan, complaint, tmp_path):
    teacher = bert().write(tmp_path / "teacher")
    with pytest.raises(InputError, match=complaint):
        build_student(teacher, tmp_path / "student", plan)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


@pytest.mark.parametrize(
    "plan", [Plan(layers=2), Plan(layers=(2, 1, 0)), Plan(width=16), Plan(inner=8), Plan(jinabert=True)]
)
def test_a_dual_model_has_no_part_that_a_student_could_do_without(plan, tmp_path):
    teacher = RECIPES["dual"]().write(tmp_path / "teacher")
    with pytest.raises(CheckpointError, match="'crossrank-dual', of which no part is left out"):
        build_student(teacher, tmp_path / "student", plan)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    teacher = bert().write(tmp_path / "teacher")
    with pytest.raises(InputError, match="is there already and not empty"):
        build_student(teacher, teacher, Plan(layers=1))
    (tmp_path / "empty").mkdir()
    build_student(teacher, tmp_path / "empty", Plan(layers=1))
    assert len(scores(tmp_path / "empty")) == len(PAIRS)
