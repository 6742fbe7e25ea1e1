from __future__ import annotations

import importlib.util

import pytest

from crossrank.collections import open_collection
from crossrank.errors import InputError
from crossrank.evaluate import suites
from crossrank.evaluate.measures import parse
from crossrank.evaluate.suites import find_members, read_suite, suite_names
from tests.evaluate.worlds import write_beir

NO_NETWORK = pytest.mark.skipif(importlib.util.find_spec("ir_datasets") is not None, reason="ir_datasets is installed")


def test_the_suites_that_people_compare_on_are_here():
    expected = {"beir", "mkqa", "mldr", "codesearchnet", "air-bench", "toolbench", "table-search", "loco"}
    assert set(suite_names()) == expected


@pytest.mark.parametrize("name", suite_names())
def test_a_suite_has_measures_that_exist_and_collections_of_different_names(name):
    suite = read_suite(name)
    assert parse([suite.measure, *suite.also]) == [suite.measure, *suite.also]
    names = [member.name for member in suite.collections]
    assert names
    assert len(set(names)) == len(names)
    assert "http" in suite.where or "hub" in suite.where


@pytest.mark.parametrize(
    ("name", "measure"),
    [("beir", "nDCG@10"), ("mkqa", "R@10"), ("codesearchnet", "RR@10"), ("toolbench", "R@3"), ("table-search", "R@3")],
)
def test_a_suite_is_compared_by_the_measure_of_its_literature(name, measure):
    assert read_suite(name).measure == measure


@NO_NETWORK
def test_missing_data_says_exactly_what_to_get_and_where_to_put_it(tmp_path):
    write_beir(tmp_path / "toolbench_g1")
    with pytest.raises(InputError) as caught:
        find_members(read_suite("toolbench"), tmp_path)
    message = str(caught.value)
    assert "lacks 2 of its 3 collections" in message
    assert "github.com/THUNLP-MT/StableToolBench" in message
    assert str(tmp_path / "toolbench_g2") in message
    assert f"  {tmp_path / 'toolbench_g1'}" not in message


@NO_NETWORK
def test_what_is_there_can_be_evaluated_alone_unless_that_is_nothing(tmp_path):
    with pytest.raises(InputError, match="lacks 1 of its 1"):
        find_members(read_suite("table-search"), tmp_path, skip_missing=True)
    write_beir(tmp_path / "toolbench_g3")
    assert find_members(read_suite("toolbench"), tmp_path, skip_missing=True) == [str(tmp_path / "toolbench_g3")]


def test_the_languages_of_one_folder_are_collections_of_their_own(tmp_path):
    languages = "ar de el en es hi ro ru th tr vi zh".split()
    documents = {f"{language}-1": ("", "whale") for language in languages}
    queries = {f"{language}-q": "whale" for language in languages}
    write_beir(tmp_path / "xquad", documents, queries, {f"{lang}-q": {f"{lang}-1": 1} for lang in languages})
    specs = find_members(read_suite("mkqa"), tmp_path)
    assert [list(open_collection(spec).documents) for spec in specs] == [[f"{lang}-1"] for lang in languages]


def test_an_unknown_suite_names_the_near_one():
    with pytest.raises(InputError, match="no suite 'tool-bench'; did you mean 'toolbench'"):
        read_suite("tool-bench")
    with pytest.raises(InputError, match="there are air-bench, beir"):
        read_suite("zzz")


def test_an_unknown_key_in_a_suites_file_names_the_near_one(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('title = "x"\nabout = "x"\nmesure = "AP"\nwhere = "x"\n')
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="unknown key 'mesure'; did you mean 'measure'"):
        read_suite("mine")
