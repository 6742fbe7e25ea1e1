"""float32 linear layers for the CPU in oneDNN's own layout.

nn.Linear hands float32 products to MKL, which does not use every processor's widest instructions; oneDNN compiles a
kernel for the processor it finds, and weights that already lie as it wants them save a copy a call. The arithmetic is
the same, to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["PackedLinear", "pack_linear", "replace_linear"]

# oneDNN, and torch above it, keep what they compiled for each shape, a thousand shapes by default and a megabyte or
# more for each. A server meets a new shape with nearly every batch. They read this when the first product is computed.
for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(cache, "64")


class PackedLinear(nn.Module):
    """A float32 linear layer, packed once. Inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def pack_linear(model: nn.Module) -> nn.Module:
    """Pack every linear layer in `model.blocks`, in place, where this build of torch has oneDNN; else leave them."""
    if torch.backends.mkldnn.is_available():
        assert isinstance(model.blocks, nn.ModuleList)
        replace_linear(model.blocks, PackedLinear)
    return model


def replace_linear(blocks: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Put `make(linear)` in the place of each linear layer below `blocks`."""
    for parent in list(blocks.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, make(child))
