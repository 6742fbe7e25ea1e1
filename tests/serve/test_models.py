"""Models as a server loads them."""

from __future__ import annotations

import asyncio

from crossrank.scorer import Scorer
from crossrank.serve.metrics import Metrics
from crossrank.serve.models import Models
from crossrank.serve.options import ServeOptions


def test_speed_is_first_measured_on_full_batches_of_texts_that_differ(folder, monkeypatch):
    """Equal ones are computed once, and would make a model seem many times as fast as it is."""
    batches: list[list[bytes]] = []
    logits = Scorer.logits

    def watched(self, sequences, *rest):
        batches.append([one.tokens.tobytes() for one in sequences])
        return logits(self, sequences, *rest)

    monkeypatch.setattr(Scorer, "logits", watched)
    models = Models(ServeOptions(model=(f"tiny={folder}",), device="cpu"), Metrics())
    loaded = asyncio.run(models.load(models.served["tiny"]))
    loaded.batcher.close()
    assert loaded.batcher.speed > 0
    assert any(len(batch) > 3 for batch in batches)
    assert all(len(set(batch)) == len(batch) for batch in batches)
