"""Heads: hidden states to one logit, in float32."""

from __future__ import annotations

import pytest
import torch

from crossrank.heads import TanhHead


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_head_computes_in_float32_whatever_it_is_given(dtype):
    torch.manual_seed(0)
    head, x = TanhHead(16), torch.randn(5, 16)
    with torch.inference_mode():
        logits = head(x.to(dtype))
        dense = torch.tanh(x.to(dtype).float() @ head.dense.weight.T + head.dense.bias)
        expected = (dense * head.out.weight).sum(-1) + head.out.bias
    assert logits.dtype == torch.float32
    assert logits.shape == (5,)
    torch.testing.assert_close(logits, expected)
