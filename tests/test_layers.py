"""The trunk: its short cut for scored tokens is exact, and what it leaves out is not needed."""

from __future__ import annotations

import pytest
import torch

from crossrank import layers
from crossrank.batch import pack
from tests.checkpoints import RECIPES, tiny, unplaced
from tests.oracles import encoded
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 4, n), letters(n * n % 23, n + 50)) for n in range(12)]


@pytest.mark.parametrize("kind", sorted(RECIPES.keys() - {"dual", "modernbert"}))  # whose heads read more
def test_logits_are_the_heads_view_of_every_sequences_first_hidden_state(kind):
    reranker = tiny(kind)
    batch = pack(encoded(reranker, PAIRS))
    model = reranker.checkpoint.model
    with torch.inference_mode():
        hidden = model.hidden(batch)
        assert hidden.shape == (len(batch.tokens), reranker.checkpoint.settings["hidden_size"])
        torch.testing.assert_close(model(batch), model.head(hidden[batch.first]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", RECIPES)
def test_each_block_computes_first_tokens_alone_as_with_all_the_others(kind):
    model = tiny(kind).checkpoint.model
    batch = pack(encoded(tiny(kind), PAIRS))
    with torch.inference_mode():
        x = model.embeddings(batch)
        for block in model.blocks:
            torch.testing.assert_close(block.first(x, batch), block(x, batch)[batch.first], atol=1e-5, rtol=0)
            x = block(x, batch)


@pytest.mark.parametrize("kind", RECIPES)
def test_the_forward_pass_carries_gradients_to_every_parameter(kind):
    model = unplaced(RECIPES[kind]()).model
    total = model(pack(encoded(tiny(kind), PAIRS))).sum()
    named = dict(model.named_parameters())
    grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    assert all(grad is not None for grad in grads)


def test_activations_are_the_ones_they_are_named_after():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    exact = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    tanh = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    torch.testing.assert_close(layers.ACTIVATIONS["gelu"](x), exact)
    for name in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh"):
        torch.testing.assert_close(layers.ACTIVATIONS[name](x), tanh)
    torch.testing.assert_close(layers.ACTIVATIONS["silu"](x), x * torch.sigmoid(x))
    torch.testing.assert_close(layers.ACTIVATIONS["relu"](x), x.clamp(min=0))
