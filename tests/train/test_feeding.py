from __future__ import annotations

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
    rows = list(draw(replace(stage, loss="multiple_negatives", documents=1, steps=1), tmp_path, seed=0))
    assert rows == [{"query": "q", "positive": "d"}] * 8


def test_queries_that_a_dev_set_asks_are_left_out_and_counted(stage, tmp_path):
    lines = [{**line, "query": f"line {n} of them"} for n, line in enumerate(toy_lines(9, seed=1))]
    write_lines(tmp_path / "train.jsonl", lines)
    sieve = Sieve(Guard({"dev": ["Line 3 of them!"]}, threshold=1.0))
    rows = list(draw_sieved(stage, tmp_path, 3, sieve))
    assert {row["query"] for row in rows} == {f"line {n} of them" for n in range(9) if n != 3}
    assert sieve.left_out == {"line 3 of them"}
