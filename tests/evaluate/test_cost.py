from __future__ import annotations

import sys

import pytest

from crossrank.evaluate.cost import CLEAR, forget_peak, peak_memory


def test_memory_that_is_taken_shows_in_the_peak():
    forget_peak()
    before = peak_memory()
    block = bytearray(b"x") * (64 << 20)
    assert len(block) == 64 << 20
    after = peak_memory()
    assert before is not None
    assert after is not None
    assert after - before > 48 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux") or not CLEAR.exists(), reason="only Linux forgets")
def test_a_peak_that_is_past_is_forgotten():
    block = bytearray(b"x") * (64 << 20)
    high = peak_memory()
    del block
    forget_peak()
    low = peak_memory()
    assert high is not None
    assert low is not None
    assert high - low > 48 << 20
