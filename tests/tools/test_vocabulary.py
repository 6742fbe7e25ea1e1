"""Vocabularies with fewer pieces, and texts that are cut up as before."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from crossrank.tools.vocabulary import read_vocabulary, rewritten


@st.composite
def unigrams(draw):
    """A small vocabulary over few letters with many equal scores, and which pieces stay."""
    pieces = draw(st.lists(st.text("ab▁c", min_size=1, max_size=4), min_size=3, max_size=14, unique=True))
    scores = draw(st.lists(st.sampled_from([-1.0, -2.0, -3.0, -0.1, -0.7]), min_size=14, max_size=14))
    stay = draw(st.lists(st.booleans(), min_size=14, max_size=14))
    return [("<unk>", 0.0), *zip(pieces, scores, strict=False)], [True, *stay[: len(pieces)]]


@settings(max_examples=150)
@given(unigrams(), st.lists(st.text("ab cx", max_size=12), min_size=1, max_size=8))
def test_whatever_unigram_pieces_go_the_best_path_over_those_that_stay_is_the_best_path(tmp_path_factory, made, words):
    scored, stay = made
    raw = tokenizers.Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=False))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    same_after_rewriting(tmp_path_factory.mktemp("unigram"), raw, stay, words)


@st.composite
def wordpieces(draw):
    """A small vocabulary in which some characters may begin a word, or end a piece, and not continue one."""
    starts = draw(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
    continuing = draw(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
    stay = draw(st.lists(st.booleans(), min_size=16, max_size=16))
    pieces = ["[UNK]", *starts, *(f"##{piece}" for piece in continuing)]
    return pieces, [True, *stay[: len(pieces) - 1]]


@settings(max_examples=150)
@example(made=(["[UNK]", "a", "ab", "##b", "##bx"], [True, True, False, True, True]), words=["abx", "ab"])
@given(made=wordpieces(), words=st.lists(st.text("abc ", max_size=10), min_size=1, max_size=8))
def test_whatever_word_pieces_go_the_longest_that_stay_are_the_longest(tmp_path_factory, made, words):
    pieces, stay = made
    raw = tokenizers.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    same_after_rewriting(tmp_path_factory.mktemp("wordpiece"), raw, stay, words)


def same_after_rewriting(folder: Path, raw: tokenizers.Tokenizer, stay: list[bool], words: list[str]) -> None:
    """Texts whose pieces stay are the same pieces with the new ids."""
    raw.save(str(folder / "tokenizer.json"))
    vocabulary = read_vocabulary(folder / "tokenizer.json")
    kept = sorted(({i for i, stays in enumerate(stay) if stays} - vocabulary.forbidden) | vocabulary.fixed)
    moved = {old: new for new, old in enumerate(kept)}
    trimmed = tokenizers.Tokenizer.from_str(rewritten(vocabulary, moved))
    for text in words:
        before = raw.encode(text).ids
        if set(before) <= set(moved):
            assert trimmed.encode(text).ids == [moved[i] for i in before], (text, raw.encode(text).tokens)
