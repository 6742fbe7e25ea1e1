"""The flat batch: sequences end to end in one row of tokens, their bounds beside it, nothing padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int, Int32
from torch import Tensor

__all__ = ["Filled", "Packed", "distinct", "pack", "plan", "sides"]


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A pair as the model reads it: tokens in place, special ones included; the second side begins at `split`."""

    tokens: Int32[np.ndarray, " tokens"]
    split: int

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Sequences laid end to end: sequence i is tokens[bounds[i]:bounds[i + 1]], and nothing is padding.

    positions count from 0 in each sequence; types are 0 on the first side of a pair and 1 on the second.
    lengths are those of the sequences, and splits where their second sides begin, on the host, so that a CPU loop needs
    no device round trip.
    """

    tokens: Int[Tensor, " tokens"]
    positions: Int[Tensor, " tokens"]
    types: Int[Tensor, " tokens"]
    bounds: Int32[Tensor, " bounds"]
    lengths: tuple[int, ...]
    splits: tuple[int, ...]

    @property
    def first(self) -> Int32[Tensor, " pairs"]:
        """Where each sequence's first token lies."""
        return self.bounds[:-1]

    @property
    def last(self) -> Int32[Tensor, " pairs"]:
        """Where each sequence's last token lies."""
        return self.bounds[1:] - 1


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group indices, longest first, so that no group holds more than `budget` tokens.

    A sequence longer than the budget goes alone. Equal lengths keep their order.
    """
    # Longest first: an out-of-memory error then comes in the first batch, not the last.
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not groups or lengths[index] > room:
            groups.append([])
            room = budget
        groups[-1].append(index)
        room -= lengths[index]
    return groups


def pack(sequences: Sequence[Filled], device: torch.device | str = "cpu") -> Packed:
    """Lay sequences end to end on `device`."""
    lengths = np.array([len(filled) for filled in sequences], dtype=np.int32)
    splits = np.array([filled.split for filled in sequences], dtype=np.int32)
    bounds = _bounds(lengths)
    positions = np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], lengths)
    types = (positions >= np.repeat(splits, lengths)).astype(np.int64)
    tokens = np.concatenate([filled.tokens for filled in sequences]).astype(np.int64)
    return Packed(
        tokens=torch.from_numpy(tokens).to(device),
        positions=torch.from_numpy(positions).to(device),
        types=torch.from_numpy(types).to(device),
        bounds=torch.from_numpy(bounds).to(device),
        lengths=tuple(lengths.tolist()),
        splits=tuple(splits.tolist()),
    )


def sides(batch: Packed) -> Packed:
    """The same tokens, every side of a pair a sequence of its own: query, document, query, document, ..."""
    pairs = zip(batch.lengths, batch.splits, strict=True)
    lengths = [side for length, split in pairs for side in (split, length - split)]
    bounds = _bounds(lengths)
    positions = np.arange(bounds[-1], dtype=np.int64) - np.repeat(bounds[:-1], lengths)
    device = batch.tokens.device
    return replace(
        batch,
        positions=torch.from_numpy(positions).to(device),
        bounds=torch.from_numpy(bounds).to(device),
        lengths=tuple(lengths),
        splits=tuple(lengths),
    )


def distinct(batch: Packed) -> tuple[Packed, Int[Tensor, " tokens"]]:
    """Equal sequences of a batch once, in the order they first come in, and where each token of the batch lies there.

    The tokens are looked at on the host: of a batch on a GPU this would wait for all that is queued there.
    """
    tokens, lengths = batch.tokens.numpy(), np.array(batch.lengths)
    starts = _bounds(lengths)[:-1]
    numbers: dict[bytes, int] = {}
    found = [
        numbers.setdefault(tokens[start : start + length].tobytes(), len(numbers))
        for start, length in zip(starts, lengths, strict=True)
    ]
    which, kept = np.array(found), np.unique(found, return_index=True)[1]
    few = lengths[kept]
    bounds = _bounds(few)
    rows = torch.from_numpy(np.arange(bounds[-1]) + np.repeat(starts[kept] - bounds[:-1], few))
    once = Packed(
        tokens=batch.tokens[rows],
        positions=batch.positions[rows],
        types=batch.types[rows],
        bounds=torch.from_numpy(bounds),
        lengths=tuple(few.tolist()),
        splits=tuple(batch.splits[i] for i in kept),
    )
    return once, torch.from_numpy(np.arange(len(tokens)) + np.repeat(bounds[which] - starts, lengths))


def _bounds(lengths: Sequence[int] | np.ndarray) -> Int32[np.ndarray, " bounds"]:
    bounds = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    return bounds
