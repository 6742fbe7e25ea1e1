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
from crossrank.packing import replace_linear

__all__ = ["Int8Linear", "quantize"]


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8. Inference only.

    Activations take `levels` steps on either side of zero: 127 where the processor has VNNI instructions, 63 elsewhere,
    because AVX2 adds neighbouring products in 16 bits, which 127 * 127 * 2 overflows once the zero point is added.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.levels = 127 if torch.cpu._is_vnni_supported() else 63
        self.scale = scale
        self.offset = torch.tensor(self.levels + 1.5)
        self.zeros = torch.zeros(len(scale), dtype=torch.int64)
        self.bias = torch.zeros(len(scale)) if linear.bias is None else linear.bias.detach()
        rounded = (weight / scale[:, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded.contiguous(), None)

    def forward(self, x: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        zero = self.levels + 1
        step = x.abs().amax(1, keepdim=True).clamp_(min=1e-12).div_(self.levels)
        # Half a step on top, so that truncation rounds. By way of int16, which has a vectorized conversion to uint8;
        # float32 has none.
        steps = torch.addcmul(self.offset, x, step.reciprocal()).to(torch.int16).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, zero, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(self.bias, product, step)


def quantize(model: nn.Module) -> nn.Module:
    """Replace every linear layer in `model.blocks` by its int8 counterpart, in place; head and norms stay float32.

    Raises DeviceError on a processor without the instructions for it.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    if not hasattr(torch.ops.onednn, "qlinear_pointwise") or not capability.startswith("AVX"):
        raise DeviceError(
            f"int8 needs an x86-64 processor with AVX2; this one has {capability}. float32 and bfloat16 run everywhere"
        )
    replace_linear(model, Int8Linear)
    return model
