"""4-bit blocks: what was in them comes back to the bit, what was not is left alone, what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrank.errors import CheckpointError
from crossrank.nibbles import packed, unpacked


def blocks(seed: int, rows: int, runs: int) -> torch.Tensor:
    """A matrix as Q4_0 leaves it: in every run some weight is -8 scales."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.randint(-8, 8, (rows, runs, 32), generator=random).float()
    steps[..., 5] = -8
    scales = (torch.randn(rows, runs, 1, generator=random) / 50).half().float()
    return (steps * scales).flatten(1)


@given(seed=st.integers(0, 1000), rows=st.integers(1, 9), runs=st.integers(1, 4))
def test_a_matrix_comes_back_to_the_bit(seed, rows, runs):
    matrix = blocks(seed, rows, runs)
    stored = packed("some.weight", matrix)
    assert stored is not None
    assert sum(tensor.nbytes for tensor in stored.values()) == matrix.numel() * 18 // 32
    back = unpacked(stored | {"other": matrix})
    assert back.keys() == {"some.weight", "other"}
    assert torch.equal(back["some.weight"], matrix)


def test_a_byte_holds_a_weight_of_either_half():
    nibbles = torch.tensor([[0x80 | j for j in range(8)] + [0xF7] * 8], dtype=torch.uint8)
    back = unpacked({"w.nibbles": nibbles, "w.scales": torch.tensor([[0.5]], dtype=torch.float16)})["w"]
    assert back[0].tolist() == [0.5 * (j - 8) for j in range(8)] + [-0.5] * 8 + [0.0] * 8 + [3.5] * 8


def test_a_matrix_that_was_not_in_blocks_is_not_rounded():
    assert packed("w", torch.randn(4, 64, generator=torch.Generator().manual_seed(0))) is None
    assert packed("w", torch.zeros(4, 33)) is None
    assert torch.equal(unpacked(packed("w", torch.zeros(4, 64)) or {})["w"], torch.zeros(4, 64))


@pytest.mark.parametrize("change", ["w.scales", "w.nibbles"])
def test_half_of_a_matrix_is_refused(change):
    stored = packed("w", blocks(0, 2, 2))
    assert stored is not None
    with pytest.raises(CheckpointError, match="only one is there"):
        unpacked({name: tensor for name, tensor in stored.items() if name != change})
    with pytest.raises(CheckpointError, match="do not fit"):
        unpacked(stored | {change: stored[change][:1]})
