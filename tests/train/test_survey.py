from __future__ import annotations

import pytest

from crossrank.errors import InputError
from crossrank.train.leakage import Guard
from crossrank.train.survey import blocks, survey, watched
from tests.evaluate.worlds import write_jsonl


@pytest.fixture
def path(tmp_path):
    rows = [{"query": f"q{n}", "positive": "a", "negatives": ["b"] * (n % 3), "id": n} for n in range(7)]
    return write_jsonl(tmp_path / "data.jsonl", rows)


def test_every_row_is_counted_and_given_and_comes_in_blocks(path):
    met = []
    seen = survey(path, take=met.append)
    assert (seen.rows, len(met), seen.leaks) == (7, 7, ())
    drawn = list(blocks(seen, 4))
    assert [[row.extra["id"] for row in block] for block in drawn] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [row.record for block in drawn for row in block] == met
    assert drawn[0][1].extra == {"id": 1}


def test_rows_that_leak_are_named_and_left_out(path):
    seen = survey(path, Guard({"dev": ["Q3?"]}))
    assert [leak.where for leak in seen.leaks] == [f"{path}:4"]
    assert seen.rows == 6
    assert [row.record.query for block in blocks(seen, 100) for row in block] == ["q0", "q1", "q2", "q4", "q5", "q6"]


def test_progress_is_told_of_the_rows_behind_each_block(path):
    told = []
    list(watched(blocks(survey(path), 4), 7, lambda done, total: told.append((done, total))))
    assert told == [(0, 7), (3, 7), (6, 7)]


def test_a_file_without_records_is_refused(tmp_path, path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="has no records"):
        survey(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="no records but 7 that leak"):
        survey(path, Guard({"dev": [f"q{n}" for n in range(7)]}))


def test_a_bad_last_line_is_met_before_any_work(path):
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(InputError, match=r"data\.jsonl:8: "):
        survey(path)
