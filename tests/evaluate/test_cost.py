from __future__ import annotations

import mmap
import sys

import pytest

from crossrank.evaluate.cost import CLEAR, forget_peak, peak_memory


def taken() -> mmap.mmap:
    """64 MiB that the system gives anew and gets back at close(), whatever the allocator had lying about."""
    block = mmap.mmap(-1, 64 << 20)
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    return block


def test_memory_that_is_taken_shows_in_the_peak():
    forget_peak()
    before = peak_memory()
    with taken():
        after = peak_memory()
    assert before is not None
    assert after is not None
    assert after - before > 48 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux") or not CLEAR.exists(), reason="only Linux forgets")
def test_a_peak_that_is_past_is_forgotten():
    with taken():
        high = peak_memory()
    forget_peak()
    low = peak_memory()
    assert high is not None
    assert low is not None
    assert high - low > 48 << 20
