"""Any text, for every kind of tokenizer: it becomes the tokenizer's own ids, and spans point back at it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank import Limits, Text
from crossrank.template import framed
from crossrank.tokens import Tokenizer
from tests import vocabularies
from tests.checkpoints import tiny
from tests.vocabularies import KINDS

SPECIALS = [*vocabularies.BERT_SPECIALS, *vocabularies.ROBERTA_SPECIALS, "<mask>"]
# Words between spaces, which no tokenizer here joins: a window's tokens are those of the words in it.
WORDS = ["a", "x", "7", "🙂", "中", "fox", "the", "é", "e\u0301", "🇫🇷", "👩‍👩‍👧", "ñ", "\u0e01\u0e33"]

texts = st.text(max_size=60) | st.lists(st.sampled_from([*SPECIALS, *WORDS, " ", "\n", "\x00"]), max_size=12).map(
    "".join
)


@cache
def tokenizer(kind: str) -> Tokenizer:
    return Tokenizer(KINDS[kind]())


@cache
def own(kind: str):
    return KINDS[kind]()


def spells_no_special(text: str) -> bool:
    return not any(special in text for special in SPECIALS)


@pytest.mark.parametrize("kind", KINDS)
@given(query=texts.filter(spells_no_special), document=texts.filter(spells_no_special))
def test_a_filled_pair_is_the_tokenizers_own_encoding_of_the_pair(kind, query, document):
    filled = framed(tokenizer(kind)).fill(*tokenizer(kind).encode([query, document]))
    assert filled.tokens.tolist() == own(kind).encode(query, document).ids


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
def test_no_text_holds_a_special_token(kind, text):
    unknown = {own(kind).token_to_id(token) for token in ("[UNK]", "<unk>")}
    special = {own(kind).token_to_id(token) for token in SPECIALS} - unknown - {None}
    [ids] = tokenizer(kind).encode([text])
    assert not special & set(ids.tolist())
    assert len(ids) == len(tokenizer(kind).offsets(text))


@given(st.text(alphabet=st.characters(), max_size=20) | st.text(alphabet=st.characters(categories=["Cs", "Lu"])))
def test_any_string_can_be_read_and_encoded(text):
    read = Text(text).text
    assert len(read) == len(text)
    read.encode("utf-8")
    for kind in KINDS:
        tokenizer(kind).encode([read])


@pytest.mark.parametrize("kind", ["bert", "jina_v1", "jina_v2"])
@settings(max_examples=40)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=12, max_size=80)
    | st.lists(st.sampled_from(["a", "🙂", "é", "e\u0301", "x"]), min_size=30, max_size=80)
)
def test_a_span_points_at_text_whose_own_tokens_are_the_windows(kind, words):
    reranker = tiny(kind, limits=Limits(max_length=32, max_query=8, overlap=3))
    text = " ".join(words)
    [hit] = reranker.rank("fox", [text])
    [ids] = reranker.checkpoint.tokenizer.encode([text])
    prepared = reranker.prepare(Text("fox"), [Text(text)])
    assert hit.windows == len(prepared.sequences)
    logits = reranker.scorer.logits(prepared.sequences)
    start, end = prepared.ranges[0][int(np.argmax(logits))]
    window = ids[start:end].tolist()
    again = reranker.checkpoint.tokenizer.encode([text[slice(*hit.span)]])[0].tolist()
    longest = max(len(ids) for ids in reranker.checkpoint.tokenizer.encode(words))
    if longest == 1:
        assert again == window
    else:
        # A word of several tokens may be cut in two; its neighbours inside the window are there all the same.
        inner = window[longest - 1 : len(window) - longest + 1]
        assert any(again[at : at + len(inner)] == inner for at in range(len(again)))
        assert len(again) < len(window) + 2 * longest
