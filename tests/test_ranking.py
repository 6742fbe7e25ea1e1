"""The answer's shape and order."""

from __future__ import annotations

import dataclasses

import pytest

from crossrank.ranking import Hit, Ranking, Usage, best_first
from tests.checkpoints import tiny


def test_the_best_come_first_and_equals_keep_their_order():
    assert best_first([0.1, 0.9, 0.9, -2.0, 0.9]) == [1, 2, 4, 0, 3]
    assert best_first([0.1, 0.9, 0.9], top_n=2) == [1, 2]
    assert best_first([0.1], top_n=5) == [0]
    assert best_first([]) == []


def test_a_ranking_is_a_sequence_of_hits():
    ranking = tiny("bert").rank("fox", ["a", "b", "c"])
    assert len(ranking) == 3
    assert list(ranking) == [ranking[0], ranking[1], ranking[2]] == list(ranking.hits)
    assert ranking[-1] is ranking.hits[2]
    assert ranking[:2] == ranking.hits[:2]
    assert ranking[0] in ranking
    with pytest.raises(IndexError):
        ranking[3]


def test_an_empty_ranking_is_false():
    assert not tiny("bert").rank("fox", [])
    assert tiny("bert").rank("fox", ["a"])


def test_a_ranking_cannot_be_changed():
    ranking = tiny("bert").rank("fox", ["a"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking.hits = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        ranking[0].score = 1.0


def test_equal_rankings_are_equal():
    hit = Hit(index=0, score=0.5, document="a", logit=0.0, windows=1, span=(0, 1), tokens=4)
    usage = Usage(total_tokens=4, query_tokens=3)
    assert Ranking((hit,), usage, False) == Ranking((hit,), usage, False)
    assert Ranking((hit,), usage, False) != Ranking((), usage, False)
