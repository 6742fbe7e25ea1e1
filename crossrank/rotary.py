"""Rotary position embeddings: queries and keys are turned by their positions, so that their products tell distances.

Su et al. (2021), https://arxiv.org/abs/2104.09864, with the two halves of a head as the plane's two axes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["rotated"]


def rotated(
    x: Float[Tensor, "tokens heads dim"], positions: Int[Tensor, " tokens"], theta: float
) -> Float[Tensor, "tokens heads dim"]:
    """Each token's heads turned by its position: dimension i and i + dim / 2 together, by position / theta^(2i / dim).

    Angles and products are in float32, as the published models learned them; given back in x's dtype.
    """
    dim = x.shape[-1]
    frequencies = 1 / theta ** (torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim)
    angles = (positions[:, None].float() * frequencies)[:, None, :]
    cos, sin = angles.cos(), angles.sin()
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)
