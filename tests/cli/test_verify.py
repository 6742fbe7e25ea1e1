"""`crossrank verify`."""

from __future__ import annotations

import json

import pytest

from crossrank import Reranker

QUERY = "what is the capital of france"
DOCUMENTS = ["paris is the capital of france", "berlin is the capital of germany", "a red fox"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_built_in_pairs_pass(run, folder, dtype):
    done = run("verify", "-m", folder, "--dtype", dtype, "--device", "cpu")
    assert (done.code, done.err) == (0, f"crossrank: minilm, {dtype} on cpu: passed\n")
    (record,) = done.records
    assert record["passed"] is True
    assert record["pairs"] == 47
    assert 0 < record["max_difference"] <= record["tolerance"]


def test_a_difference_above_the_tolerance_is_exit_1(run, folder):
    done = run("verify", "-m", folder, "--dtype", "bfloat16", "--tolerance", "1e-9")
    assert (done.code, done.records[0]["passed"]) == (1, False)
    assert done.err == "crossrank: minilm, bfloat16 on cpu: 1 of 1 comparisons failed\n"


def test_own_pairs_are_compared(run, folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"query": QUERY, "document": document}) + "\n" for document in DOCUMENTS))
    (record,) = run("verify", "-m", folder, "--pairs", pairs).records
    assert (record["pairs"], record["queries"], record["top_10"]) == (3, 1, None)


def test_a_bad_pair_is_named_by_its_line(run, folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"query": "a", "document": "b"}\n{"query": "a"}\n')
    done = run("verify", "-m", folder, "--pairs", pairs)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"crossrank: {pairs}:2: ")


def test_published_logits_are_checked_each_by_its_own_tolerance(run, folder, tmp_path):
    logits = Reranker.load(folder, device="cpu").score([(QUERY, document) for document in DOCUMENTS], raw=True)
    good = {"query": QUERY, "documents": DOCUMENTS, "logits": logits, "atol": 1e-3}
    golden = tmp_path / "golden.json"
    golden.write_text(json.dumps(good))
    assert run("verify", "-m", folder, "--golden", golden).code == 0
    golden.write_text(json.dumps([good, {**good, "logits": [logit + 1 for logit in logits]}]))
    done = run("verify", "-m", folder, "--golden", golden)
    assert (done.code, [record["passed"] for record in done.records]) == (1, [True, False])
    assert "1 of 2 comparisons failed" in done.err


def test_published_logits_go_without_pairs(run, folder, tmp_path):
    done = run("verify", "-m", folder, "--golden", tmp_path / "a.json", "--pairs", tmp_path / "b.jsonl")
    assert done.code == 2
    assert "the file has its own" in done.err


def test_a_terminal_gets_sentences(folder, terminal):
    first, second, last = terminal("verify", "-m", folder).splitlines()
    assert first.startswith("47 pairs, 5 queries, logits spread over ")
    assert second.startswith("difference: largest ")
    assert last == "crossrank: minilm, float32 on cpu: passed"
