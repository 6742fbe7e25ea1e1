from __future__ import annotations

import math

import pytest

from crossrank.errors import InputError
from crossrank.train.bridge import cross_encoder
from crossrank.train.dev import Judged, measure, ndcg, read_dev
from crossrank.train.recipe import Dev
from tests.evaluate.worlds import write_jsonl
from tests.train.worlds import toy_module, write_lines


@pytest.mark.parametrize(
    ("scores", "judged", "expected"),
    [
        ([3, 2, 1], Judged("q", ("a", "b", "c"), (1, 0, 0)), 1),
        ([1, 2, 3], Judged("q", ("a", "b", "c"), (1, 0, 0)), 1 / 2),
        ([2, 3, 1], Judged("q", ("a", "b", "c"), (2, 1, 0)), (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ([3, 2], Judged("q", ("a", "b"), (1, 0), missed=(1,)), 1 / (1 + 1 / math.log2(3))),
        ([1, 1, 1], Judged("q", ("a", "b", "c"), (1, 0, 0)), 1 / 2),
    ],
    ids=["best first", "last", "graded", "not among the candidates", "ties"],
)
def test_ndcg_is_what_the_formula_says(scores, judged, expected):
    assert ndcg(scores, judged) == pytest.approx(expected)


def test_only_the_first_ten_count():
    judged = Judged("q", tuple("abcdefghijkl"), (0,) * 10 + (1, 1))
    assert ndcg(range(12, 0, -1), judged) == 0


def test_a_model_that_gives_all_the_same_score_earns_nothing_by_the_order_of_the_file(tmp_path):
    module = toy_module(tmp_path)
    with __import__("torch").no_grad():
        module.model.head.out.weight.zero_()
    judged = [Judged("fox", ("red", "paris", "france"), (1, 0, 0))]
    assert measure(cross_encoder(module, "cpu"), judged) == pytest.approx(1 / 2)


def test_labelled_pairs_of_a_query_are_its_documents(tmp_path):
    pairs = [("q", "a", 1), ("other", "x", 0), ("q", "b", 0), ("other", "y", 0)]
    write_lines(tmp_path / "dev.jsonl", [{"query": q, "document": d, "label": label} for q, d, label in pairs])
    assert read_dev(Dev(path="dev.jsonl"), tmp_path) == [Judged("q", ("a", "b"), (1, 0))]


def test_nothing_to_measure_is_refused(tmp_path):
    write_lines(tmp_path / "dev.jsonl", [{"query": "q", "document": "a", "label": 1}])
    with pytest.raises(InputError, match="no query has two documents or more and a label above 0"):
        read_dev(Dev(path="dev.jsonl"), tmp_path)


def test_a_beir_folder_is_measured_on_what_bm25_finds(tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    documents = {"d1": "red fox", "d2": "red whale", "d3": "nothing alike", "d4": "a red river"}
    write_jsonl(folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in documents.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": "q1", "text": "red"}, {"_id": "q2", "text": "river"}])
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t2\nq1\td3\t1\nq2\td4\t1\n")
    (judged,) = read_dev(Dev(path="beir", queries=1), tmp_path)
    assert judged.query == "red"
    assert sorted(judged.documents) == ["a red river", "red fox", "red whale"]
    assert sorted(judged.labels) == [0, 0, 2]
    assert judged.missed == (1,)


def test_a_folder_is_read_as_an_evaluation_reads_it(tmp_path):
    """Objects and numbers as ids, blank lines, judgements of dev: all that `evaluate` takes."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    schema = {"name": "river", "columns": ["length"]}
    write_jsonl(folder / "corpus.jsonl", [{"_id": 1, "title": "A", "text": "red fox"}, {"_id": 2, "text": schema}])
    write_jsonl(folder / "queries.jsonl", [{"_id": 7, "text": "river length red"}])
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n7\t2\t1\n\n")
    (judged,) = read_dev(Dev(path="beir"), tmp_path)
    assert sorted(judged.documents) == ["A\nred fox", "CREATE TABLE river (length);"]


def test_queries_for_which_bm25_finds_nothing_count_as_missed(tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", [{"_id": key, "text": key} for key in ("red fox", "red whale", "tree")])
    write_jsonl(folder / "queries.jsonl", [{"_id": key, "text": key} for key in ("red", "stone", "tree")])
    (folder / "qrels.tsv").write_text("red\tred fox\t1\nstone\ttree\t1\ntree\ttree\t1\n")
    found = read_dev(Dev(path="beir"), tmp_path)
    assert [(each.query, len(each.documents)) for each in found] == [("red", 2), ("stone", 0), ("tree", 1)]
    assert [ndcg([1.0] * len(each.documents), each) for each in found[1:]] == [0.0, 1.0]


def test_a_document_that_is_positive_once_stays_so(tmp_path):
    lines = [
        {"query": "q", "positives": ["d"], "negatives": ["e"]},
        {"query": "q", "positives": ["f"], "negatives": ["d"]},
    ]
    write_lines(tmp_path / "dev.jsonl", lines)
    (judged,) = read_dev(Dev(path="dev.jsonl"), tmp_path)
    assert dict(zip(judged.documents, judged.labels, strict=True)) == {"d": 1, "e": 0, "f": 1}


def test_a_broken_judgement_is_named(tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", [{"_id": "d", "text": "red"}])
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": "red"}])
    (folder / "qrels.tsv").write_text("q\td\tyes\n")
    with pytest.raises(InputError, match=r"qrels.tsv.*the gain should be a whole number, not 'yes'"):
        read_dev(Dev(path="beir"), tmp_path)
