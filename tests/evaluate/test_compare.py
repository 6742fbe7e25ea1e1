from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.collections import open_collection
from crossrank.evaluate.compare import compare, differences, interval, randomisation_test, worst
from crossrank.evaluate.run import Options, evaluate_one
from crossrank.evaluate.runs import write_run
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir

DELTAS = st.lists(st.sampled_from([-0.5, -0.1, 0.0, 0.1, 0.3, 1.0]), min_size=1, max_size=8)


@given(DELTAS)
def test_few_queries_are_tested_over_every_pattern_of_signs(deltas):
    observed = abs(sum(deltas)) - 1e-9
    patterns = [sum(s * d for s, d in zip(signs, deltas, strict=True)) for signs in signs_of(len(deltas))]
    expected = sum(abs(each) >= observed for each in patterns) / len(patterns)
    assert randomisation_test(np.array(deltas)) == pytest.approx(expected)


def signs_of(count: int) -> list[tuple[int, ...]]:
    return list(itertools.product((-1, 1), repeat=count))


def test_many_queries_are_tested_by_sampling_near_the_exact_share():
    deltas = np.array([0.1] * 12 + [-0.1] * 4)
    exact = sum(abs(sum(signs)) >= 8 for signs in signs_of(16)) / 2**16
    assert randomisation_test(deltas) == pytest.approx(exact, abs=0.01)
    assert randomisation_test(deltas) == randomisation_test(deltas)


def test_chance_alone_is_rarely_called_significant():
    random = np.random.default_rng(5)
    p = [randomisation_test(random.normal(size=20), rounds=500) for _ in range(300)]
    assert 0.02 < np.mean([each < 0.05 for each in p]) < 0.09


def test_no_difference_is_no_evidence():
    assert randomisation_test(np.zeros(30)) == 1.0
    assert interval(np.zeros(30)) == (0.0, 0.0)
    assert interval(np.array([])) == (0.0, 0.0)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(3)
    inside = 0
    for seed in range(200):
        low, high = interval(random.exponential(size=60), seed=seed, rounds=400)
        inside += low <= 1 <= high
    assert 0.88 < inside / 200 < 0.99


def test_what_got_worse_is_listed_worst_first_with_its_text(tmp_path):
    world = open_collection(str(write_beir(tmp_path / "world")))
    good = {"q1": [("d1", 1.0)], "q2": [("d2", 1.0)], "q3": [("d4", 1.0)], "q4": [("d5", 1.0)]}
    bad = {"q1": [("d2", 2.0), ("d1", 1.0)], "q2": [("d2", 1.0)], "q3": [("d4", 1.0)], "q4": [("d1", 1.0)]}
    for name, run in (("good", good), ("bad", bad)):
        write_run(tmp_path / name, run, name)
    systems = [open_system(f"run:{tmp_path / name}") for name in ("good", "bad")]
    table = evaluate_one(world, systems, Options(work=tmp_path, measures=("RR@10",)))
    found = compare(table, table.outcomes[1], table.outcomes[2], "RR@10")
    assert found.mean == pytest.approx(-(0.5 + 1.0) / 4)
    assert (found.wins, found.losses) == (0, 2)
    assert [(change.query, change.text) for change in worst(found.changes, 9)] == [
        ("q4", "sea water"),
        ("q1", "which animal is the largest"),
    ]
    assert found.low <= found.mean <= found.high
    pairs = [(each.before, each.after) for each in differences(table, "RR@10")]
    assert pairs == [("BM25", "good"), ("BM25", "bad"), ("good", "bad")]
