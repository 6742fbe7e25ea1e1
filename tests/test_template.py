"""A pair in its place among fixed tokens."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import processors

from crossrank import CheckpointError
from crossrank.template import Template, framed
from crossrank.tokens import Tokenizer
from tests.vocabularies import KINDS, framed_apart, wordpiece

FRAMES = {
    "wordpiece": Template(before=(2,), between=(3,), after=(3,)),
    "apart": Template(before=(2,), between=(3, 2), after=(3,), opening=1),
    "bpe": Template(before=(0,), between=(2, 2), after=(2,), types=False),
}


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize("kind", FRAMES)
def test_the_frame_is_read_from_the_tokenizer(kind):
    assert framed(Tokenizer(KINDS[kind]())) == FRAMES[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("query", "document"), [("what is paris", "a red fox"), ("", ""), ("a", ""), ("", "a 🙂")])
def test_a_filled_pair_is_the_tokenizers_own_pair(kind, query, document):
    tokenizer = Tokenizer(KINDS[kind]())
    filled = framed(tokenizer).fill(*tokenizer.encode([query, document]))
    pair = KINDS[kind]().encode(query, document)
    assert filled.tokens.tolist() == pair.ids
    if kind != "unigram":  # whose models have one type
        assert [int(place >= filled.split) for place in range(len(filled))] == pair.type_ids


def test_a_prompt_of_several_tokens_stands_on_the_side_that_it_introduces():
    tokenizer = Tokenizer(framed_apart(wordpiece(), "what is", "the red fox"))
    is_, red = (tokenizer.raw.token_to_id(word) for word in ("is", "red"))
    template = framed(tokenizer)
    assert [len(part) for part in (template.before, template.between, template.after)] == [3, 5, 1]
    assert (template.before[2], template.between[3], template.opening) == (is_, red, 4)
    filled = template.fill(ids(7, 8), ids(9))
    assert filled.tokens[filled.split - 1] == 3
    assert filled.tokens[filled.split] == 2


def test_a_pair_stands_between_the_fixed_tokens():
    template = Template(before=(7, 8), between=(9,), after=())
    filled = template.fill(ids(1, 2), ids(3))
    assert filled.tokens.tolist() == [7, 8, 1, 2, 9, 3]
    assert filled.split == 5
    assert template.fixed == 3


@pytest.mark.parametrize("pair", ["$A:0 $B:1", "$A:0 [SEP]:0 $B:1 [SEP]:1", "[CLS]:0 $A:0 [SEP]:0 $B:1"])
def test_a_pair_without_its_frame_is_refused(pair):
    raw = wordpiece()
    raw.post_processor = processors.TemplateProcessing(
        single="$A:0", pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(CheckpointError, match="no special tokens round a pair"):
        framed(Tokenizer(raw))


def test_a_frame_with_the_document_first_is_refused():
    raw = wordpiece()
    raw.post_processor = processors.TemplateProcessing(
        single="$A:0", pair="[CLS]:0 $B:1 [SEP]:0 $A:0 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    with pytest.raises(CheckpointError, match="second text of a pair first"):
        framed(Tokenizer(raw))
