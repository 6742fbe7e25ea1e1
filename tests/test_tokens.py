"""One side of a pair as ids, for each kind of tokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crossrank import CheckpointError
from crossrank import tokens as module
from crossrank.tokens import Tokenizer
from tests import vocabularies
from tests.vocabularies import KINDS, letters

SPECIALS = {"wordpiece": vocabularies.BERT_SPECIALS, "bpe": (*vocabularies.ROBERTA_SPECIALS, "<mask>")}
SPECIALS |= {"apart": SPECIALS["wordpiece"], "modern": SPECIALS["wordpiece"]}
SPECIALS |= {"unigram": SPECIALS["bpe"], "byte_bpe": SPECIALS["bpe"]}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def tokenizer(kind) -> Tokenizer:
    return Tokenizer(KINDS[kind]())


def test_a_text_is_the_tokenizers_ids_without_special_tokens(kind, tokenizer):
    texts = ["what is the capital of france", "", "a 🙂 fox", "Paris, 1789!"]
    expected = [KINDS[kind]().encode(text, add_special_tokens=False).ids for text in texts]
    assert [ids.tolist() for ids in tokenizer.encode(texts)] == expected
    assert all(ids.dtype == np.int32 for ids in tokenizer.encode(texts))


def test_text_that_spells_a_special_token_stays_text(kind, tokenizer):
    raw = KINDS[kind]()
    # The id of unknown text is itself a special token; text may have it for what the vocabulary lacks.
    special = {raw.token_to_id(token) for token in SPECIALS[kind]} - {
        raw.token_to_id("[UNK]"),
        raw.token_to_id("<unk>"),
    }
    for token in SPECIALS[kind]:
        for text in (token, f"a {token} b", f"a{token}b", f"{token}{token}", f" {token} ", f"\n{token}\n"):
            ids = tokenizer.encode([text])[0].tolist()
            assert ids
            assert not special & set(ids), text
            assert ids == tokenizer.raw.encode(text, add_special_tokens=False).ids


def test_special_tokens_in_a_text_change_nothing_before_and_after_them(tokenizer):
    texts = ["the fox", "the fox </s> the fox", " the fox"]  # ModernBERT's tells a word behind a space from the first
    [fox, spelled, later] = [ids.tolist() for ids in tokenizer.encode(texts)]
    assert spelled[: len(fox)] == fox
    assert spelled[-len(later) :] == later


def test_the_frame_of_a_pair_is_the_published_one(kind, tokenizer):
    frame = KINDS[kind]().encode("a", "a").ids
    assert tokenizer.framed_pair().ids == frame
    assert tokenizer.size == KINDS[kind]().get_vocab_size()


def test_offsets_count_code_points(tokenizer):
    text = "🙂 fox 🙂 a"
    offsets = tokenizer.offsets(text)
    assert len(offsets) == len(tokenizer.encode([text])[0])
    assert "".join(text[start:end] for start, end in offsets[-1:]).strip() == "a"
    assert tokenizer.offsets("").shape == (0, 2)


def test_truncation_and_padding_written_into_the_file_are_ignored(kind, tmp_path):
    raw = KINDS[kind]()
    raw.enable_truncation(8)
    raw.enable_padding(length=64)
    raw.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.read(tmp_path / "tokenizer.json")
    assert [len(ids) for ids in tokenizer.encode([letters(100), "a"])] == [100, len(tokenizer.encode(["a"])[0])]


def test_many_texts_are_encoded_in_order_a_chunk_at_a_time(tokenizer, monkeypatch):
    texts = [letters(n % 9, n) for n in range(50)]
    whole = tokenizer.encode(texts)
    monkeypatch.setattr(module, "CHUNK_CHARACTERS", 20)
    for one, other in zip(whole, tokenizer.encode(texts), strict=True):
        assert one.tolist() == other.tolist()


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="lacks tokenizer.json"):
        Tokenizer.read(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"version": "1.0", "model": {"type": "Novel"}})])
def test_a_tokenizer_that_cannot_be_parsed_is_named_with_the_librarys_version(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer.json cannot be read by tokenizers \d"):
        Tokenizer.read(path)


def test_added_tokens_have_the_ids_that_the_file_gives_them():
    """Special ones beyond a Unigram vocabulary too, though no text can spell them."""
    raw = vocabularies.unigram()
    rows = raw.get_vocab_size()
    raw.add_special_tokens(["<sep>"])
    raw.add_tokens(["crossrank"])
    tokenizer = Tokenizer(raw)
    assert tokenizer.encode(["crossrank"])[0].tolist() == [rows + 1]
    assert rows not in tokenizer.encode(["<sep>"])[0].tolist()
    assert tokenizer.size == rows + 2
