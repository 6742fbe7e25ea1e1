from __future__ import annotations

import json

import pytest

from crossrank.collections.beir import read_beir
from crossrank.errors import InputError
from tests.evaluate.worlds import write_beir, write_jsonl


def test_titles_and_texts_gains_and_candidates_are_read(tmp_path):
    collection = read_beir(write_beir(tmp_path, candidates={"q1": ["d1", "d2"]}))
    assert collection.documents["d1"] == "Whales\nThe blue whale is the largest animal that has ever lived."
    assert collection.documents["d3"].startswith("Flowers")
    assert collection.qrels["q2"] == {"d2": 2, "d3": 1, "d1": 0}
    assert collection.candidates == {"q1": ("d1", "d2")}


def test_judgements_may_lie_where_beir_puts_them_and_lack_headings(tmp_path):
    write_beir(tmp_path)
    (tmp_path / "qrels.tsv").unlink()
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t3\n")
    assert read_beir(tmp_path).qrels == {"q1": {"d1": 3}}


def test_a_folder_without_judgements_names_the_places_looked_at(tmp_path):
    write_beir(tmp_path)
    (tmp_path / "qrels.tsv").unlink()
    with pytest.raises(InputError, match=r"qrels\.tsv, qrels/test\.tsv"):
        read_beir(tmp_path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q1\td1", "there are 2 fields"),
        ("q1 d1 1", "there are 1 fields"),
        ("q1\td1\thigh", "whole number, not 'high'"),
    ],
)
def test_a_bad_judgement_is_named_by_file_and_line(tmp_path, line, complaint):
    write_beir(tmp_path)
    (tmp_path / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\nq1\td1\t1\n{line}\n")
    with pytest.raises(InputError, match=complaint) as caught:
        read_beir(tmp_path)
    assert f"{tmp_path / 'qrels.tsv'}:3:" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text": "no id"}, "no '_id'"),
        ({"_id": "d1", "text": "again"}, "'d1' is there twice"),
        ({"_id": "d7", "text": 5}, "should be a string or an object, not int"),
    ],
)
def test_a_bad_document_is_named_by_file_and_line(tmp_path, row, complaint):
    write_beir(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=complaint) as caught:
        read_beir(tmp_path)
    assert "corpus.jsonl:7:" in str(caught.value)


def test_a_query_that_is_no_text_is_refused(tmp_path):
    write_beir(tmp_path)
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q1", "text": ["a"]}])
    with pytest.raises(InputError, match=r"queries\.jsonl:1: .*not list"):
        read_beir(tmp_path)
