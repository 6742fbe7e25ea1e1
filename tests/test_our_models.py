"""Our models beside mini-en, by name, as a user has them."""

from __future__ import annotations

from crossrank import Limits, Reranker, hub


def test_tiny_en_ranks_and_can_read_a_long_document_whole():
    reranker = Reranker.load("tiny-en", device="cpu")
    assert reranker.checkpoint.architecture == "jinabert"
    assert (reranker.checkpoint.max_length, reranker.limits.max_length) == (8192, 256)
    documents = ["Goods that arrive broken are refunded in full.", "We sell shoes.", "The shop opens at ten."]
    assert reranker.rank("can I get a refund for a broken cup?", documents)[0].index == 0
    long = "We sell shoes. " * 1500 + "Goods that arrive broken are refunded in full."
    whole = Reranker.load("tiny-en", device="cpu", limits=Limits(max_length=8192))
    assert whole.rank("refund", [long])[0].windows == 1


def test_each_of_our_models_is_known_by_name_and_has_a_card():
    assert {"mini-en", "tiny-en"} <= set(hub.bundled_names())
    for name in hub.bundled_names():
        assert (hub.find(name) / "README.md").read_text(encoding="utf-8").startswith("---\nlanguage:")
