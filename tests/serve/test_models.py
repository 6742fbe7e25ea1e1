"""Models as a server loads them."""

from __future__ import annotations

import asyncio

from crossrank.inputs import Text
from crossrank.scorer import Scorer
from crossrank.serve.asking import Ask, Group
from crossrank.serve.metrics import Metrics
from crossrank.serve.models import Models, Served
from crossrank.serve.options import ServeOptions, Source


def test_what_is_not_read_of_a_text_does_not_count_as_load():
    served = Served(Source("tiny", None, None, None))
    group = Group(query=Text("a" * 100_000), texts=[Text("b" * 50_000)] * 3, documents=[])
    ask = Ask(model=None, groups=[group])
    assert ask.characters(served.most_characters(100), served.most_characters(10)) == 3 * 300 + 3 * 30
    served.met(1_000_000, 100)
    assert served.characters_per_token < 4
    for _ in range(100):
        served.met(1, 1000)
    assert served.characters_per_token > 0.4


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
