"""Packed linear layers compute what nn.Linear computes."""

import pytest
import torch
from torch import nn

from crossrank.packing import PackedLinear
from tests.checkpoints import tiny

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_packed_layer_equals_its_linear_layer(rows, bias):
    torch.manual_seed(rows)
    linear = nn.Linear(96, 160, bias=bias)
    x = torch.randn(rows, 96)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(linear)(x), linear(x), atol=1e-5, rtol=1e-5)


def test_an_empty_batch_stays_empty():
    with torch.inference_mode():
        assert PackedLinear(nn.Linear(8, 4))(torch.empty(0, 8)).shape == (0, 4)


def test_a_float32_model_on_the_cpu_is_packed_but_for_its_head():
    model = tiny("bert").scorer.model
    assert not [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    assert isinstance(model.head.dense, nn.Linear)
