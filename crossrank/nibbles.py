"""Matrices in 4 bits a weight, as a folder may store them: llama.cpp's Q4_0, in two tensors that safetensors holds.

NAME.nibbles, uint8 [rows, columns / 2], and NAME.scales, float16 [rows, columns / 32], stand for the matrix NAME: every
run of 32 weights of a row has a scale, and weight j of it is (nibble - 8) * scale. Byte j of a run's 16 holds weight
j in its low half and weight j + 16 in its high one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from crossrank.errors import CheckpointError

__all__ = ["NIBBLES", "SCALES", "packed", "unpacked"]

RUN = 32
NIBBLES, SCALES = ".nibbles", ".scales"


def packed(name: str, matrix: Float[Tensor, "rows columns"]) -> dict[str, Tensor] | None:
    """The two tensors of a matrix that was in such blocks before; None where it was not, and would be rounded."""
    if matrix.shape[1] % RUN:
        return None
    runs = matrix.float().unflatten(1, (-1, RUN))
    # Q4_0 lets the weight of the greatest magnitude be -8 scales.
    greatest = runs.gather(2, runs.abs().argmax(2, keepdim=True))
    scales = (greatest / -8).half()
    wide = scales.float()
    steps = torch.where(wide == 0, 0, runs / torch.where(wide == 0, 1, wide)).round().clamp(-8, 7)
    if not torch.equal(steps * wide, runs):
        return None
    halves = (steps + 8).to(torch.uint8)
    joined = halves[..., : RUN // 2] | halves[..., RUN // 2 :] << 4
    return {name + NIBBLES: joined.flatten(1), name + SCALES: scales.squeeze(2)}


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every matrix that is stored so as float32 under its own name, and all other tensors as they are.

    CheckpointError where one of the two tensors is missing or of a shape that does not fit.
    """
    whole = {name: tensor for name, tensor in tensors.items() if not name.endswith((NIBBLES, SCALES))}
    stems = {name.removesuffix(NIBBLES).removesuffix(SCALES) for name in tensors.keys() - whole.keys()}
    for name in sorted(stems):
        nibbles, scales = tensors.get(name + NIBBLES), tensors.get(name + SCALES)
        if nibbles is None or scales is None:
            raise CheckpointError(f"{name} is stored in 4 bits, but of {NIBBLES} and {SCALES} only one is there")
        if (
            nibbles.ndim != 2
            or nibbles.dtype != torch.uint8
            or scales.shape != (len(nibbles), nibbles.shape[1] * 2 / RUN)
        ):
            found = f"{list(nibbles.shape)} {nibbles.dtype} and {list(scales.shape)}"
            raise CheckpointError(f"{name} is stored in 4 bits, but its nibbles and scales do not fit: {found}")
        runs = nibbles.unflatten(1, (-1, RUN // 2))
        halves = torch.cat([runs & 15, runs >> 4], dim=2).float() - 8
        whole[name] = (halves * scales.float()[..., None]).flatten(1)
    return whole
