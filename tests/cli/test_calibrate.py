from __future__ import annotations

import json
import shutil

import pytest

from crossrank import Reranker
from crossrank.calibration import FILE, read_calibration
from tests.evaluate.worlds import write_beir, write_jsonl


@pytest.fixture
def model(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


@pytest.fixture
def labels(model, tmp_path):
    """Pairs whose labels follow the model's own order, most of the time."""
    pairs = [(f"query {i}", f"document {j} {'whale ' * j}") for i in range(20) for j in range(6)]
    logits = Reranker.load(model).score(pairs, raw=True)
    middle = sorted(logits)[len(logits) // 2]
    rows = [
        {"query": q, "document": d, "label": int(logit > middle) if n % 7 else int(logit <= middle)}
        for n, ((q, d), logit) in enumerate(zip(pairs, logits, strict=True))
    ]
    return write_jsonl(tmp_path / "labels.jsonl", rows)


def test_the_map_and_its_threshold_are_stored_with_the_model(run, model, labels):
    ran = run("calibrate", labels, "--model", model)
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["pairs"] == 120
    assert report["loss_after"] < report["loss_before"]
    stored = read_calibration(model, ("model.safetensors",))
    assert stored is not None
    assert stored.method == "platt"
    assert stored.threshold == report["suggested"]["threshold"]
    assert stored.facts["labels"] == "labels.jsonl"


def test_a_dry_run_stores_nothing(run, model, labels):
    assert run("calibrate", labels, "--model", model, "--dry-run", "--method", "isotonic").code == 0
    assert not (model / FILE).exists()


def test_scores_do_not_change_when_a_model_is_calibrated(run, model, labels):
    before = Reranker.load(model).score([("query", "whale")])
    run("calibrate", labels, "--model", model)
    assert Reranker.load(model).score([("query", "whale")]) == before


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"query": "q", "document": "d"}', '"label" should be a number'),
        ('{"query": "q", "label": 1}', "document missing"),
        ("[]", 'expected {"query"'),
    ],
)
def test_a_bad_label_is_named_by_file_and_line(run, model, tmp_path, line, complaint):
    path = tmp_path / "labels.jsonl"
    path.write_text('{"query": "q", "document": "d", "label": true}\n' + line + "\n")
    ran = run("calibrate", path, "--model", model)
    assert ran.code == 3
    assert f"{path}:2" in ran.err
    assert complaint in ran.err


def test_a_collection_gives_its_candidates_as_pairs(run, model, tmp_path):
    ran = run("calibrate", write_beir(tmp_path / "world"), "--model", model)
    assert ran.code == 3
    assert "pairs in one half of the queries" in ran.err, "six documents are too few, and that is said"
