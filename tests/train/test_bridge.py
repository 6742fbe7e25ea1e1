"""Our forward pass, trained by sentence-transformers."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses
from torch.nn.functional import binary_cross_entropy_with_logits

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.train.bridge import PackedModule, cross_encoder
from tests.checkpoints import RECIPES, bert, xlm_roberta
from tests.models import test_bert, test_roberta
from tests.train.worlds import toy_lines, toy_module
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 7, n), letters(n * n % 61, n + 100)) for n in range(12)]
LABELS = torch.tensor([float(n % 3 == 0) for n in range(12)])


def gradients(module):
    features = module.preprocess(PAIRS)
    binary_cross_entropy_with_logits(module(features)["scores"][:, 0], LABELS).backward()
    return {name: parameter.grad for name, parameter in module.model.named_parameters()}


@pytest.mark.parametrize(
    ("recipe", "reference"), [(bert, test_bert.reference), (xlm_roberta, test_roberta.reference)], ids=["bert", "xlm"]
)
def test_gradients_equal_those_of_the_padded_reference(recipe, reference, tmp_path):
    checkpoint = read_checkpoint(recipe().write(tmp_path))
    ours = gradients(PackedModule(checkpoint))
    theirs = reference(recipe())
    filled = PackedModule(checkpoint).fill(PAIRS)
    longest = max(map(len, filled))
    ids = torch.full((len(filled), longest), theirs.config.pad_token_id)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, each in enumerate(filled):
        ids[row, : len(each)] = torch.from_numpy(each.tokens)
        mask[row, : len(each)] = 1
        types[row, each.split : len(each)] = theirs.config.type_vocab_size - 1
    logits = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types).logits[:, 0]
    binary_cross_entropy_with_logits(logits, LABELS).backward()
    adopt = import_module(f"crossrank.models.{checkpoint.architecture}").adopt
    expected = adopt({name: parameter.grad for name, parameter in theirs.named_parameters()})
    assert max(grad.abs().max() for grad in ours.values()) > 0.01
    assert ours.keys() == expected.keys()
    for name, grad in ours.items():
        assert (grad - expected[name]).abs().max() <= 1e-5, name


@pytest.mark.parametrize("kind", RECIPES)
def test_every_architecture_has_gradients_for_all_that_it_scores_with(kind, tmp_path):
    grads = gradients(PackedModule(read_checkpoint(RECIPES[kind]().write(tmp_path))))
    lacking = [name for name, grad in grads.items() if grad is None or not grad.any()]
    assert [name for name in lacking if ".types." not in name] == []


def test_recomputed_activations_give_the_same_gradients(tmp_path):
    plain, recomputed = (PackedModule(read_checkpoint(bert().write(tmp_path))) for _ in range(2))
    recomputed.gradient_checkpointing_enable()
    expected = gradients(plain)
    for name, grad in gradients(recomputed).items():
        assert torch.equal(grad, expected[name]), name


def test_scores_are_those_of_the_engine_in_the_order_given(tmp_path):
    model = cross_encoder(toy_module(tmp_path), "cpu")
    scores = model.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(scores, Reranker.load(tmp_path, device="cpu").score(PAIRS, raw=True), atol=1e-5)


def test_a_pair_is_cut_to_the_length_asked_for(tmp_path):
    module = toy_module(tmp_path, max_length=32)
    assert [len(each) for each in module.fill([(letters(40), letters(50)), ("a", "b")])] == [32, 5]
    assert module.fill([(letters(40), letters(50))])[0].split == 16


def test_a_prompt_goes_before_the_query(tmp_path):
    module = toy_module(tmp_path)
    prompted, plain = module.fill([("fox", "a")], prompt="the ")[0], module.fill([("the fox", "a")])[0]
    assert prompted.tokens.tolist() == plain.tokens.tolist()


def test_the_head_stays_in_float32_under_autocast(tmp_path):
    module = toy_module(tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        scores = module(module.preprocess(PAIRS))["scores"]
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    exact = module(module.preprocess(PAIRS))["scores"]
    torch.testing.assert_close(scores, exact, atol=0.1, rtol=0.1)


def train(folder, out, steps=6, **options):
    """The stock trainer over our module: nothing of ours between."""
    lines = toy_lines(60, seed=1)
    pairs = [(line["query"], *pair) for line in lines for pair in zip(line["documents"], line["labels"], strict=True)]
    columns = zip(("query", "document", "label"), zip(*pairs, strict=True), strict=True)
    data = Dataset.from_dict({name: list(values) for name, values in columns})
    model = cross_encoder(toy_module(folder), "cpu")
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        learning_rate=1e-3,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        seed=5,
        **options,
    )
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=data, loss=losses.BinaryCrossEntropyLoss(model)
    )
    trainer.train()
    return trainer


def test_the_stock_trainer_trains_and_its_checkpoint_is_a_model(tmp_path):
    trainer = train(tmp_path / "base", tmp_path / "out", per_device_train_batch_size=16, save_steps=6)
    state = trainer.model.state_dict()
    trained = Reranker.load(tmp_path / "out" / "checkpoint-6", device="cpu").checkpoint
    kept = PackedModule(trained).state_dict()
    again = trainer.model[0].load(str(tmp_path / "out" / "checkpoint-6")).state_dict()
    for name, tensor in kept.items():
        assert torch.equal(tensor, state[f"0.{name}"]), name
        assert torch.equal(tensor, again[name]), name


def test_accumulated_parts_of_a_batch_are_that_batch(tmp_path):
    # Plain descent: Adam would make a step of the rounding in gradients that are zero, such as those of key biases.
    whole = train(tmp_path / "a", tmp_path / "one", per_device_train_batch_size=16, optim="sgd")
    parts = train(
        tmp_path / "b", tmp_path / "two", per_device_train_batch_size=8, gradient_accumulation_steps=2, optim="sgd"
    )
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, atol=1e-6, rtol=0)


def test_bfloat16_trains_nearly_as_float32_does(tmp_path):
    half = train(tmp_path / "b", tmp_path / "half", per_device_train_batch_size=16, bf16=True, steps=24)
    losses_seen = [entry["loss"] for entry in half.state.log_history if "loss" in entry]
    assert losses_seen[-1] < 0.75 * losses_seen[0]
    assert {tensor.dtype for tensor in half.model.state_dict().values()} == {torch.float32}
