"""Independent implementations to be compared with: transformers, and candding, a Rust engine that knows JinaBERT.

candding asks for its models by hub name, so a folder stands where a download of that name would lie.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossrank import Reranker, Text
from crossrank.batch import Filled
from tests.checkpoints import Recipe


def transformers_logits(model: torch.nn.Module, sequences: list[Filled]) -> list[float]:
    """What a transformers model makes of the same token ids, padded to one length, with a mask."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), model.config.pad_token_id)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, filled in enumerate(sequences):
        ids[row, : len(filled)] = torch.from_numpy(filled.tokens)
        mask[row, : len(filled)] = 1
        types[row, filled.split : len(filled)] = 1
    kinds = getattr(model.config, "type_vocab_size", 0)  # ModernBERT takes no token types at all
    named = {"token_type_ids": types if kinds > 1 else torch.zeros_like(types)} if kinds else {}
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, **named).logits[:, 0].tolist()


def candding_scores(recipe: Recipe, name: str, home: Path, query: str, documents: list[str]) -> list[float]:
    """The scores of `documents`, in their order, by candding's reranker of the published `name`."""
    with _published(recipe, name, home) as candding:
        scored = dict(candding.TextCrossEncoder(name, device="cpu").rerank(query, documents))
    return [scored[index] for index in range(len(documents))]


def candding_embeddings(recipe: Recipe, name: str, home: Path, texts: list[str]) -> NDArray[np.float32]:
    """The unit-length mean of the last layer's states, by candding's embedder of the published `name`."""
    with _published(recipe.without("pooler", "classifier").renamed("bert.", ""), name, home) as candding:
        return np.array(list(candding.TextEmbedding(name, device="cpu").embed(texts)), dtype=np.float32)


@contextmanager
def _published(recipe: Recipe, name: str, home: Path) -> Iterator[ModuleType]:
    """candding, finding `recipe` where a download of `name` would lie."""
    candding = pytest.importorskip("candding", reason="candding, the second reference, is not installed")
    entry = home / "hub" / f"models--{name.replace('/', '--')}"
    commit = "0" * 40
    folder = recipe.write(entry / "snapshots" / commit)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(special | {"model_max_length": 8192}))
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(commit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(home))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield candding


def encoded(reranker: Reranker, pairs: list[tuple[str, str]]) -> list[Filled]:
    """What the model reads for each pair: one sequence each, for pairs that fit."""
    return [reranker.prepare(Text(query), [Text(document)]).sequences[0] for query, document in pairs]
