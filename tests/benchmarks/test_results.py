from __future__ import annotations

import pytest

from benchmarks.results import ENTRIES, page
from crossrank.collections import open_collection
from crossrank.evaluate.card import run_card
from crossrank.evaluate.measures import parse
from crossrank.evaluate.run import Options, evaluate_one
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir, write_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    inside = tmp_path_factory.mktemp("results")
    systems = [open_system(str(write_model(inside / f"tiny{seed}", seed))) for seed in range(3)]
    options = Options(work=inside, limit_queries=3)
    tables = [evaluate_one(open_collection(str(write_beir(inside / "scifact"))), systems, options)]
    return tables, "\n".join(page(tables, run_card(tables, systems, options, ["python"]), "python -m this"))


def test_the_page_shows_every_mean_and_says_that_it_is_a_sample(made):
    (table,), text = made
    (row,) = [line for line in text.splitlines() if line.startswith("| scifact: claims")]
    assert "| 3 of 4 |" in row
    assert "**A sample**" in text
    for outcome in table.outcomes:
        assert f"{outcome.mean('nDCG@10'):.3f}" in row


def test_every_table_of_the_page_has_cells_for_its_headings(made):
    _, text = made
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def test_each_collection_goes_by_a_measure_that_exists():
    assert parse([entry.measure for entry in ENTRIES])
    assert len({entry.folder for entry in ENTRIES}) == len(ENTRIES)
