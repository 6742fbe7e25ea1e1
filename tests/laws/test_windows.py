"""Windows, plans and orders, for any sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossrank.batch import plan
from crossrank.ranking import best_first
from crossrank.windows import best, windows
from tests.twins import jina_v2_inputs

lengths = st.integers(0, 5000)
capacities = st.integers(1, 1200)
overlaps = st.integers(0, 400)
logits = st.lists(st.sampled_from([-2.5, -0.0, 0.0, 1.5, 1.5000001, 3.0]) | st.floats(-9, 9), max_size=60)


@given(lengths, capacities, overlaps)
def test_windows_cover_the_document_in_order_and_fit(length, capacity, overlap):
    ranges = windows(length, capacity, overlap)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == length
    assert all(end - start <= capacity for start, end in ranges)
    assert all(after[0] <= before[1] for before, after in zip(ranges, ranges[1:], strict=False))
    assert all(after[0] > before[0] and after[1] > before[1] for before, after in zip(ranges, ranges[1:], strict=False))


@given(lengths, capacities, overlaps)
def test_windows_of_a_long_document_are_full_and_share_what_they_should(length, capacity, overlap):
    ranges = windows(length, capacity, overlap)
    shared = min(overlap, capacity // 4)
    if length <= capacity:
        assert ranges == [(0, length)]
        return
    assert all(end - start == capacity for start, end in ranges)
    assert ranges[-1] == (length - capacity, length)
    inner = [before[1] - after[0] for before, after in zip(ranges, ranges[1:-1], strict=False)]
    assert all(common == shared for common in inner)
    assert ranges[-2][1] - ranges[-1][0] >= shared


@given(st.integers(1, 40), st.integers(0, 600), st.integers(16, 90), st.integers(0, 40))
def test_windows_are_those_of_the_published_loop(query, document, max_length, overlap):
    max_query = max_length // 2
    inputs = jina_v2_inputs(
        range(query), range(document), max_length=max_length, max_query=max_query, overlap=overlap, bos=-1, eos=-1
    )
    kept = min(query, max_query - 2)
    ranges = windows(document, max_length - kept - 4, overlap)
    frame = [-1, *range(kept), -1, -1]
    assert inputs == [[*frame, *range(start, end), -1] for start, end in ranges]


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 400))
def test_a_plan_has_every_index_once_within_the_budget_longest_first(lengths, budget):
    groups = plan(lengths, budget)
    flat = [index for group in groups for index in group]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(groups)
    for group in groups:
        assert sum(lengths[index] for index in group) <= budget or len(group) == 1
    ordered = [lengths[index] for index in flat]
    assert ordered == sorted(ordered, reverse=True)
    assert all(a < b for a, b in zip(flat, flat[1:], strict=False) if lengths[a] == lengths[b])


@given(st.lists(st.integers(1, 300), min_size=2, max_size=60), st.integers(1, 400))
def test_a_plan_leaves_no_group_that_the_next_ones_first_would_fit_in(lengths, budget):
    groups = plan(lengths, budget)
    for group, following in zip(groups, groups[1:], strict=False):
        assert sum(lengths[index] for index in group) + lengths[following[0]] > budget


@given(logits, st.none() | st.integers(1, 70))
def test_the_order_is_by_descending_score_then_ascending_index(scores, top_n):
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    assert best_first(scores, top_n) == expected[:top_n]


@given(logits.filter(bool))
def test_the_best_window_is_the_first_in_the_order(scores):
    assert best(scores) == best_first(scores)[0]
