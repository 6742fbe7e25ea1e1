from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import gelu, layer_norm

from crossrank import Reranker, Text
from crossrank.checkpoint import read_tensors
from crossrank.errors import CheckpointError, InputError
from crossrank.train.alibi import constant_row
from crossrank.train.students import Plan, build_student
from tests.checkpoints import Recipe, bert, xlm_roberta
from tests.oracles import candding_scores
from tests.vocabularies import letters


@pytest.fixture
def teacher(tmp_path):
    return bert(layers=4, width=48, heads=12).write(tmp_path / "teacher")


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), width=st.integers(2, 64))
def test_what_a_layer_norm_gives_has_a_constant_that_a_row_can_read(seed, width):
    chance = torch.Generator().manual_seed(seed)
    gamma = 0.5 + torch.rand(width, generator=chance)
    beta = torch.randn(width, generator=chance) + 0.5
    x = torch.randn(20, width, generator=chance) * 10
    total = float((beta.double() / gamma.double()).sum())
    if abs(total) > 0.05:
        one = layer_norm(x, (width,), gamma, beta, 1e-12) @ constant_row(gamma, beta, "here")
        np.testing.assert_allclose(one, 1, atol=1e-3)


def test_the_gated_feed_forward_equals_the_plain_one(teacher, tmp_path):
    build_student(teacher, tmp_path / "student", Plan(jinabert=True))
    _, old = read_tensors(teacher)
    _, new = read_tensors(tmp_path / "student")
    x = torch.randn(50, 48, generator=torch.Generator().manual_seed(0))
    for layer in range(4):
        stem = f"bert.encoder.layer.{layer}"
        norm = f"{stem}.attention.output.LayerNorm"
        y = layer_norm(x, (48,), old[f"{norm}.weight"], old[f"{norm}.bias"], 1e-12)
        plain = gelu(y @ old[f"{stem}.intermediate.dense.weight"].T + old[f"{stem}.intermediate.dense.bias"])
        gate, value = (y @ new[f"{stem}.mlp.gated_layers.weight"].T).chunk(2, -1)
        np.testing.assert_allclose(gelu(gate) * value, plain, rtol=1e-3, atol=1e-4)
        assert torch.equal(new[f"{stem}.mlp.wo.weight"], old[f"{stem}.output.dense.weight"])
        assert torch.equal(new[f"{stem}.mlp.layernorm.bias"], old[f"{stem}.output.LayerNorm.bias"])


def test_a_student_has_the_published_names_and_shapes_and_reads_8192_tokens(teacher, tmp_path):
    build_student(teacher, tmp_path / "student", Plan(jinabert=True, layers=2))
    _, tensors = read_tensors(tmp_path / "student")
    layer = {name.removeprefix("bert.encoder.layer.1."): list(t.shape) for name, t in tensors.items() if "r.1." in name}
    assert layer == {
        **{f"attention.self.{part}.weight": [48, 48] for part in ("query", "key", "value")},
        **{f"attention.self.{part}.bias": [48] for part in ("query", "key", "value")},
        "attention.output.dense.weight": [48, 48],
        "attention.output.dense.bias": [48],
        "attention.output.LayerNorm.weight": [48],
        "attention.output.LayerNorm.bias": [48],
        "mlp.gated_layers.weight": [192, 48],
        "mlp.wo.weight": [48, 96],
        "mlp.wo.bias": [48],
        "mlp.layernorm.weight": [48],
        "mlp.layernorm.bias": [48],
    }
    rest = {name for name in tensors if ".layer." not in name}
    assert rest == {
        "bert.embeddings.word_embeddings.weight", "bert.embeddings.token_type_embeddings.weight",
        "bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.bias",
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    reranker = Reranker.load(tmp_path / "student", device="cpu")
    assert (reranker.checkpoint.architecture, reranker.checkpoint.max_length) == ("jinabert", 8192)
    prepared = reranker.prepare(Text(letters(3)), [Text(letters(8192 - 6, 1))])
    assert [len(filled) for filled in prepared.sequences] == [8192]


def test_another_engine_for_v1_tiny_gives_a_student_the_same_scores(teacher, tmp_path):
    build_student(teacher, tmp_path / "student", Plan(jinabert=True))
    _, tensors = read_tensors(tmp_path / "student")
    recipe = Recipe(json.loads((tmp_path / "student" / "config.json").read_text()), tensors, "wordpiece")
    documents = [letters(n, n) for n in (1, 9, 33, 200)]
    theirs = candding_scores(recipe, "jinaai/jina-reranker-v1-tiny-en", tmp_path / "home", letters(3, 1), documents)
    ours = Reranker.load(tmp_path / "student", device="cpu").score([(letters(3, 1), text) for text in documents])
    assert np.ptp(ours) > 0.01
    np.testing.assert_allclose(ours, theirs, atol=5e-5, rtol=0)  # the gate's constant is float32


def test_where_attention_and_positions_say_nothing_the_student_scores_as_its_teacher(tmp_path):
    """With values of zero, attention adds the same everywhere, wherever it looks: all that is left is carried over."""
    recipe = bert(width=48, heads=12, layers=2)
    flat = {}
    for name, tensor in recipe.tensors.items():
        if "position_embeddings" in name or "token_type" in name or ".self.value." in name:
            flat[name] = torch.zeros_like(tensor)
    folder = recipe.with_tensors(flat).write(tmp_path / "teacher")
    build_student(folder, tmp_path / "student", Plan(jinabert=True))
    pairs = [(letters(2, n), letters(n, n)) for n in (1, 5, 20)]
    ours, theirs = (Reranker.load(f, device="cpu").score(pairs, raw=True) for f in (tmp_path / "student", folder))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_tokenizer_is_told_of_the_length_and_of_token_types(teacher, tmp_path):
    (teacher / "tokenizer_config.json").write_text('{"model_max_length": 512, "do_lower_case": true}')
    build_student(teacher, tmp_path / "student", Plan(jinabert=True, max_length=4096))
    told = json.loads((tmp_path / "student" / "tokenizer_config.json").read_text())
    assert told == {
        "model_max_length": 4096, "do_lower_case": True,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }  # fmt: skip


def test_what_cannot_be_carried_over_is_refused(tmp_path):
    with pytest.raises(InputError, match="built of a BERT model"):
        build_student(xlm_roberta().write(tmp_path / "roberta"), tmp_path / "student", Plan(jinabert=True))
    relu = bert().changed(hidden_act="relu").write(tmp_path / "relu")
    with pytest.raises(InputError, match="hidden_act 'gelu', not 'relu'"):
        build_student(relu, tmp_path / "student", Plan(jinabert=True))
    norm = "bert.encoder.layer.1.attention.output.LayerNorm.bias"
    flat = bert().with_tensors({norm: torch.zeros(32)}).write(tmp_path / "flat")
    with pytest.raises(CheckpointError, match=r"layer\.1\..*: this layer norm gives no constant"):
        build_student(flat, tmp_path / "student", Plan(jinabert=True))
