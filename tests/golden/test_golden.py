"""Frozen numbers: those of reference libraries on the small checkpoints here, and those published of the real models.

The published ones need the real weights: set CROSSRANK_GOLDEN_MODELS to a folder with one sub-folder a model, named as
below, and they run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from crossrank import Reranker

HERE = Path(__file__).parent
FROZEN = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
MODELS = os.environ.get("CROSSRANK_GOLDEN_MODELS")

FRANCE = [
    ("What is the capital of France?", "Paris is the capital of France."),
    ("What is the capital of France?", "Berlin is the capital of Germany."),
]
# Raw logits that fastembed's tests hold the ONNX exports of these models to, within 1e-3.
PUBLISHED = {
    "jina-reranker-v1-tiny-en": [2.5911, 0.1122],
    "jina-reranker-v1-turbo-en": [1.8295, -2.8908],
    "jina-reranker-v2-base-multilingual": [1.6533, -1.6455],
    "bge-reranker-base": [6.15733, -3.65939],
    "ms-marco-MiniLM-L-6-v2": [8.500708, -2.541011],
    "ms-marco-MiniLM-L-12-v2": [9.330912, -2.0380247],
}


@pytest.mark.parametrize("kind", FROZEN["cases"])
def test_a_small_checkpoint_scores_as_its_reference_did(kind):
    case = FROZEN["cases"][kind]
    pairs = [(FROZEN["query"], document) for document in FROZEN["documents"]]
    scores = Reranker.load(HERE / kind, device="cpu").score(pairs, raw="logits" in case)
    expected = case.get("logits") or case["scores"]
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    assert np.std(expected) > (0.3 if "logits" in case else 0.05)


@pytest.mark.skipif(MODELS is None, reason="CROSSRANK_GOLDEN_MODELS names no folder with the published weights")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_gives_its_published_logits(name):
    folder = Path(MODELS or "") / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    logits = Reranker.load(folder, device="cpu").score(FRANCE, raw=True)
    np.testing.assert_allclose(logits, PUBLISHED[name], atol=2e-3, rtol=0)


@pytest.mark.skipif(
    not (MODELS and (Path(MODELS) / "published_scores.json").is_file()),
    reason="CROSSRANK_GOLDEN_MODELS has no published_scores.json, which holds the texts of the model card's example",
)
def test_jina_reranker_v2_scores_its_cards_example_as_the_hosted_model_does():
    # The hosted model computes in float16, whose steps are 1e-3 to 2e-3 here; the card's own scores are bfloat16.
    case = json.loads((Path(MODELS or "") / "published_scores.json").read_text(encoding="utf-8"))["jina_v2_skincare"]
    reranker = Reranker.load(Path(MODELS or "") / "jina-reranker-v2-base-multilingual", device="cpu")
    scores = reranker.score([(case["query"], document) for document in case["documents"]])
    for index, published in case["hosted_fp16_top3"]:
        assert scores[index] == pytest.approx(published, abs=1e-3)
    np.testing.assert_allclose(scores, case["compute_score_bf16_flash"], atol=4e-3, rtol=0)
    order = np.argsort(case["compute_score_bf16_flash"])
    assert np.array_equal(np.argsort(scores), order)
