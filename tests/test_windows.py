"""Limits and the windows of long documents."""

from __future__ import annotations

import pytest

from crossrank import InputError, Limits
from crossrank.windows import best, capacity, windows


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, [(0, 0)]),
        (1010, [(0, 1010)]),
        (1011, [(0, 1010), (1, 1011)]),
        (1500, [(0, 1010), (490, 1500)]),
        (1940, [(0, 1010), (930, 1940)]),
        (2600, [(0, 1010), (930, 1940), (1590, 2600)]),
    ],
)
def test_the_published_example_is_cut_as_published(length, expected):
    # A query of 12 tokens beside 1,024 at most, overlap 80: section "rerank" of jina-reranker-v2's description.
    assert capacity(1024, 10, 4) == 1010
    assert windows(length, 1010, 80) == expected


def test_neighbours_share_at_most_a_quarter_of_a_window():
    assert windows(20, 8, 80) == [(0, 8), (6, 14), (12, 20)]
    assert windows(5, 1, 80) == [(n, n + 1) for n in range(5)]
    assert windows(9, 3, 0) == [(0, 3), (3, 6), (6, 9)]


def test_the_best_window_is_the_first_of_the_highest():
    assert best([1.0]) == 0
    assert best([1.0, 3.0, 3.0, 2.0]) == 1


def test_limits_are_filled_in_from_the_model_and_the_device():
    assert Limits().within(8192, 2048) == Limits(max_length=8192, max_query=512, overlap=80, budget=2048)
    assert Limits().within(512, 7) == Limits(max_length=512, max_query=256, overlap=80, budget=7)
    chosen = Limits(max_length=100, max_query=20, overlap=5, budget=300)
    assert chosen.within(512, 2048) == chosen


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_length": 0}, "max_length must be at least 1, not 0"),
        ({"max_query": -1}, "max_query must be at least 1"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"overlap": -1}, "overlap must not be negative, and is -1"),
    ],
)
def test_limits_that_no_model_can_meet_are_refused(limits, words):
    with pytest.raises(InputError, match=words):
        Limits(**limits)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_length": 513}, "max_length 513 is more than the model's 512 tokens"),
        ({"max_query": 257}, "max_query 257 must not pass half of max_length 512"),
        ({"max_length": 15}, "leave no room for text"),
        ({"max_query": 2}, "leave no room for text"),
    ],
)
def test_limits_that_this_model_cannot_meet_are_refused(limits, words):
    with pytest.raises(InputError, match=words):
        Limits(**limits).within(512, 2048)


def test_a_template_that_leaves_no_room_for_a_document_is_refused():
    assert Limits(max_length=25).within(512, 2048, beside=12).max_query == 12
    assert Limits(max_length=16, max_query=3).within(512, 2048, beside=12).max_query == 3
    with pytest.raises(InputError, match="max_length 24 and max_query 12 leave no room for a document, since 12 more"):
        Limits(max_length=24).within(512, 2048, beside=12)


def test_every_limit_that_is_accepted_leaves_room_for_a_document():
    for max_length in range(16, 40):
        for max_query in range(3, max_length // 2 + 1):
            within = Limits(max_length=max_length, max_query=max_query).within(512, 2048)
            assert capacity(within.max_length, within.max_query - 2, 4) >= 1
