"""The flat batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrank.batch import Filled, distinct, pack, plan, sides


def filled(length: int, split: int, first: int = 0) -> Filled:
    return Filled(np.arange(first, first + length, dtype=np.int32), split)


def test_sequences_lie_end_to_end():
    batch = pack([filled(3, 2, 10), filled(1, 1, 20), filled(4, 1, 30)])
    assert batch.tokens.tolist() == [10, 11, 12, 20, 30, 31, 32, 33]
    assert batch.positions.tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert batch.types.tolist() == [0, 0, 1, 0, 0, 1, 1, 1]
    assert batch.bounds.tolist() == [0, 3, 4, 8]
    assert batch.lengths == (3, 1, 4)
    assert batch.first.tolist() == [0, 3, 4]
    assert batch.last.tolist() == [2, 3, 7]


def test_ids_are_wide_and_bounds_are_what_a_kernel_takes():
    batch = pack([filled(2, 1)])
    assert {batch.tokens.dtype, batch.positions.dtype, batch.types.dtype} == {torch.int64}
    assert batch.bounds.dtype == torch.int32


@pytest.mark.parametrize(
    ("lengths", "budget", "groups"),
    [
        ([], 10, []),
        ([3], 10, [[0]]),
        ([3, 9, 4, 2], 10, [[1], [2, 0, 3]]),
        ([5, 5, 5], 10, [[0, 1], [2]]),
        ([30, 1], 10, [[0], [1]]),
        ([1, 1, 1], 1, [[0], [1], [2]]),
    ],
)
def test_groups_are_filled_longest_first(lengths, budget, groups):
    assert plan(lengths, budget) == groups


TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=4)


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=8))
def test_equal_sides_are_kept_once_and_found_again(pairs):
    batch = sides(pack([Filled(np.array(query + rest, dtype=np.int32), len(query)) for query, rest in pairs]))
    once, places = distinct(batch)
    assert torch.equal(once.tokens[places], batch.tokens)
    assert torch.equal(once.positions[places], batch.positions)
    kept = [tuple(part.tolist()) for part in once.tokens.split(once.lengths)]
    assert kept == list(dict.fromkeys(tuple(side) for pair in pairs for side in pair))
    assert once.splits == once.lengths == tuple(once.bounds.diff().tolist())
