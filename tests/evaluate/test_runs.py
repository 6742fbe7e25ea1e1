from __future__ import annotations

import itertools
import math

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.evaluate.runs import in_order, read_run, safe_name, write_run, write_whole

SCORES = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, -1.0])
RANKED = st.dictionaries(st.text("abcXYZ019é", min_size=1, max_size=3), SCORES, max_size=12)


@given(RANKED)
def test_order_is_by_score_and_equals_by_descending_id(scores):
    ranked = in_order(scores.items())
    assert len(ranked) == len(scores)
    for (left, high), (right, low) in itertools.pairwise(ranked):
        assert high > low or (high == low and left.encode() > right.encode())


def test_scores_that_differ_beyond_float32_are_equal_as_in_trec_eval():
    assert [document for document, _ in in_order([("a", 1 + 1e-12), ("b", 1.0)])] == ["b", "a"]


@given(RANKED.filter(lambda scores: all(abs(score) < 1e30 for score in scores.values())))
def test_a_written_run_is_read_in_the_same_order_by_us_and_by_others(scores):
    import tempfile
    from pathlib import Path

    ranked = in_order(scores.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.run"
        write_run(path, {"q": ranked}, "tag")
        again = read_run(path).get("q", [])
        theirs = [(row.doc_id, row.score) for row in ir_measures.read_trec_run(str(path))]
    assert [document for document, _ in again] == [document for document, _ in ranked]
    written = [score for _, score in theirs]
    assert all(left > right for left, right in itertools.pairwise(written)), "no tie is left to a tool's own rule"
    for (_, before), (_, after) in zip(ranked, again, strict=True):
        assert math.isclose(before, after, rel_tol=1e-5, abs_tol=1e-30)


def test_the_rank_column_is_not_believed(tmp_path):
    path = tmp_path / "a.run"
    path.write_text("q Q0 low 1 0.1 x\nq Q0 high 2 0.9 x\n")
    assert [document for document, _ in read_run(path)["q"]] == ["high", "low"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q d 1", "there are 3 fields"),
        ("q Q0 d 1 nan x", "finite number, not 'nan'"),
        ("q Q0 d 1 best x", "finite number, not 'best'"),
        ("q Q0 a 1 2 x", "has document a twice"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path, line, complaint):
    path = tmp_path / "a.run"
    path.write_text(f"q Q0 a 1 1.0 x\n{line}\n")
    with pytest.raises(InputError, match=complaint) as caught:
        read_run(path)
    assert f"{path}:2:" in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "report.html"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_name_becomes_part_of_a_file_name():
    assert safe_name("many#de-") == "many-de"
    assert safe_name("../BM25 + x") == "BM25-x"
