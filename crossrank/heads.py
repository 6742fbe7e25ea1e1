"""Hidden states -> one logit. Always float32, whatever the layers below compute in."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["TanhHead"]


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
