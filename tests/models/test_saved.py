"""Folders as today's libraries save them: what they add to config.json must not stop a model from loading."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from transformers import PreTrainedTokenizerFast

from crossrank import Reranker
from tests.checkpoints import bert, modernbert, tiny, xlm_roberta
from tests.models import test_bert, test_modernbert, test_roberta

PAIRS = [("what is the capital of france", "paris"), ("a red fox", "the fox is red"), ("paris", "")]
MADE = {
    "bert": (bert, test_bert.reference),
    "xlm_roberta": (xlm_roberta, test_roberta.reference),
    "modernbert": (modernbert, test_modernbert.reference),
}
BERTS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
SPECIAL = {
    "bert": BERTS,
    "modernbert": BERTS,
    "xlm_roberta": {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
}


def save(kind, folder):
    recipe, reference = MADE[kind]
    reference(recipe()).save_pretrained(folder)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if kind == "bert" else [])]
    raw = recipe().raw_tokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=inputs, **SPECIAL[kind])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("kind", MADE)
def test_a_folder_that_transformers_saved_loads_as_it_is(kind, tmp_path):
    save(kind, tmp_path)
    assert Reranker.load(tmp_path, device="cpu").score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize("kind", MADE)
def test_a_folder_that_sentence_transformers_saved_scores_as_it_does(kind, tmp_path):
    save(kind, tmp_path / "first")
    theirs = CrossEncoder(str(tmp_path / "first"), device="cpu", num_labels=1)
    theirs.save_pretrained(str(tmp_path / "again"))
    scores = Reranker.load(tmp_path / "again", device="cpu").score(PAIRS)
    np.testing.assert_allclose(scores, tiny(kind).score(PAIRS), atol=1e-6)
    predicted = theirs.predict(PAIRS, activation_fn=None, show_progress_bar=False)
    ours = tiny(kind).score(PAIRS, raw=kind == "bert")
    np.testing.assert_allclose(predicted, ours, atol=1e-5)
