from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from crossrank.errors import InputError
from crossrank.train.feeding import Sieve, open_rows, write_rows
from crossrank.train.feeding import draw as draw_sieved
from crossrank.train.leakage import Guard
from crossrank.train.recipe import Mixed, read_recipe
from tests.train.worlds import toy_lines, write_lines, write_world


def draw(stage, data, seed, dev=()):
    return draw_sieved(stage, data, seed, Sieve(Guard({"dev": dev})))


@pytest.fixture
def stage(tmp_path):
    return read_recipe(write_world(tmp_path)).stage[0]


def test_a_stage_reads_as_many_rows_as_its_steps_need_and_the_same_again(stage, tmp_path):
    rows = list(draw(stage, tmp_path, seed=3))
    assert len(rows) == stage.steps * stage.batch
    assert rows == list(draw(stage, tmp_path, seed=3))
    assert rows != list(draw(stage, tmp_path, seed=4))
    assert rows != list(draw(replace(stage, name="other"), tmp_path, seed=3))


def test_weights_decide_how_often_a_source_is_drawn(stage, tmp_path):
    write_lines(tmp_path / "rare.jsonl", [{**line, "query": "rare"} for line in toy_lines(50, seed=5)])
    mixed = (Mixed(path="train.jsonl", weight=3.0), Mixed(path="rare.jsonl"))
    rows = list(draw(replace(stage, source=mixed, steps=100), tmp_path, seed=0))
    assert sum(row["query"] == "rare" for row in rows) / len(rows) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("loss", ["list_net", "binary_cross_entropy", "multiple_negatives", "margin_mse"])
def test_rows_come_back_from_disk_in_their_order(loss, stage, tmp_path):
    stage = replace(stage, loss=loss, target="")
    rows = list(draw(stage, tmp_path, seed=3))
    write_rows(iter(rows), tmp_path / "rows.arrow")
    read = open_rows(tmp_path / "rows.arrow")
    assert read.column_names == list(rows[0])
    assert [row["query"] for row in read] == [row["query"] for row in rows]
    # A label is a float32 there.
    assert read[5].keys() == rows[5].keys()
    label = "labels" if "labels" in rows[5] else "label"
    assert read[5].get(label) == (None if label not in rows[5] else pytest.approx(rows[5][label]))
    assert not (tmp_path / "rows.arrow.partial").exists()


def test_data_that_a_loss_cannot_learn_from_is_refused_with_what_it_needs(stage, tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"query": "q", "positive": "d"}])
    with pytest.raises(InputError, match="two documents or more whose labels differ.*`crossrank mine` finds negatives"):
        list(draw(stage, tmp_path, seed=0))
    with pytest.raises(InputError, match="a document labelled 1 and, unless documents = 1, one labelled 0"):
        list(draw(replace(stage, loss="multiple_negatives"), tmp_path, seed=0))
    rows = list(draw(replace(stage, loss="multiple_negatives", documents=1, batch=1, steps=8), tmp_path, seed=0))
    assert rows == [{"query": "q", "positive": "d"}] * 8


def own_positives_among_negatives(batch):
    """Pairs of rows of which one's query has the other's document for its positive, or is the other's query."""
    return [
        (row, other)
        for row in batch
        for other in batch
        if row is not other and (row["query"] == other["query"] or row["positive"] in list(other.values())[1:])
    ]


@pytest.mark.parametrize("loss", ["multiple_negatives", "cached_multiple_negatives"])
@pytest.mark.parametrize(
    ("lines", "documents"),
    [
        ([{"query": f"q{n % 30}", "positive": f"d{n}"} for n in range(90)], 1),
        ([{"query": f"q{n}", "positive": f"d{n}"} for n in range(20)], 1),
        ([{"query": f"q{n}", "positive": f"d{n}"} for n in range(16)], 1),
        ([{"query": f"q{n}", "positive": f"d{n % 30}"} for n in range(90)], 1),
        ([{"query": f"q{n}", "positive": f"d{n}", "negative": f"d{n * 7 % 60 + 1}"} for n in range(60)], 2),
    ],
    ids=["queries again", "few lines", "as many as a batch", "positives again", "mined of one another"],
)
def test_no_batch_has_a_querys_positive_as_another_querys(lines, documents, loss, stage, tmp_path):
    write_lines(tmp_path / "train.jsonl", lines)
    stage = replace(stage, loss=loss, target="", documents=documents, batch=16, steps=50)
    rows = list(draw(stage, tmp_path, seed=0))
    assert len(rows) == 800
    assert not any(own_positives_among_negatives(rows[start : start + 16]) for start in range(0, 800, 16))
    assert rows == list(draw(stage, tmp_path, seed=0))
    given = Counter(tuple(row.values()) for row in rows)
    assert set(given) == {tuple(line.values()) for line in lines}, "what is held back comes later"
    assert max(given.values()) - min(given.values()) <= 3


def test_rows_whose_queries_are_all_different_keep_their_order(stage, tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"query": f"q{n}", "positive": f"d{n}"} for n in range(200)])
    stage = replace(stage, loss="multiple_negatives", target="", documents=1, steps=10)
    other = replace(stage, batch=1, steps=80)  # of which no two are ever in a batch
    assert list(draw(stage, tmp_path, seed=0)) == list(draw(other, tmp_path, seed=0))


@pytest.mark.parametrize(
    ("lines", "met"),
    [
        ([{"query": f"q{n % 7}", "positive": f"d{n}"} for n in range(70)], "7 queries, 70 positives"),
        ([{"query": f"q{n}", "positive": f"d{n % 7}"} for n in range(70)], "70 queries, 7 positives"),
    ],
)
def test_too_few_queries_for_a_batch_are_refused_with_how_many_there_are(lines, met, stage, tmp_path):
    write_lines(tmp_path / "train.jsonl", lines)
    stage = replace(stage, loss="multiple_negatives", target="", documents=1)
    with pytest.raises(InputError, match=rf"stage 'labels': .*train\.jsonl wait for a batch of 8 .*\({met}\)"):
        list(draw(stage, tmp_path, seed=0))


def test_a_lone_surrogate_is_read_as_it_is_when_served(stage, tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"query": "q\ud800", "documents": ["\udfff", "d"], "labels": [1, 0]}])
    write_rows(draw(replace(stage, steps=1), tmp_path, seed=0), tmp_path / "rows.arrow")
    row = open_rows(tmp_path / "rows.arrow")[0]
    assert (row["query"], sorted(row["documents"])) == ("q\ufffd", ["d", "\ufffd"])


def test_queries_that_a_dev_set_asks_are_left_out_and_counted(stage, tmp_path):
    lines = [{**line, "query": f"line {n} of them"} for n, line in enumerate(toy_lines(9, seed=1))]
    write_lines(tmp_path / "train.jsonl", lines)
    sieve = Sieve(Guard({"dev": ["Line 3 of them!"]}, threshold=1.0))
    rows = list(draw_sieved(stage, tmp_path, 3, sieve))
    assert {row["query"] for row in rows} == {f"line {n} of them" for n in range(9) if n != 3}
    assert sieve.left_out == {"line 3 of them"}
