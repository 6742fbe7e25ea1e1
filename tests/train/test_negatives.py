from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.inputs import Pair
from crossrank.reranker import sigmoid
from crossrank.train.corpus import Corpus, Search
from crossrank.train.negatives import Judged, Known, Mining, mined, reranker_judge
from crossrank.train.records import Record, read_record
from crossrank.train.survey import Row

CORPUS = Corpus([f"doc {n}" for n in range(10)])


def found(*ranking: int, name: str = "bm25") -> Search:
    """A search that ranks every query's documents alike."""
    return Search(name, lambda queries, depth: [list(ranking)[:depth] for _ in queries])


def mine(record: Record, searches: list[Search], judge=None, others: list[Record] | None = None, **options):
    known = Known()
    for each in [record, *(others or [])]:
        known.add(each)
    return mined([Row(record, {"id": 1})], CORPUS, searches, judge, known, Mining(**options))


def documents(block):
    return [row["documents"] for row in block.rows]


RECORD = Record("q", ("doc 3",), (1.0,))


def test_negatives_come_in_rank_order_after_the_querys_own_documents():
    block = mine(RECORD, [found(3, 5, 1, 2)], negatives=2)
    assert block.rows == [{"id": 1, "query": "q", "documents": ["doc 3", "doc 5", "doc 1"], "labels": [1, 0, 0]}]
    assert block.counts["own_documents"] == 1
    assert (block.counts["negatives"], block.counts["ranks"], block.counts["found by bm25"]) == (2, 1 + 2, 2)


def test_ranks_outside_the_range_are_not_taken():
    assert documents(mine(RECORD, [found(*range(10))], range_min=4, range_max=6)) == [["doc 3", "doc 4", "doc 5"]]


def test_searches_take_turns_and_a_document_that_both_found_comes_once():
    block = mine(RECORD, [found(0, 1, 2), found(1, 4, 0, name="biencoder")], negatives=3)
    assert documents(block) == [["doc 3", "doc 0", "doc 1", "doc 4"]]
    assert block.counts["found by bm25+biencoder"] == 2
    assert block.counts["found by biencoder"] == 1


def test_a_positive_of_the_same_query_on_another_line_is_no_negative():
    block = mine(RECORD, [found(5, 6)], others=[Record("Q ", ("DOC 5",), (2.0,)), Record("other", ("doc 6",), (1.0,))])
    assert documents(block) == [["doc 3", "doc 6"]]


def test_given_negatives_stay_and_are_not_mined_again():
    record = Record("q", ("doc 3", "doc 7"), (1.0, 0.0))
    block = mine(record, [found(7, 8)])
    assert block.rows[0]["documents"] == ["doc 3", "doc 7", "doc 8"]
    assert block.rows[0]["labels"] == [1, 0, 0]


def test_a_query_without_positive_or_without_negative_is_counted_and_left_out():
    assert mine(Record("q", ("doc 1",), (0.0,)), [found(2)]).counts["without_positive"] == 1
    assert mine(Record("q", ("doc 1",)), [found(2)]).counts["without_positive"] == 1
    empty = mine(RECORD, [found(3)])
    assert (empty.rows, empty.counts["without_negative"], empty.counts["written"]) == ([], 1, 0)


def near(scores: dict[str, float]):
    return lambda queries, texts: [Judged([scores[text] for text in own]) for own in texts]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"absolute_margin": 0.2}, ["doc 2"]),
        ({"relative_margin": 0.1}, ["doc 1", "doc 2"]),
        ({"max_score": 0.75}, ["doc 1", "doc 2"]),
        ({"relative_margin": 0.0}, ["doc 0", "doc 1", "doc 2"]),
        ({"relative_margin": 0.1, "max_score": 0.5}, ["doc 2"]),
        ({}, ["doc 4", "doc 0", "doc 1", "doc 2"]),
    ],
)
def test_what_comes_too_near_the_least_positive_is_dropped(options, kept):
    record = Record("q", ("doc 3", "doc 8"), (1.0, 2.0))
    judge = near({"doc 3": 0.8, "doc 8": 0.9, "doc 4": 0.85, "doc 0": 0.79, "doc 1": 0.7, "doc 2": 0.3})
    block = mine(record, [found(4, 0, 1, 2)], judge, **options)
    assert documents(block) == [["doc 3", "doc 8", *kept]]
    assert block.counts.get("too_near", 0) == 4 - len(kept)
    assert block.counts["positive_scores"] == pytest.approx(1.7)


def test_a_relative_margin_holds_below_zero_too():
    judge = near({"doc 3": -0.5, "doc 0": -0.52, "doc 1": -0.6})
    assert documents(mine(RECORD, [found(0, 1)], judge, relative_margin=0.1)) == [["doc 3", "doc 1"]]


def test_a_rerankers_logits_become_scores():
    values = {"doc 3": 2.0, "doc 0": 1.9, "doc 1": -3.0}

    def logits(pairs: list[Pair]) -> list[float]:
        return [values[pair.document.text] for pair in pairs]

    block = mine(RECORD, [found(0, 1)], reranker_judge(logits), max_score=sigmoid(1.0))
    assert block.rows[0]["scores"] == [2.0, -3.0]
    assert read_record(block.rows[0], "here").labels == (1, 0)


def test_only_the_pool_is_judged():
    judged = []

    def judge(queries, texts):
        judged.extend(texts)
        return [Judged([0.0] * len(own)) for own in texts]

    mine(RECORD, [found(*range(10))], judge, negatives=2, pool=4)
    assert judged == [["doc 3", "doc 0", "doc 1", "doc 2", "doc 4"]]


@settings(max_examples=40)
@given(seed=st.integers(0, 999), negatives=st.integers(1, 6), low=st.integers(0, 5))
def test_random_negatives_lie_in_the_range_and_are_the_same_each_time(seed, negatives, low):
    options = {"sampling": "random", "seed": seed, "negatives": negatives, "range_min": low, "range_max": 9}
    first, again = (documents(mine(RECORD, [found(*range(10))], **options)) for _ in range(2))
    assert first == again
    chosen = first[0][1:]
    allowed = {f"doc {n}" for n in range(low, 9)} - {"doc 3"}
    assert set(chosen) <= allowed
    assert len(set(chosen)) == len(chosen) == min(negatives, len(allowed))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"negatives": 0}, "negatives should be at least 1"),
        ({"range_min": 5, "range_max": 5}, "range_min < range_max"),
        ({"range_min": -1}, "range_min < range_max"),
        ({"pool": 3}, "a pool of 3 cannot give 8"),
        ({"max_score": float("nan")}, "max_score should be a finite number"),
        ({"sampling": "best"}, "sampling should be top or random"),
    ],
)
def test_options_that_cannot_be_are_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Mining(**options)
