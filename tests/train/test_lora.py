from __future__ import annotations

import pytest
import torch

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.errors import InputError
from crossrank.train.bridge import PackedModule, cross_encoder
from crossrank.train.lora import Lora, add_lora, merged_state
from tests.checkpoints import RECIPES
from tests.train.worlds import toy_module

PAIRS = [("fox", "the red fox"), ("what is paris", "the capital of france"), ("a", "")]


@pytest.fixture
def trained(tmp_path):
    """A module with LoRA layers that no longer add nothing."""
    module = toy_module(tmp_path)
    before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
    add_lora(module.model, Lora(rank=2, alpha=4))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(module.preprocess(PAIRS))["scores"].square().mean().backward()
        optimizer.step()
    return module, before


def test_only_lora_and_the_head_learn(trained):
    module, before = trained
    after = module.model.state_dict()
    changed = {name for name, tensor in before.items() if name in after and not torch.equal(after[name], tensor)}
    assert changed == {"head.dense.weight", "head.dense.bias", "head.out.weight", "head.out.bias"}
    learning = {name for name, parameter in module.model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith("head.") for name in learning)
    assert sum(".lora_A." in name for name in learning) == 2 * 5  # query, key_value, out, up, down of two layers


def test_merged_scores_equal_the_unmerged(trained, tmp_path):
    module, before = trained
    scores = cross_encoder(module, "cpu").predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    state = merged_state(module.model)
    assert state.keys() == before.keys()
    assert not torch.equal(state["blocks.0.up.weight"], before["blocks.0.up.weight"])
    module.save(str(tmp_path / "merged"))
    merged = Reranker.load(tmp_path / "merged", device="cpu").score(PAIRS, raw=True)
    torch.testing.assert_close(torch.tensor(merged), torch.from_numpy(scores), atol=1e-5, rtol=0)


def test_merging_leaves_the_model_as_it_is(trained):
    module, _ = trained
    first = merged_state(module.model)
    for name, tensor in merged_state(module.model).items():
        assert torch.equal(tensor, first[name]), name


def test_a_dual_model_learns_through_every_layer_of_both_stacks(tmp_path):
    module = PackedModule(read_checkpoint(RECIPES["dual"]().write(tmp_path / "base")))
    plain = module(module.preprocess(PAIRS))["scores"]
    add_lora(module.model, Lora(rank=2, alpha=4))
    assert torch.equal(module(module.preprocess(PAIRS))["scores"], plain)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        module(module.preprocess(PAIRS))["scores"].square().mean().backward()
        optimizer.step()
    added = {name: p for name, p in module.model.named_parameters() if ".lora_B." in name}
    assert len(added) == 5 * 5
    assert all(parameter.any() for parameter in added.values())
    scores = module(module.preprocess(PAIRS))["scores"][:, 0]
    module.save(str(tmp_path / "merged"))
    merged = Reranker.load(tmp_path / "merged", device="cpu").score(PAIRS, raw=True)
    torch.testing.assert_close(torch.tensor(merged), scores, atol=1e-5, rtol=0)
    assert (scores - plain[:, 0]).abs().max() > 0.01


def test_a_rank_of_none_is_refused():
    with pytest.raises(InputError, match="at least 1, not 0 and 16"):
        Lora(rank=0)
