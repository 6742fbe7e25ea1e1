"""A small random bi-encoder, laid out as all-MiniLM is: BERT and mean pooling."""

from __future__ import annotations

from pathlib import Path

import sentence_transformers
import tokenizers
import torch
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests import vocabularies


def write_encoder(folder: Path, seed: int = 0) -> Path:
    raw = vocabularies.wordpiece()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(BertConfig(vocab_size=raw.get_vocab_size(), **sizes))
    model.save_pretrained(folder / "bert")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(raw.to_str()), pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", model_max_length=64,
    ).save_pretrained(folder / "bert")  # fmt: skip
    transformer = Transformer(str(folder / "bert"))
    pooling = Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    sentence_transformers.SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "whole"))
    return folder / "whole"
