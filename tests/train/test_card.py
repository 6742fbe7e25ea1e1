from __future__ import annotations

import pytest

from crossrank.errors import InputError
from crossrank.train.card import FILE, better_than, digest, read_card

CARD = {"score": 0.7, "dev": "abc"}


@pytest.mark.parametrize(
    ("card", "score", "dev", "reason"),
    [
        (CARD, 0.8, "abc", None),
        (CARD, 0.6, "abc", "it scores 0.7000, and this run 0.6000"),
        (CARD, 0.7, "abc", "it scores 0.7000, and this run 0.7000"),
        (CARD, 0.8, "other", "not measured on the same dev sets"),
        (CARD, None, "abc", "not measured on the same dev sets"),
        (None, 0.8, "abc", "nobody knows how good it is"),
    ],
)
def test_only_a_model_known_to_be_worse_may_be_overwritten(card, score, dev, reason):
    found = better_than(card, score, dev)
    assert found is None if reason is None else reason in found


def test_a_card_that_is_no_object_is_refused(tmp_path):
    assert read_card(tmp_path) is None
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(InputError, match=r"training\.json should hold an object, not a list"):
        read_card(tmp_path)


def test_a_digest_is_of_the_content(tmp_path):
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
    assert digest([tmp_path / "a"]) == digest([tmp_path / "b"]) != digest([tmp_path / "c"])
