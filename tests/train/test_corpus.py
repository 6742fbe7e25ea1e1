from __future__ import annotations

import numpy as np
import pytest

from crossrank.biencoder import BiEncoder
from crossrank.collections import open_collection
from crossrank.errors import InputError
from crossrank.evaluate.first_stage import retrieve
from crossrank.train.corpus import Corpus, bm25_search, dense_search, read_corpus, recalled, same, vectors
from tests.evaluate.worlds import DOCUMENTS, QUERIES, write_beir, write_jsonl
from tests.train.encoders import write_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
TEXTS = [text for _, text in DOCUMENTS.values()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return BiEncoder(write_encoder(tmp_path_factory.mktemp("encoder")), device="cpu")


def test_a_document_that_differs_in_case_and_spacing_is_held_once():
    corpus = Corpus(["A  b", "a B\n", "c", "", "c"])
    assert corpus.texts == ["A  b", "c"]
    assert corpus.keys == [same("a b"), same("C")]


def test_a_corpus_is_read_from_a_beir_file_with_its_titles_and_schemas(tmp_path):
    folder = write_beir(tmp_path / "world", {"d1": ("Whales", "big"), "d2": ("", {"name": "t", "columns": ["c"]})})
    corpus = Corpus()
    read_corpus([folder / "corpus.jsonl"], corpus)
    assert corpus.texts == ["Whales\nbig", "CREATE TABLE t (c);"]
    with pytest.raises(InputError, match="adds no document"):
        read_corpus([folder / "corpus.jsonl"], corpus)
    with pytest.raises(InputError, match=r"bad\.jsonl:1: .*not int"):
        read_corpus([write_jsonl(tmp_path / "bad.jsonl", [{"text": 3}])], corpus)


def test_bm25_finds_what_evaluation_finds(tmp_path):
    collection = open_collection(str(write_beir(tmp_path / "world")))
    names, texts = list(collection.documents), list(collection.documents.values())
    asked = ["q1", "q2", "q3", "q4"]
    run = retrieve(collection, asked, top_k=10).run
    found = bm25_search(texts).find([QUERIES[query] for query in asked], 10)
    assert {query: {names[place] for place in own} for query, own in zip(asked, found, strict=True)} == {
        query: {document for document, _ in ranked} for query, ranked in run.items()
    }
    assert bm25_search(texts).find(["zzz", ""], 2) == [[], []]


def test_the_nearest_documents_are_those_of_the_largest_cosines(encoder, tmp_path):
    corpus = Corpus(TEXTS)
    matrix = vectors(encoder, corpus, tmp_path / "kept")
    found = dense_search(encoder, matrix).find(["what is the capital", "a red fox"], 4)
    for query, own in zip(encoder.queries(["what is the capital", "a red fox"]), found, strict=True):
        assert own == np.argsort(-(matrix @ query), kind="stable")[:4].tolist()


def test_chunks_that_are_encoded_are_not_encoded_again(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("crossrank.train.corpus.CHUNK", 2)
    corpus = Corpus(TEXTS)
    told = []
    whole = vectors(encoder, corpus, tmp_path / "kept", lambda done, total: told.append((done, total)))
    assert told == [(0, 6), (2, 6), (4, 6)]
    (tmp_path / "kept" / "000000002.npy").unlink()
    np.save(tmp_path / "kept" / "000000000.npy", np.zeros((2, 32), dtype=np.float32))
    again = vectors(encoder, corpus, tmp_path / "kept")
    assert not again[:2].any(), "what is there is taken as it is"
    np.testing.assert_array_equal(again[2:], whole[2:])


def test_documents_of_the_corpus_are_recalled_and_others_encoded(encoder, tmp_path):
    corpus = Corpus(TEXTS[:3])
    matrix = vectors(encoder, corpus, tmp_path / "kept")
    asked = [TEXTS[4], TEXTS[1], "a red fox", TEXTS[1]]
    found = recalled(encoder, corpus, matrix)(asked)
    np.testing.assert_allclose(found, encoder.documents(asked), atol=1e-6)
    np.testing.assert_array_equal(found[1], matrix[1])
    assert recalled(encoder, corpus, -matrix)(TEXTS[:1])[0] @ matrix[0] < 0, "the vectors given are those returned"
