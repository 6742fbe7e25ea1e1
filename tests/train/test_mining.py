from __future__ import annotations

import json

import numpy as np
import pytest

from crossrank import Reranker
from crossrank.biencoder import BiEncoder
from crossrank.errors import InputError
from crossrank.reranker import sigmoid
from crossrank.train.leakage import Guard
from crossrank.train.mining import mine, sample
from crossrank.train.negatives import Mining
from crossrank.train.records import read_records
from tests.checkpoints import bert
from tests.evaluate.worlds import write_jsonl
from tests.train.encoders import write_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
WORDS = "whale bee flower bread salt engine water sun".split()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return BiEncoder(write_encoder(tmp_path_factory.mktemp("encoder")), device="cpu")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    return Reranker.load(bert(layers=1).write(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture
def data(tmp_path):
    """Queries of two words, each with one document that has both; other documents share one."""
    pairs = [(one, other) for one in WORDS for other in WORDS if one < other]
    rows = [{"query": f"{a} {b}", "positive": f"the {a} and the {b}", "id": n} for n, (a, b) in enumerate(pairs)]
    return write_jsonl(tmp_path / "data.jsonl", rows)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_bm25_alone_mines_documents_that_share_a_word(data, tmp_path):
    done = mine(data, tmp_path / "out.jsonl", Mining(negatives=3))
    written = rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in written] == list(range(28))
    for row in written:
        a, b = row["query"].split()
        positive, *negatives = row["documents"]
        assert positive == f"the {a} and the {b}"
        assert len(negatives) == 3
        assert all((a in text) != (b in text) for text in negatives)
        assert row["labels"] == [1, 0, 0, 0]
        assert "scores" not in row
    assert (done.corpus, done.records, done.written, done.negatives) == (28, 28, 28, 84)
    assert done.found_by == {"bm25": 84}
    assert done.own_documents == 28
    assert done.positive_score is None


def test_a_corpus_of_its_own_is_searched_instead_of_the_input(data, tmp_path):
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "title": "T", "text": "a whale"}, {"text": "a bee"}])
    done = mine(data, tmp_path / "out.jsonl", Mining(), corpora=[corpus])
    assert {text for row in rows(tmp_path / "out.jsonl") for text in row["documents"][1:]} == {"T\na whale", "a bee"}
    assert done.corpus == 2
    assert done.without_negative == 28 - done.written > 0


def test_a_bi_encoder_finds_and_judges_by_cosine(data, encoder, tmp_path):
    options = Mining(negatives=4, pool=20, absolute_margin=0.01)
    done = mine(data, tmp_path / "out.jsonl", options, bm25=False, encoder=encoder)
    assert set(done.found_by) == {"biencoder"}
    assert done.positive_score is not None
    for record in read_records(tmp_path / "out.jsonl"):
        query, documents = encoder.queries([record.query])[0], encoder.documents(list(record.documents))
        cosines = documents @ query
        assert max(cosines[1:]) <= cosines[0] - 0.01 + 1e-5


def test_a_reranker_filters_false_negatives_and_leaves_its_logits(data, encoder, reranker, tmp_path):
    options = Mining(negatives=4, pool=12, relative_margin=0.05)
    done = mine(data, tmp_path / "out.jsonl", options, encoder=encoder, reranker=reranker)
    written = list(read_records(tmp_path / "out.jsonl"))
    assert done.too_near > 0
    assert len(written) == done.written > 10
    for record in written:
        logits = reranker.score([(record.query, text) for text in record.documents], raw=True)
        assert record.scores == pytest.approx(logits, abs=1e-5)
        assert max(map(sigmoid, record.scores[1:])) <= 0.95 * sigmoid(record.scores[0])
    scores = [sigmoid(score) for record in written for score in record.scores[1:]]
    assert done.negative_score == pytest.approx(np.mean(scores))


def test_mining_that_is_cut_off_goes_on_to_the_same_result(data, encoder, reranker, tmp_path, monkeypatch):
    monkeypatch.setattr("crossrank.train.mining.BLOCK_DOCUMENTS", 5)
    options = Mining(negatives=2, sampling="random", max_score=0.99)
    parts = {"encoder": encoder, "reranker": reranker}
    whole = mine(data, tmp_path / "whole.jsonl", options, **parts)

    def kill(label, done, total):
        if (label, done) == ("mining", 10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine(data, tmp_path / "again.jsonl", options, **parts, progress=kill)
    assert not (tmp_path / "again.jsonl").exists()
    assert list(tmp_path.glob(".again.jsonl.*.vectors/*.npy")), "the corpus need not be encoded again"
    with pytest.raises(InputError, match="unfinished work with other options"):
        mine(data, tmp_path / "again.jsonl", Mining(negatives=3), **parts)
    assert mine(data, tmp_path / "again.jsonl", options, **parts) == whole
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jsonl", "data.jsonl", "whole.jsonl"]


def test_queries_of_an_evaluation_are_left_out_and_their_documents_too(data, tmp_path):
    done = mine(data, tmp_path / "out.jsonl", Mining(), guard=Guard({"dev": ["Bee, whale!"]}))
    assert [leak.query for leak in done.leaks] == ["bee whale"]
    assert (done.records, done.corpus) == (27, 27)


def test_a_sample_shows_the_positives_and_some_negatives(data, tmp_path):
    mine(data, tmp_path / "out.jsonl", Mining(negatives=5))
    shown = sample(tmp_path / "out.jsonl", count=2, negatives=3)
    expected = [(row["query"], row["documents"][:1], row["documents"][1:4]) for row in rows(tmp_path / "out.jsonl")[:2]]
    assert shown == expected


def test_scores_that_the_negatives_have_not_got_are_dropped_and_counted(reranker, tmp_path):
    lines = [
        {"query": "whale sea", "documents": ["a whale", "a bee"], "labels": [1, 0], "scores": [3.0, -2.0]},
        {"query": "salt", "documents": ["salt", "a sun"], "labels": [1, 0], "scores": [4.0, -1.0]},
        {"query": "sea whale", "positive": "the sea"},
    ]
    data = write_jsonl(tmp_path / "data.jsonl", lines)
    done = mine(data, tmp_path / "out.jsonl", Mining())
    mined, alone, plain = read_records(tmp_path / "out.jsonl")
    assert (mined.documents, mined.scores) == (("a whale", "a bee", "the sea"), ())
    assert alone.scores == (4.0, -1.0), "nothing was mined for it"
    assert plain.scores == ()
    assert done.scores_dropped == 1
    done = mine(data, tmp_path / "judged.jsonl", Mining(), reranker=reranker)
    assert done.scores_dropped == 0
    assert all(len(record.scores) == len(record.documents) for record in read_records(tmp_path / "judged.jsonl"))


@pytest.mark.parametrize("line", [{"query": "q", "document": "d", "label": 0}, {"query": "q", "documents": ["d", "e"]}])
def test_data_without_a_positive_is_refused_before_any_work(line, tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [line] * 3)
    with pytest.raises(InputError, match=r"data\.jsonl: none of its 3 records has a positive"):
        mine(data, tmp_path / "out.jsonl", Mining())
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_what_contradicts_itself_is_refused_before_any_work(data, tmp_path):
    with pytest.raises(InputError, match="nothing searches"):
        mine(data, tmp_path / "out.jsonl", Mining(), bm25=False)
    with pytest.raises(InputError, match="needs a judge"):
        mine(data, tmp_path / "out.jsonl", Mining(max_score=0.5))
    with pytest.raises(InputError, match="is there already"):
        mine(data, data, Mining())
