"""A model against its float32 reference, and against published logits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from crossrank import InputError, Limits, Pair, Text
from crossrank.scorer import DTYPES
from crossrank.tools.verify import TOLERANCES, Golden, builtin_pairs, check, compare, kendall_tau, read_golden
from tests import checkpoints

QUERY = "what is the capital of france"
DOCUMENTS = ("paris is the capital of france", "berlin is the capital of germany", "a red fox")


@pytest.fixture(scope="module")
def reference():
    return checkpoints.tiny("bert", limits=Limits(budget=1))


def test_there_is_a_tolerance_for_every_dtype():
    assert list(TOLERANCES) == list(DTYPES)


def test_the_built_in_pairs_are_of_many_kinds_and_reach_the_models_limit(reference):
    pairs = builtin_pairs(reference)
    lengths = [len(reference.prepare(pair.query, [pair.document]).sequences[0]) for pair in pairs[-3:]]
    assert lengths[-1] == reference.checkpoint.max_length == 512
    assert lengths[0] < lengths[1] < lengths[2]
    assert all(len(reference.prepare(pair.query, [pair.document]).sequences) == 1 for pair in pairs[-3:])
    assert len({pair.query for pair in pairs}) >= 5
    text = "\n".join(pair.document.text for pair in pairs)
    assert all(mark in text for mark in ("def ", "CREATE TABLE", '"parameters"', "大气"))


def test_the_longest_built_in_pair_fills_a_shorter_limit_too():
    short = checkpoints.tiny("bert", limits=Limits(max_length=100))
    last = builtin_pairs(short)[-1]
    assert [len(filled) for filled in short.prepare(last.query, [last.document]).sequences] == [100]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_agrees_with_its_reference(reference, dtype):
    result = compare(checkpoints.tiny("bert", dtype=dtype), reference, builtin_pairs(reference))
    assert result.passed
    assert result.pairs == 47
    assert 0 < result.mean_difference < result.max_difference <= result.tolerance
    assert result.kendall_tau > 0.9
    assert result.top_10 > 0.8
    assert result.tolerance == TOLERANCES[dtype] * (1 if dtype == "float32" else result.spread)


def test_another_model_fails(reference):
    other = checkpoints.load(checkpoints.bert(seed=1))
    result = compare(other, reference, builtin_pairs(reference))
    assert not result.passed
    assert result.kendall_tau < 0.9


def test_a_tolerance_can_be_given(reference):
    half = checkpoints.tiny("bert", dtype="bfloat16")
    pairs = builtin_pairs(reference)
    assert not compare(half, reference, pairs, 1e-6).passed
    assert compare(half, reference, pairs, 1e-6).tolerance == pytest.approx(
        1e-6 * compare(half, reference, pairs).spread
    )


def test_nothing_to_compare_is_refused(reference):
    with pytest.raises(InputError, match="pairs: there is nothing to compare"):
        compare(reference, reference, [])


def test_one_pair_has_no_order_to_agree_on(reference):
    result = compare(reference, reference, [Pair(Text("a"), Text("b"))])
    assert (result.kendall_tau, result.top_10, result.max_difference) == (None, None, 0)


SCORES = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30)


@given(SCORES)
def test_kendalls_tau_is_scipys(pairs):
    first, second = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    wanted = scipy.stats.kendalltau(first, second).statistic
    if np.isnan(wanted):
        wanted = float(np.ptp(first) == np.ptp(second) == 0)
    assert kendall_tau(first, second) == pytest.approx(wanted)


def test_published_logits_are_met_within_their_tolerance_and_not_beyond(reference):
    logits = tuple(reference.score([(QUERY, document) for document in DOCUMENTS], raw=True))
    golden = Golden(QUERY, DOCUMENTS, logits, atol=1e-3)
    assert check(reference, golden).passed
    off = replace(golden, logits=(*logits[:2], logits[2] + 2e-3))
    assert not check(reference, off).passed
    assert check(reference, off).max_difference == pytest.approx(2e-3, rel=1e-2)


def test_golden_files_hold_one_or_a_list(tmp_path):
    item = {"query": QUERY, "documents": list(DOCUMENTS), "logits": [1, 0.5, -2], "atol": 0.001}
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(item))
    one = read_golden(path)
    path.write_text(json.dumps([item, item]))
    assert one == [Golden(QUERY, DOCUMENTS, (1.0, 0.5, -2.0), 0.001)]
    assert read_golden(path) == one * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "golden.json is not JSON"),
        ("[]", "golden.json holds an empty list"),
        ("[3]", r"golden.json\[0\]: expected an object"),
        ('{"query": "q", "documents": ["d"]}', "golden.json lacks logits, atol"),
        ('{"query": "q", "documents": "d", "logits": [1], "atol": 1}', "documents a list of strings"),
        ('{"query": "q", "documents": ["d"], "logits": ["1"], "atol": 1}', "logits should be a list of numbers"),
        ('{"query": "q", "documents": ["d"], "logits": [1, 2], "atol": 1}', "1 documents and 2 logits"),
        ('{"query": "q", "documents": [], "logits": [], "atol": 1}', "0 documents and 0 logits"),
    ],
)
def test_what_is_wrong_with_a_golden_file_is_named(tmp_path, text, message):
    path = tmp_path / "golden.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_golden(path)


def test_a_missing_golden_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"golden\.json cannot be read: No such file"):
        read_golden(tmp_path / "golden.json")
