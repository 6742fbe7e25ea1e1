"""Hidden states -> one logit. Always float32, whatever the layers below compute in."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossrank.layers import ACTIVATIONS

__all__ = ["NormedHead", "TanhHead"]


class TanhHead(nn.Module):
    """dense -> tanh -> one output: BERT's pooler with its classifier, and RoBERTa's classification head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "pairs width"]) -> Float[Tensor, " pairs"]:
        # Autocast, under which half-precision training runs, would take the products to half precision again.
        with torch.autocast(x.device.type, enabled=False):
            return self.out(torch.tanh(self.dense(x.float()))).squeeze(-1)


class NormedHead(nn.Module):
    """dense -> activation -> norm -> one output: ModernBERT's."""

    def __init__(self, width: int, activation: str, eps: float, dense_bias: bool, norm_bias: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width, bias=dense_bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = nn.LayerNorm(width, eps, bias=norm_bias)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Float[Tensor, "pairs width"]) -> Float[Tensor, " pairs"]:
        with torch.autocast(x.device.type, enabled=False):
            return self.out(self.norm(self.activation(self.dense(x.float())))).squeeze(-1)
