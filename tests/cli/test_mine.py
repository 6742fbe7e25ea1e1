from __future__ import annotations

import json

import pytest

from tests.evaluate.worlds import write_jsonl
from tests.train.encoders import write_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def data(tmp_path):
    pairs = [(a, b) for a in ("whale", "bee", "salt", "bread") for b in ("sea", "sun", "sand")]
    return write_jsonl(tmp_path / "data.jsonl", [{"query": f"{a} {b}", "positive": f"{a} of {b}"} for a, b in pairs])


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_negatives_are_written_and_counted(run, data, tmp_path):
    ran = run("mine", data, "--into", tmp_path / "out.jsonl", "--negatives", 2)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["written"], told["negatives"], told["found_by"]) == (12, 24, {"bm25": 24})
    assert all(row["labels"] == [1, 0, 0] for row in rows(tmp_path / "out.jsonl"))


def test_a_reranker_judges_by_a_margin_unless_another_is_asked_for(run, folder, data, tmp_path):
    written = {}
    for name, extra in (("plain", []), ("off", ["--relative-margin", 0]), ("most", ["--max-score", 1])):
        ran = run("mine", data, "--into", tmp_path / name, "--reranker", folder, *extra)
        assert ran.code == 0, ran.err
        written[name] = json.loads(ran.out)
    assert written["most"]["too_near"] == 0 < written["off"]["too_near"] < written["plain"]["too_near"]
    assert all(len(row["scores"]) == len(row["documents"]) for row in rows(tmp_path / "plain"))


def test_a_bi_encoder_searches_alone_or_with_bm25(run, data, tmp_path):
    encoder = write_encoder(tmp_path / "encoder")
    options = ("--biencoder", encoder, "--max-score", 1.1, "--device", "cpu")
    alone = json.loads(run("mine", data, "--into", tmp_path / "alone", *options, "--no-bm25").out)
    both = json.loads(run("mine", data, "--into", tmp_path / "both", *options).out)
    assert set(alone["found_by"]) == {"biencoder"}
    assert "bm25+biencoder" in both["found_by"]


def test_a_terminal_sees_what_was_done_and_a_sample(terminal, data, tmp_path):
    shown = terminal("mine", data, "--into", tmp_path / "out.jsonl")
    assert "12 records" in shown
    assert "passed over" in shown
    assert "  + whale of sea" in shown
    assert "  - whale of s" in shown


def test_what_is_not_written_is_said(run, tmp_path):
    line = {"query": "whale sea", "documents": ["a whale", "a bee"], "labels": [1, 0], "scores": [3.0, -2.0]}
    scored = write_jsonl(tmp_path / "scored.jsonl", [line, {"query": "sea", "positive": "the sea"}])
    ran = run("mine", scored, "--into", tmp_path / "out")
    assert json.loads(ran.out)["scores_dropped"] == 1
    assert ran.err.startswith("crossrank: 1 record written without their scores")
    alone = write_jsonl(tmp_path / "alone.jsonl", [{"query": "whale", "positive": "a whale"}])
    ran = run("mine", alone, "--into", tmp_path / "empty")
    assert (ran.code, json.loads(ran.out)["without_negative"]) == (0, 1)
    assert "empty is empty; no query ended with a positive and a negative" in ran.err


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("--query-prompt", "query: ", "--biencoder"),
        ("--document-prompt", "", "--biencoder"),
        ("--max-length", 64, "--reranker"),
        ("--dtype", "float32", "--reranker"),
    ],
)
def test_an_option_of_a_model_that_is_not_named_is_wrong_usage(option, value, needed, run, data, tmp_path):
    ran = run("mine", data, "--into", tmp_path / "out", option, value)
    assert (ran.code, f"goes with {needed}" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_is_refused(run, data, tmp_path):
    for extra, complaint in (
        (["--no-bm25"], "nothing searches"),
        (["--max-score", 0.5], "needs a judge"),
        (["--negatives", 0], "negatives should be at least 1"),
        (["--biencoder", tmp_path], "is no bi-encoder"),
        (["--corpus", tmp_path / "absent.jsonl"], "cannot be read"),
    ):
        ran = run("mine", data, "--into", tmp_path / "out", *extra)
        assert (ran.code, complaint in ran.err) == (3, True), ran.err
        assert not (tmp_path / "out").exists()
