from __future__ import annotations

import pytest
import torch

from crossrank import Reranker
from crossrank.checkpoint import read_tensors
from crossrank.errors import CheckpointError, InputError
from crossrank.train.students import Plan, build_student
from tests.checkpoints import RECIPES, bert, jina_b, jina_v1
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 5, n), letters(n * n % 37, n + 100)) for n in range(8)]
BERTS = ("bert", "xlm_roberta", "jina_v2")


def scores(folder):
    return Reranker.load(folder, device="cpu").score(PAIRS, raw=True)


@pytest.mark.parametrize("kind", [*BERTS, "jina_v1"])
def test_a_student_as_wide_as_its_teacher_is_its_teacher(kind, tmp_path):
    teacher = RECIPES[kind]().write(tmp_path / "teacher")
    width = 48 if kind == "jina_v1" else 32
    build_student(teacher, tmp_path / "student", Plan(width=width, inner=2 * width))
    assert scores(tmp_path / "student") == scores(teacher)


@pytest.mark.parametrize("kind", BERTS)
def test_a_narrower_student_has_the_sizes_asked_for(kind, tmp_path):
    built = build_student(RECIPES[kind]().write(tmp_path / "teacher"), tmp_path / "student", Plan(width=16))
    assert (built.width, built.heads, built.inner) == (16, 2, 32)
    assert built.parameters < built.teacher_parameters / 2
    assert len(set(scores(tmp_path / "student"))) > 1


@pytest.mark.parametrize("kind", [*BERTS, "jina_v1"])
def test_neurons_that_do_nothing_are_the_first_to_go(kind, tmp_path):
    """Where half of the neurons lead nowhere, a student with the other half scores as its teacher does."""
    recipe = RECIPES[kind]()
    dead = {}
    for name, tensor in recipe.tensors.items():
        if name.endswith(("fc2.weight", "mlp.wo.weight")) or (
            name.endswith(".output.dense.weight") and ".attention." not in name
        ):
            dead[name] = tensor.clone()
            dead[name][:, ::2] = 0
    assert dead
    inner = next(iter(dead.values())).shape[1]
    teacher = recipe.with_tensors(dead).write(tmp_path / "teacher")
    build_student(teacher, tmp_path / "student", Plan(inner=inner // 2))
    assert scores(tmp_path / "student") == pytest.approx(scores(teacher), abs=1e-5)


def test_a_head_whose_values_are_nothing_and_hidden_units_that_nobody_reads_are_the_first_to_go(tmp_path):
    """Units 8 to 15 and head 1 do nothing in any layer; the student must have none of them."""
    gone = slice(8, 16)
    tensors = {}
    for name, tensor in bert().tensors.items():
        changed = tensor.clone()
        if ".self.value." in name:
            changed[gone] = 0
        if name.endswith("LayerNorm.weight"):
            changed[gone] = 0
        tensors[name] = changed
    teacher = bert().with_tensors(tensors).write(tmp_path / "teacher")
    build_student(teacher, tmp_path / "student", Plan(width=24, inner=64))
    _, new = read_tensors(tmp_path / "student")
    kept = [n for n in range(32) if not 8 <= n < 16]
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(new[words], tensors[words][:, kept])
    query = "bert.encoder.layer.1.attention.self.query.weight"
    assert torch.equal(new[query], tensors[query][kept][:, kept])


def test_a_jinabert_keeps_its_heads(tmp_path):
    with pytest.raises(InputError, match="narrow the BERT it is built of"):
        build_student(jina_v1().write(tmp_path / "teacher"), tmp_path / "student", Plan(width=24))


def test_a_layout_without_rules_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no rule says how this tensor is narrowed"):
        build_student(jina_b().write(tmp_path / "teacher"), tmp_path / "student", Plan(inner=8))
