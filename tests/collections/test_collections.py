from __future__ import annotations

import importlib.util

import pytest

from crossrank.collections import chosen_queries, open_collection
from crossrank.errors import InputError, MissingExtra
from tests.evaluate.worlds import DOCUMENTS, QUERIES, write_beir


def test_what_an_evaluation_cannot_use_is_counted_and_said(tmp_path):
    collection = open_collection(str(write_beir(tmp_path / "world")))
    assert collection.usable == ["q1", "q2", "q3", "q4"]
    assert str(collection.gap()) == (
        "1 empty queries left out, 1 unjudged queries left out, 1 queries without a relevant document left out, "
        "1 judgements of queries or documents that are not there"
    )


def test_a_relevant_document_is_one_with_a_positive_gain(tmp_path):
    assert open_collection(str(write_beir(tmp_path))).relevant("q2") == {"d2", "d3"}


def test_a_smaller_sample_is_a_part_of_a_larger_one_in_the_collections_order(tmp_path):
    queries = {f"q{i:02}": "text" for i in range(40)}
    world = write_beir(tmp_path, queries=queries, qrels={query: {"d1": 1} for query in queries})
    collection = open_collection(str(world))
    small, large = chosen_queries(collection, 5), chosen_queries(collection, 20)
    assert len(small) == 5
    assert len(large) == 20
    assert set(small) < set(large)
    assert large == sorted(large)
    assert large != list(queries)[:20], "the head of a file is no sample"
    assert chosen_queries(collection, 5, seed=1) != small
    assert chosen_queries(collection, None) == list(queries)


def test_the_digest_follows_every_part_of_the_content(tmp_path):
    base = open_collection(str(write_beir(tmp_path / "a"))).digest
    assert open_collection(str(write_beir(tmp_path / "b"))).digest == base
    others = [
        write_beir(tmp_path / "c", documents=DOCUMENTS | {"d1": ("Whales", "Other.")}),
        write_beir(tmp_path / "d", queries=QUERIES | {"q1": "other"}),
        write_beir(tmp_path / "e", qrels={"q1": {"d1": 1}}),
        write_beir(tmp_path / "f", candidates={"q1": ["d1"]}),
    ]
    assert len({open_collection(str(folder)).digest for folder in others} | {base}) == 5


def test_a_prefix_takes_one_language_of_many(tmp_path):
    documents = {"de-1": ("", "Wal"), "en-1": ("", "whale")}
    folder = write_beir(tmp_path / "many", documents, {"de-q": "Wal", "en-q": "whale"}, {"de-q": {"de-1": 1}})
    german = open_collection(f"{folder}#de-")
    assert list(german.documents) == ["de-1"]
    assert list(german.queries) == ["de-q"]
    assert german.name == "many#de-"
    with pytest.raises(InputError, match="many#fr-: 0 documents and 0 queries"):
        open_collection(f"{folder}#fr-")


def test_a_folder_that_is_no_collection_says_what_would_be(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"corpus\.jsonl, queries\.jsonl and qrels\.tsv.*this one has notes\.txt"):
        open_collection(str(tmp_path))
    with pytest.raises(InputError, match="no folder"):
        open_collection(str(tmp_path / "absent"))


def test_a_collection_on_which_nothing_can_be_measured_is_refused(tmp_path):
    with pytest.raises(InputError, match="no query has both text and a relevant document"):
        open_collection(str(write_beir(tmp_path / "a", qrels={"q1": {"d1": 0}})))
    with pytest.raises(InputError, match="has no document"):
        open_collection(str(write_beir(tmp_path / "b", documents={})))


@pytest.mark.skipif(importlib.util.find_spec("ir_datasets") is None, reason="ir_datasets is not installed")
def test_an_ir_datasets_id_is_a_collection(tmp_path):
    import ir_datasets

    (tmp_path / "docs.tsv").write_text("1\tA whale.\n2\tA bee.\n")
    (tmp_path / "queries.tsv").write_text("q1\twhale\nq2\tbee\n")
    (tmp_path / "qrels").write_text("q1 0 1 2\nq2 0 1 0\n")
    made = ir_datasets.create_dataset(*(str(tmp_path / name) for name in ("docs.tsv", "queries.tsv", "qrels")))
    ir_datasets.registry.register("crossrank/test", made)
    collection = open_collection("irds:crossrank/test")
    assert collection.name == "crossrank-test"
    assert collection.documents == {"1": "A whale.", "2": "A bee."}
    assert collection.queries == {"q1": "whale", "q2": "bee"}
    assert collection.qrels == {"q1": {"1": 2}, "q2": {"1": 0}}
    with pytest.raises(InputError, match="knows no such id"):
        open_collection("irds:crossrank/absent")


@pytest.mark.skipif(importlib.util.find_spec("ir_datasets") is not None, reason="ir_datasets is installed")
def test_an_ir_datasets_id_without_the_package_says_what_to_install():
    with pytest.raises(MissingExtra, match="pip install ir_datasets"):
        open_collection("irds:beir/scifact/test")
