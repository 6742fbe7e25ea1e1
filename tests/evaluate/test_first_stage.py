from __future__ import annotations

import pytest

from crossrank.collections import open_collection
from crossrank.errors import InputError
from crossrank.evaluate.first_stage import BM25, retrieve
from crossrank.words import words
from tests.evaluate.worlds import DOCUMENTS, write_beir


@pytest.fixture
def world(tmp_path):
    return open_collection(str(write_beir(tmp_path / "world", candidates={"q1": ["d2", "d1"], "q2": ["d4", "d2"]})))


def test_bm25_finds_the_documents_that_share_a_word_and_no_others(world):
    stage = retrieve(world, ["q1", "q3"], top_k=10)
    assert stage.run["q1"][0][0] == "d1"
    assert {document for document, _ in stage.run["q3"]} == {"d4", "d5"}
    assert stage.name == "BM25"


def test_bm25_is_the_formula(world):
    """score = sum of idf * tf / (tf + k1 (1 - b + b length / mean length)), idf = ln(1 + (N - n + 0.5) / (n + 0.5))."""
    import math

    tokens = {key: words(text) for key, text in world.documents.items()}
    mean = sum(map(len, tokens.values())) / len(tokens)
    expected = {}
    for key, found in tokens.items():
        total = 0.0
        for word in words(world.queries["q3"]):
            holding = sum(word in each for each in tokens.values())
            tf = found.count(word)
            idf = math.log(1 + (len(tokens) - holding + 0.5) / (holding + 0.5))
            total += idf * tf / (tf + 1.2 * (1 - 0.75 + 0.75 * len(found) / mean))
        expected[key] = total
    for document, score in BM25.of(world).search(world.queries["q3"], 10):
        assert score == pytest.approx(expected[document], rel=1e-5)


def test_nothing_is_forced_in_unless_asked_for(world):
    query = ["q3"]  # its relevant d4 and d5 are found at depth 2, only the better one at depth 1
    plain = retrieve(world, query, top_k=1).run["q3"]
    assert len(plain) == 1
    flattered = retrieve(world, query, top_k=1, inject_relevant=True)
    assert {document for document, _ in flattered.run["q3"]} == {"d4", "d5"}
    assert flattered.run["q3"][0] == plain[0], "what was missed goes below what was found"
    assert flattered.name == "BM25 + missed relevant"
    assert "d9" not in dict(flattered.run["q3"]), "a document that the corpus lacks cannot be added"


def test_candidates_and_judged_documents_are_ranked_by_bm25(world):
    offered = retrieve(world, ["q1", "q2"], source="candidates").run
    assert [document for document, _ in offered["q1"]] == ["d1", "d2"]
    assert {document for document, _ in offered["q2"]} == {"d2", "d4"}
    judged = retrieve(world, ["q2"], source="judged").run["q2"]
    assert {document for document, _ in judged} == {"d1", "d2", "d3"}
    with pytest.raises(InputError, match="'q3' comes with no candidates"):
        retrieve(world, ["q3"], source="candidates")


def test_a_run_file_is_taken_in_its_own_order_to_the_depth_asked_for(world, tmp_path):
    path = tmp_path / "theirs.run"
    path.write_text("q1 Q0 d4 1 3 x\nq1 Q0 d1 2 2 x\nq1 Q0 d2 3 1 x\n")
    stage = retrieve(world, ["q1", "q2"], source=str(path), top_k=2)
    assert [document for document, _ in stage.run["q1"]] == ["d4", "d1"]
    assert stage.run["q2"] == []
    assert stage.name == "theirs.run"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("q9 Q0 d1 1 3 x\n", "none of the 1 queries"), ("q1 Q0 zz 1 3 x\n", "1 documents that world has not got.*'zz'")],
)
def test_a_run_of_another_collection_is_refused(world, tmp_path, content, complaint):
    path = tmp_path / "theirs.run"
    path.write_text(content)
    with pytest.raises(InputError, match=complaint):
        retrieve(world, ["q1"], source=str(path))


def test_an_unknown_first_stage_says_what_there_is(world):
    with pytest.raises(InputError, match="bm25, candidates, judged or a TREC run"):
        retrieve(world, ["q1"], source="bm52")


def test_a_cached_index_finds_the_same_and_a_change_of_the_corpus_finds_another(world, tmp_path):
    cache = tmp_path / "cache"
    fresh = retrieve(world, world.usable).run
    assert retrieve(world, world.usable, cache=cache).run == fresh
    assert retrieve(world, world.usable, cache=cache).run == fresh
    assert len(list((cache / "bm25").iterdir())) == 1
    changed = open_collection(str(write_beir(tmp_path / "b", documents=DOCUMENTS | {"d7": ("", "largest whale")})))
    assert "d7" in dict(retrieve(changed, ["q1"], cache=cache).run["q1"])
    assert len(list((cache / "bm25").iterdir())) == 2


def test_the_key_follows_what_decides_the_candidates(world, tmp_path):
    path = tmp_path / "theirs.run"
    path.write_text("q1 Q0 d4 1 3 x\n")
    keys = {
        retrieve(world, ["q1"]).key,
        retrieve(world, ["q1"], top_k=3).key,
        retrieve(world, ["q1"], inject_relevant=True).key,
        retrieve(world, ["q1"], source="candidates").key,
        retrieve(world, ["q1"], source=str(path)).key,
    }
    assert len(keys) == 5
    assert retrieve(world, ["q1"]).key in keys
