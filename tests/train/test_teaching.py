from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crossrank import Reranker
from crossrank.biencoder import BiEncoder
from crossrank.errors import InputError, ModelError
from crossrank.inputs import Pair, Text
from crossrank.train.leakage import Guard
from crossrank.train.records import read_records
from crossrank.train.teaching import COSINE_SCALE, Teacher, biencoder_teacher, reranker_teacher, teach
from tests.checkpoints import bert
from tests.evaluate.worlds import DOCUMENTS, QUERIES, write_jsonl
from tests.train.encoders import write_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
TEXTS = [text for _, text in DOCUMENTS.values()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return BiEncoder(write_encoder(tmp_path_factory.mktemp("encoder")), device="cpu")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    return Reranker.load(bert(layers=1).write(tmp_path_factory.mktemp("model")), device="cpu")


@pytest.fixture
def data(tmp_path):
    rows = [
        {"query": query, "documents": TEXTS[n:], "labels": [2, *[0] * (5 - n)], "id": n}
        for n, query in enumerate(filter(None, QUERIES.values()))
    ]
    return write_jsonl(tmp_path / "data.jsonl", rows)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scores_are_the_rerankers_logits_and_the_rest_of_a_line_stays(data, reranker, tmp_path):
    taught = teach(data, tmp_path / "out.jsonl", [reranker_teacher(reranker)])
    for before, after in zip(rows(data), rows(tmp_path / "out.jsonl"), strict=True):
        assert {key: value for key, value in after.items() if key != "scores"} == before
        expected = reranker.score([(before["query"], text) for text in before["documents"]], raw=True)
        assert after["scores"] == pytest.approx(expected, abs=1e-5)
    scores = [score for record in read_records(tmp_path / "out.jsonl") for score in record.scores]
    assert (taught.rows, taught.documents) == (6, len(scores))
    assert taught.mean == pytest.approx(np.mean(scores))
    assert taught.deviation == pytest.approx(np.std(scores))


def test_agreement_is_the_share_of_labelled_pairs_in_order(data, tmp_path):
    first_best = Teacher("first", "first", lambda pairs: [-float(TEXTS.index(p.document.text)) for p in pairs])
    last_best = Teacher("last", "last", lambda pairs: [float(TEXTS.index(p.document.text)) for p in pairs])
    indifferent = Teacher("same", "same", lambda pairs: [1.0] * len(pairs))
    found = [teach(data, tmp_path / t.name, [t]) for t in (first_best, last_best, indifferent)]
    assert [taught.agreement for taught in found] == [1.0, 0.0, 0.5]
    assert found[0].ordered == 5 + 4 + 3 + 2 + 1


def test_a_bi_encoder_teaches_its_scaled_cosines(encoder):
    pairs = [Pair(Text(query), Text(text)) for query in ("what is paris", "a red fox") for text in TEXTS]
    scores = biencoder_teacher(encoder).logits(pairs)
    for pair, score in zip(pairs, scores, strict=True):
        query, document = encoder.queries([pair.query.text])[0], encoder.documents([pair.document.text])[0]
        assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)
        assert score == pytest.approx(COSINE_SCALE * float(query @ document), abs=1e-3)
    assert np.std(scores) > 0.01


def test_prompts_go_before_the_texts(encoder, tmp_path):
    folder = write_encoder(tmp_path)
    prompted = BiEncoder(folder, device="cpu", query_prompt="what is ", document_prompt="the ")
    np.testing.assert_allclose(prompted.queries(["fox"]), encoder.queries(["what is fox"]), atol=1e-6)
    np.testing.assert_allclose(prompted.documents(["fox"]), encoder.documents(["the fox"]), atol=1e-6)
    assert prompted.key != BiEncoder(folder, device="cpu").key


def test_several_teachers_give_their_weighted_mean(data, tmp_path):
    def constant(value, weight):
        return Teacher(str(value), str(value), lambda pairs: [value] * len(pairs), weight)

    teach(data, tmp_path / "out.jsonl", [constant(1.0, 3), constant(5.0, 1)])
    assert {score for row in rows(tmp_path / "out.jsonl") for score in row["scores"]} == {2.0}


def test_a_teacher_that_is_cut_off_goes_on_to_the_same_scores(tmp_path, reranker, monkeypatch):
    monkeypatch.setattr("crossrank.train.teaching.BLOCK_DOCUMENTS", 4)
    data = write_jsonl(tmp_path / "a.jsonl", [{"query": f"q {n}", "documents": TEXTS[: 1 + n % 4]} for n in range(12)])
    teach(data, tmp_path / "whole.jsonl", [reranker_teacher(reranker)])
    calls = []

    def failing(pairs):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(pairs))
        return reranker.pair_logits(pairs)

    key = reranker_teacher(reranker).key
    with pytest.raises(KeyboardInterrupt):
        teach(data, tmp_path / "again.jsonl", [Teacher("cut off", key, failing)])
    told = []
    teacher = reranker_teacher(reranker)
    teach(data, tmp_path / "again.jsonl", [teacher], progress=lambda done, total: told.append((done, total)))
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert told[-1][1] == 12


def test_queries_of_an_evaluation_are_left_out_and_said(data, tmp_path):
    teacher = Teacher("one", "one", lambda pairs: [1.0] * len(pairs))
    taught = teach(data, tmp_path / "out.jsonl", [teacher], guard=Guard({"dev": ["What do bees visit?"]}))
    assert [(leak.where, leak.query) for leak in taught.leaks] == [(f"{data}:2", "what do bees visit")]
    assert taught.rows == 5
    assert "what do bees visit" not in (tmp_path / "out.jsonl").read_text()


def test_what_cannot_teach_is_refused(tmp_path, data):
    with pytest.raises(InputError, match="no teacher"):
        teach(data, tmp_path / "out.jsonl", [])
    with pytest.raises(InputError, match="a weight should be a number above 0"):
        Teacher("none", "none", lambda pairs: [], math.nan)
    with pytest.raises(InputError, match="is no bi-encoder"):
        BiEncoder(tmp_path)
    (tmp_path / "modules.json").write_text("[{}]")
    with pytest.raises(ModelError, match="cannot be loaded by sentence-transformers"):
        BiEncoder(tmp_path)
