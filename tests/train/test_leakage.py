from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.train.leakage import Guard, normalised, shingles
from tests.evaluate.worlds import write_beir, write_jsonl

TEXT = st.text("abc ", min_size=1, max_size=12)


@pytest.fixture
def guard(tmp_path):
    return Guard.of([write_beir(tmp_path / "world")])


@pytest.mark.parametrize(
    "query", ["which animal is the largest", "Which animal is the LARGEST?", " ｗhich animal,is the largest"]
)
def test_a_query_that_differs_in_case_marks_and_spacing_is_the_same(guard, query):
    leak = guard.find(query, "train.jsonl:3")
    assert leak is not None
    assert (leak.evaluated, leak.similarity, leak.where) == ("which animal is the largest", 1.0, "train.jsonl:3")
    assert leak.collection.endswith("world")


def test_a_near_duplicate_is_found_and_another_question_of_the_same_form_is_not():
    guard = Guard({"dev": ["what is the capital city of france", "how many people live in germany"]})
    leak = guard.find("what's the capital city of france?")
    assert leak is not None
    assert 0.7 <= leak.similarity < 1
    assert guard.find("how many people live in hungary") is None
    assert guard.find("what is the capital city of ghana") is None


@settings(max_examples=60)
@given(held=st.lists(TEXT, max_size=8), query=TEXT, threshold=st.floats(0.05, 1))
def test_the_index_misses_nothing_that_comparing_with_every_query_would_find(held, query, threshold):
    own = shingles(normalised(query))
    others = [shingles(normalised(each)) for each in held]
    best = max((len(own & each) / len(own | each) for each in others if own | each), default=0)
    leak = Guard({"all": held}, threshold).find(query)
    assert (leak is not None) == (best >= threshold)
    if leak is not None:
        assert leak.similarity == best


def test_a_query_without_words_leaks_nothing():
    guard = Guard({"dev": ["???", ""]})
    assert guard.find("!!!") is None
    assert guard.find("") is None


def test_a_folder_that_is_no_collection_and_a_bad_line_are_named(tmp_path):
    with pytest.raises(InputError, match="has no queries.jsonl"):
        Guard.of([tmp_path])
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "1", "text": "a"}, {"_id": "2", "text": 3}])
    with pytest.raises(InputError, match=r"queries\.jsonl:2: .*not int"):
        Guard.of([tmp_path])


@pytest.mark.parametrize("threshold", [0.0, 1.5, -1.0])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(InputError, match="leakage threshold"):
        Guard({}, threshold)
