"""Pairs cut to fit: the rule is the tokenizers library's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank import InputError
from crossrank.adapters.truncation import is_one_pair, longest_first, truncated_logits
from tests import checkpoints, vocabularies
from tests.vocabularies import letters

LENGTHS = st.integers(0, 40)


@given(LENGTHS, LENGTHS, st.integers(1, 50))
def test_longest_first_keeps_what_the_tokenizers_library_keeps(first, second, room):
    raw = vocabularies.wordpiece()
    raw.enable_truncation(room + 3, strategy="longest_first")
    sides = raw.encode(letters(first), letters(second)).sequence_ids
    assert longest_first(first, second, room) == (sides.count(0), sides.count(1))


def test_a_pair_that_fits_is_whole():
    reranker = checkpoints.tiny("bert")
    pair = "what is a red fox", letters(400)
    assert truncated_logits(reranker, [pair]) == pytest.approx(reranker.score([pair], raw=True), abs=1e-6)


def test_a_pair_that_does_not_fit_is_cut_and_not_read_in_windows():
    reranker = checkpoints.tiny("bert")
    cut = truncated_logits(reranker, [("a b c", letters(30))], max_length=16)
    kept = truncated_logits(reranker, [("a b c", " ".join(letters(30).split()[:10]))])
    assert cut == pytest.approx(kept, abs=1e-6)


@pytest.mark.parametrize("max_length", [0, 3, 513])
def test_a_length_that_the_model_cannot_meet_is_named(max_length):
    with pytest.raises(InputError, match=rf"max_length should be from 4 to this model's 512, not {max_length}"):
        truncated_logits(checkpoints.tiny("bert"), [("a", "b")], max_length)


def test_two_strings_are_one_pair_and_two_pairs_are_not():
    assert is_one_pair(["query", "document"])
    assert is_one_pair(("query", "document"))
    assert not is_one_pair([("query", "document"), ("query", "other")])
    assert not is_one_pair([])
