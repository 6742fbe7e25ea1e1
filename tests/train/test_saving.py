from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.train.bridge import PackedModule
from crossrank.train.saving import install, published, write_model
from tests.checkpoints import RECIPES
from tests.train.worlds import write_base

PAIRS = [("what is the capital of france", "paris"), ("a red fox", "the fox is red"), ("paris", "")]


def moved(folder):
    """The checkpoint of a folder, every weight a little elsewhere, as training leaves it."""
    checkpoint = read_checkpoint(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in checkpoint.model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return checkpoint


@pytest.mark.parametrize("kind", RECIPES)
def test_names_and_shapes_are_those_of_the_checkpoint(kind, tmp_path):
    checkpoint = read_checkpoint(RECIPES[kind]().write(tmp_path))
    back = published(checkpoint, checkpoint.model.state_dict())
    stored = load_file(tmp_path / "model.safetensors")
    assert back.keys() == stored.keys()
    for name, tensor in stored.items():
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("kind", RECIPES)
def test_what_was_written_is_read_back_bit_by_bit(kind, tmp_path):
    checkpoint = moved(RECIPES[kind]().write(tmp_path / "base"))
    write_model(checkpoint, checkpoint.model.state_dict(), tmp_path / "out")
    again = read_checkpoint(tmp_path / "out").model.state_dict()
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(again[name], tensor), name


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta"])
def test_transformers_and_sentence_transformers_score_a_saved_folder_as_the_engine_does(kind, tmp_path):
    checkpoint = moved(write_base(tmp_path / "base", kind))
    module = PackedModule(checkpoint)
    trained = module(module.preprocess(PAIRS))["scores"][:, 0].tolist()
    out = tmp_path / "out"
    write_model(checkpoint, checkpoint.model.state_dict(), out)
    np.testing.assert_allclose(Reranker.load(out, device="cpu").score(PAIRS, raw=True), trained, atol=1e-5)
    theirs = CrossEncoder(str(out), device="cpu")
    predicted = theirs.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(predicted, trained, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(out)
    inputs = tokenizer([list(pair) for pair in PAIRS], padding=True, return_tensors="pt")
    with torch.inference_mode():
        stock = AutoModelForSequenceClassification.from_pretrained(out).eval()(**inputs).logits[:, 0]
    np.testing.assert_allclose(stock, trained, atol=1e-5)


def test_half_the_size_is_rounded_and_says_so(tmp_path):
    checkpoint = moved(write_base(tmp_path / "base"))
    write_model(checkpoint, checkpoint.model.state_dict(), tmp_path / "half", dtype="float16")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    assert read_checkpoint(tmp_path / "half").stored == ("float16",)
    exact = checkpoint.model.state_dict()["head.dense.weight"]
    rounded = read_checkpoint(tmp_path / "half").model.state_dict()["head.dense.weight"]
    assert torch.equal(rounded, exact.half().float())


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    for name, content in (("new", "new"), ("there", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).touch()
    install(tmp_path / "new", tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
