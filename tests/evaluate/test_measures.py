from __future__ import annotations

import math

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.evaluate.measures import mean, measure, parse
from crossrank.evaluate.runs import in_order

NAMES = ["nDCG@10", "nDCG@3", "R@3", "R@100", "AP", "P@5", "RR", "Success@1", "RR@10"]
DOCUMENTS = [f"d{i}" for i in range(14)]
# Few scores, so that ties are common; documents without judgement; judgements of documents that are not retrieved.
RUNS = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3", "stranger"]),
    st.dictionaries(st.sampled_from(DOCUMENTS), st.sampled_from([0.0, 0.5, 0.5000001, 1.0, -3.0]), max_size=14),
)
QRELS = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3", "q4"]),
    st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1, max_size=6),
    min_size=1,
)


def ours(run, qrels, names):
    ordered = {query: in_order(scores.items()) for query, scores in run.items()}
    return {(each.query, each.measure): each.value for each in measure(ordered, qrels, names)}


@given(RUNS, QRELS)
def test_values_equal_trec_eval_on_ties_empty_queries_and_unjudged_documents(run, qrels):
    """trec_eval breaks ties by itself here: it is given the tied scores, we give it the order that in_order made."""
    names = [name for name in NAMES if name != "RR@10"]
    measures = [ir_measures.parse_measure(name) for name in names]
    rows = ir_measures.pytrec_eval.iter_calc(measures, qrels, {q: scores for q, scores in run.items() if scores})
    theirs = {(row.query_id, str(row.measure)): row.value for row in rows}
    found = ours(run, qrels, names)
    assert found.keys() == {(query, name) for query in qrels for name in names}
    for key, value in found.items():
        assert value == pytest.approx(theirs[key], abs=1e-6), key


@given(RUNS, QRELS)
def test_values_equal_the_definitions(run, qrels):
    found = ours(run, qrels, ["nDCG@10", "RR@10", "R@3"])
    for query, gains in qrels.items():
        ranked = [gains.get(document, 0) for document, _ in in_order(run.get(query, {}).items())]
        relevant = sum(gain > 0 for gain in gains.values())
        best = dcg(sorted(gains.values(), reverse=True)[:10])
        first = next((place for place, gain in enumerate(ranked[:10], 1) if gain > 0), None)
        assert found[query, "nDCG@10"] == pytest.approx(dcg(ranked[:10]) / best if best else 0.0, abs=1e-6)
        assert found[query, "RR@10"] == pytest.approx(1 / first if first else 0.0, abs=1e-6)
        assert found[query, "R@3"] == pytest.approx(sum(g > 0 for g in ranked[:3]) / relevant if relevant else 0.0)


def dcg(gains: list[int]) -> float:
    """Järvelin and Kekäläinen's, with the gain itself and not its power of two, as trec_eval has it."""
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def test_measures_are_spelled_as_the_literature_does_and_said_once():
    assert parse(["nDCG@10", "R@3", "RR@10", "AP", "P@5", "R@3"]) == ["nDCG@10", "R@3", "RR@10", "AP", "P@5"]


def test_every_measure_that_cannot_be_computed_is_named():
    with pytest.raises(InputError) as caught:
        parse(["nDCG@10", "BLEU@4", "nonsense(", "ERR@10"])
    message = str(caught.value)
    assert all(name in message for name in ("'BLEU@4'", "'nonsense('", "'ERR@10'"))
    assert "'nDCG@10' (" not in message


def test_a_run_that_found_nothing_scores_nothing():
    assert ours({}, {"q": {"d1": 1}}, ["nDCG@10", "AP"]) == {("q", "nDCG@10"): 0.0, ("q", "AP"): 0.0}
    assert mean({}) == 0.0


def test_another_spelling_becomes_the_usual_one():
    assert parse(["NDCG@10", "MRR@10", "MAP"]) == ["nDCG@10", "RR@10", "AP"]
