from __future__ import annotations

import json

import pytest

from crossrank import Reranker
from tests.evaluate.worlds import write_beir, write_jsonl
from tests.train.encoders import write_encoder


@pytest.fixture
def data(tmp_path):
    rows = [{"query": "a fox", "documents": ["a red fox", "paris"], "labels": [1, 0]}]
    return write_jsonl(tmp_path / "data.jsonl", [*rows, {"query": "what is yeast", "documents": ["bread"]}])


def test_scores_are_written_and_summed_up(run, folder, data, tmp_path):
    ran = run("teach", data, "--into", tmp_path / "out.jsonl", "--teacher", folder)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["rows"], told["documents"], told["ordered"], told["teachers"]) == (2, 3, 1, ["minilm"])
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    expected = Reranker.load(folder, device="cpu").score([("a fox", "a red fox"), ("a fox", "paris")], raw=True)
    assert first["scores"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_ensemble_is_the_weighted_mean(run, folder, data, tmp_path):
    encoder = f"biencoder:{write_encoder(tmp_path / 'encoder')}"
    for name, extra in (
        ("one", ["-t", folder]),
        ("other", ["-t", encoder]),
        ("both", ["-t", folder, "-t", encoder, "--weight", 3, "--weight", 1]),
    ):
        ran = run("teach", data, "--into", tmp_path / name, "--device", "cpu", *extra)
        assert ran.code == 0, ran.err
    one, other, both = (
        [score for line in (tmp_path / name).read_text().splitlines() for score in json.loads(line)["scores"]]
        for name in ("one", "other", "both")
    )
    assert both == pytest.approx([(3 * a + b) / 4 for a, b in zip(one, other, strict=True)], abs=1e-5)


def test_queries_of_an_evaluation_are_left_out_and_said(run, folder, data, tmp_path):
    write_beir(tmp_path / "world", queries={"q1": "What is Yeast?"})
    ran = run("teach", data, "--into", tmp_path / "out", "-t", folder, "--against", tmp_path / "world")
    told = json.loads(ran.out)
    assert (told["rows"], told["leaks"], told["leak_examples"][0]["similarity"]) == (1, 1, 1.0)
    assert "1 query left out: an evaluation asks the same" in ran.err
    assert f"{data}:2: 'what is yeast' is 100% 'What is Yeast?'" in ran.err


def test_a_terminal_is_told_in_words(terminal, folder, data, tmp_path):
    shown = terminal("teach", data, "--into", tmp_path / "out", "-t", folder)
    assert "2 records, 3 documents scored, written to" in shown
    assert "of 1 pair of labelled documents" in shown


def test_what_cannot_be_is_said_before_a_model_is_loaded(run, data, tmp_path):
    assert run("teach", data, "--into", tmp_path / "out", "-t", "a", "--weight", 1, "--weight", 2).code == 2
    assert run("teach", data, "--into", tmp_path / "out", "--leak-threshold", 0.5).code == 2
    ran = run("teach", data, "--into", data)
    assert (ran.code, "--overwrite" in ran.err) == (3, True)


def test_a_bad_line_is_named_by_file_and_line(run, folder, tmp_path):
    data = write_jsonl(tmp_path / "data.jsonl", [{"query": "q", "documents": ["d"]}, {"query": "q"}])
    ran = run("teach", data, "--into", tmp_path / "out", "-t", folder)
    assert (ran.code, f"{data}:2: no record" in ran.err) == (3, True)
    assert not (tmp_path / "out").exists()
