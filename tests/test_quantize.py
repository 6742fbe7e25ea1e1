"""int8 linear layers: what they cost, and that a row's result is its own affair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crossrank import DeviceError
from crossrank.quantize import Int8Linear, quantize
from tests.checkpoints import RECIPES, tiny
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 4, n), letters(n * n % 23, n + 50)) for n in range(40)]

needs_int8 = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="int8 needs an x86-64 processor with AVX2"
)
pytestmark = needs_int8


def layer(inputs: int = 384, outputs: int = 96, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_arithmetic_it_says_it_is(bias):
    linear = layer(bias=bias)
    quantized = Int8Linear(linear)
    x = torch.randn(7, 384) * torch.logspace(-3, 3, 7)[:, None]
    with torch.inference_mode():
        ours = quantized(x)
        scale = linear.weight.abs().amax(1) / 127
        weight = (linear.weight / scale[:, None]).round()
        least = x.amin(1, keepdim=True)
        step = (x.amax(1, keepdim=True) - least) / quantized.levels
        rounded = least + step * ((x - least) / step + 0.5).floor()
        expected = (rounded.double() @ (weight.double().T * scale)).float() + (linear.bias if bias else 0)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=float(2e-2 * x.abs().max() / quantized.levels))


def test_the_error_of_a_layer_is_that_of_its_rounding():
    # Rounding to steps of range / levels errs by at most half a step an input, and in the mean by a step / sqrt(12).
    linear, x = layer(), torch.randn(200, 384)
    quantized = Int8Linear(linear)
    with torch.inference_mode():
        error = quantized(x) - linear(x)
        step = (x.amax(1, keepdim=True) - x.amin(1, keepdim=True)) / quantized.levels
        of_inputs = step / 12**0.5 * linear.weight.norm(dim=1)
        scale = linear.weight.abs().amax(1) / 127
        of_weights = scale / 12**0.5 * x.norm(dim=1, keepdim=True)
    assert 0.8 < (error / (of_inputs**2 + of_weights**2).sqrt()).std() < 1.25


def test_extreme_rows_do_not_overflow():
    linear = layer()
    with torch.no_grad():
        linear.weight.copy_(linear.weight.sign())
        x = torch.stack([linear.weight[0], -linear.weight[0], torch.zeros(384), torch.full((384,), 1e4)])
        # Sums of 384 products near 1e4 are themselves rounded; an overflow would be off by thousands.
        torch.testing.assert_close(Int8Linear(linear)(x), linear(x), rtol=1e-3, atol=1e-1)


def test_an_outlier_costs_its_own_row_and_no_other():
    linear = Int8Linear(layer())
    x = torch.randn(4, 384)
    with torch.inference_mode():
        alone = linear(x[:1])
        x[1] *= 1e4
        torch.testing.assert_close(linear(x)[:1], alone, atol=0, rtol=0)


@pytest.mark.parametrize("kind", RECIPES)
def test_int8_keeps_the_scores_apart(kind):
    exact = np.array(tiny(kind).score(PAIRS, raw=True))
    quantized = np.array(tiny(kind, dtype="int8").score(PAIRS, raw=True))
    assert np.sqrt(np.mean((quantized - exact) ** 2)) < 0.35 * exact.std()
    assert np.corrcoef(quantized, exact)[0, 1] > 0.95
    assert not np.array_equal(quantized, exact)


def test_every_linear_layer_that_all_tokens_pass_is_quantized_and_no_other():
    model = tiny("bert", dtype="int8").checkpoint.model
    assert sum(isinstance(m, Int8Linear) for m in model.blocks[:-1].modules()) == 2 * 5
    assert not [m for m in model.blocks[:-1].modules() if isinstance(m, nn.Linear)]
    assert isinstance(model.blocks[-1].attention.key_value, Int8Linear)
    assert sum(isinstance(m, nn.Linear) for m in model.blocks[-1].modules()) == 4
    assert isinstance(model.head.dense, nn.Linear)


def test_a_row_of_one_value_is_exact_to_the_rounding_of_the_weights():
    linear = layer()
    with torch.inference_mode():
        x = torch.full((1, 384), 0.7)
        scale = linear.weight.abs().amax(1) / 127
        weight = (linear.weight / scale[:, None]).round() * scale[:, None]
        torch.testing.assert_close(Int8Linear(linear)(x), x @ weight.T + linear.bias, rtol=1e-4, atol=1e-4)


def test_a_processor_without_the_instructions_is_told_what_runs_on_it(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NEON")
    with pytest.raises(DeviceError, match=r"this one has NEON\. float32 and bfloat16 run everywhere"):
        quantize(tiny("bert").checkpoint.model)
