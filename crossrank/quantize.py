"""int8 linear layers for the CPU: per-output-channel weights, activations quantized row by row as they come.

A row's scale comes from that row alone, so a token's result does not depend on what else is in the batch; with one
scale a batch, the usual dynamic quantization, a score would change with its neighbours. The product is oneDNN's
unsigned-by-signed integer GEMM, which accumulates exactly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossrank.errors import DeviceError
from crossrank.layers import SelfAttention
from crossrank.packing import replace_linear

__all__ = ["Int8Linear", "quantize"]


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8. Inference only.

    A row's activations take `levels` equal steps from their least to their greatest: 255 where the processor has VNNI
    instructions, 127 elsewhere, because AVX2 adds neighbouring products in 16 bits, which 255 * 127 * 2 overflows.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        rounded = (weight / scale[:, None]).round()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.levels = 255 if torch.cpu._is_vnni_supported() else 127
        self.scale = scale
        self.zeros = torch.zeros(len(scale), dtype=torch.int64)
        self.bias = torch.zeros_like(scale) if linear.bias is None else linear.bias.detach()
        self.sums = rounded.sum(1) * scale
        self.packed = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8).contiguous(), None)

    def forward(self, x: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        least = x.amin(1, keepdim=True)
        step = (x.amax(1, keepdim=True) - least).clamp_(min=1e-12).div_(self.levels)
        a_step = step.reciprocal()
        # Half a step on top, so that truncation rounds. By way of int16, which has a vectorized conversion to uint8;
        # float32 has none.
        steps = torch.addcmul(0.5 - least * a_step, x, a_step).to(torch.int16).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, 0, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        # x is least + step * steps: the first part's product needs only the sums of the weights.
        return torch.addcmul(self.bias, least, self.sums).addcmul_(product, step)


def quantize(model: nn.Module) -> nn.Module:
    """Make the linear layers of `model.blocks` int8, in place; norms, attention and head stay float32.

    So does what the last block computes for the scored tokens alone: next to nothing, and a third of the error. Raises
    DeviceError on a processor without the instructions for it.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    if not hasattr(torch.ops.onednn, "qlinear_pointwise") or not capability.startswith("AVX"):
        raise DeviceError(
            f"int8 needs an x86-64 processor with AVX2; this one has {capability}. float32 and bfloat16 run everywhere"
        )
    blocks = model.blocks
    assert isinstance(blocks, nn.ModuleList)
    replace_linear(blocks[:-1], Int8Linear)
    last = blocks[-1].attention
    assert isinstance(last, SelfAttention)
    assert isinstance(last.key_value, nn.Linear)
    last.key_value = Int8Linear(last.key_value)
    return model
