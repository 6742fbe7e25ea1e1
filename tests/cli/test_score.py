"""`crossrank score`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from crossrank import Reranker
from crossrank.cli import score
from crossrank.reranker import sigmoid
from tests.vocabularies import letters

PAIRS = [
    {"query": "what is the capital of france", "document": "paris is the capital of france", "id": 7},
    {"query": "what is a fox", "document": {"text": "a red fox"}},
    {"query": "what is the capital of france", "document": ""},
]


def lines(values: list[object]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.fixture(scope="module")
def reranker(folder) -> Reranker:
    return Reranker.load(folder, device="cpu")


def test_pairs_come_back_in_order_with_score_and_logit(run, folder, reranker):
    done = run("score", "--model", folder, stdin=lines(PAIRS))
    logits = reranker.score([(pair["query"], pair["document"]) for pair in PAIRS], raw=True)
    assert (done.code, done.err) == (0, "")
    assert [record["logit"] for record in done.records] == pytest.approx(logits, abs=1e-6)
    assert done.records == [
        {**pair, "score": sigmoid(record["logit"]), "logit": record["logit"]}
        for pair, record in zip(PAIRS, done.records, strict=True)
    ]


@pytest.mark.parametrize("block", [1, 2, 7])
def test_the_size_of_a_block_changes_no_score(run, folder, monkeypatch, block):
    whole = run("score", "-m", folder, stdin=lines(PAIRS * 3)).records
    monkeypatch.setattr(score, "BLOCK_LINES", block)
    parts = run("score", "-m", folder, stdin=lines(PAIRS * 3)).records
    assert [record["logit"] for record in parts] == pytest.approx([record["logit"] for record in whole], abs=1e-5)


def test_bad_lines_give_an_error_in_their_place_and_the_others_are_scored(run, folder, tmp_path):
    path = tmp_path / "pairs.jsonl"
    bad = [b'{"query": "a"}\n', b"not json\n", b"[1, 2]\n", b'{"query": 1, "document": "b"}\n', b"\xff\n", b"\0\n"]
    good = lines(PAIRS[:1])
    path.write_bytes(good + b"\n" + b"".join(bad) + good)
    done = run("score", "-m", folder, path)
    assert done.code == 1
    first, *errors, last = done.records
    assert first == last
    assert [error["line"] for error in errors] == [3, 4, 5, 6, 7, 8]
    assert [set(error) for error in errors] == [{"line", "error"}] * 6
    assert 'expected "query" and "document"; document missing' in errors[0]["error"]
    assert "not JSON" in errors[1]["error"]
    assert "byte 0xff" in errors[4]["error"]
    said = done.err.splitlines()
    assert said[:-1] == [f"crossrank: {error['error']}" for error in errors]
    assert all(line.startswith(f"crossrank: {path}:{number}") for number, line in enumerate(said[:-1], 3))
    assert said[-1] == f"crossrank: 6 bad lines in {path}; the others are scored"


def test_a_cut_query_is_said_in_its_line_and_at_the_end(run, folder):
    long = {"query": letters(5000), "document": "a red fox"}
    done = run("score", "-m", folder, stdin=lines([*PAIRS, long, long]))
    assert [record.get("query_truncated") for record in done.records] == [None, None, None, True, True]
    assert done.err == "crossrank: 2 queries longer than 256 tokens cut there; --max-query sets it\n"


def test_a_score_that_a_line_had_is_replaced_and_that_is_said(run, folder):
    done = run("score", "-m", folder, stdin=lines([{**PAIRS[0], "score": "mine"}, {**PAIRS[1], "logit": 3}, PAIRS[2]]))
    assert done.records == run("score", "-m", folder, stdin=lines(PAIRS)).records
    assert done.err == "crossrank: 2 lines had a score or logit already, which the model's replaced\n"
    assert "in the place of any that the line had" in " ".join(run("score", "--help").out.split())


def test_no_pairs_give_nothing(run, folder):
    assert run("score", "-m", folder, stdin=b"\n") == run("score", "-m", folder)
    assert run("score", "-m", folder).out == ""


def test_a_missing_file_is_named_before_the_model_is_loaded(run, tmp_path):
    done = run("score", "-m", "no-such-model", tmp_path / "no.jsonl")
    assert (done.code, done.out) == (3, "")
    assert "no.jsonl cannot be read: No such file" in done.err


def test_a_block_is_written_before_the_next_is_read(folder):
    """Half of a conversation through pipes: the second block is sent only once the first is answered."""
    with subprocess.Popen(
        [sys.executable, "-m", "crossrank", "score", "-m", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        for _ in range(2):
            process.stdin.write(lines(PAIRS[:1]) * score.BLOCK_LINES)
            process.stdin.flush()
            answers = [json.loads(process.stdout.readline()) for _ in range(score.BLOCK_LINES)]
            assert len({answer["score"] for answer in answers}) == 1
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 0


def test_a_terminal_that_is_waited_for_is_told_so(folder, terminal):
    assert "crossrank: reading the terminal; end with Ctrl-D" in terminal("score", "-m", folder)
