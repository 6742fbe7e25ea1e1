"""From a checkpoint's tensor names to ours. Where it keeps queries, keys and values otherwise, they are re-stacked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["EMBEDDINGS", "STOCK_BLOCKS", "WORDS", "adopted"]

Table = Sequence[tuple[str, str]]

# How the names end of what embeds the vocabulary, a row a piece.
WORDS = ("word_embeddings.weight", "tok_embeddings.weight")

EMBEDDINGS: Table = [
    (r"embeddings\.word_embeddings\.weight", r"embeddings.words.weight"),
    (r"embeddings\.position_embeddings\.weight", r"embeddings.positions.weight"),
    (r"embeddings\.token_type_embeddings\.weight", r"embeddings.types.weight"),
    (r"embeddings\.LayerNorm\.", r"embeddings.norm."),
]
STOCK_BLOCKS: Table = [
    (r"encoder\.layer\.(\d+)\.attention\.self\.", r"blocks.\1.attention."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attention.out."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.", r"blocks.\1.attention_norm."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.up."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.down."),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.", r"blocks.\1.norm."),
]


def adopted(tensors: Mapping[str, Tensor], table: Table, prefix: str) -> dict[str, Tensor]:
    """Tensors under our names; one that `table` does not know keeps its name, for the loader to refuse.

    `prefix` may precede any name. Old spellings of the norms are read; buffers that hold no weights are dropped.
    """
    renamed = {
        _rename(name, table, prefix): tensor
        for name, tensor in tensors.items()
        if not name.endswith((".position_ids", ".alibi"))
    }
    return _stack(_part(renamed))


def _rename(name: str, table: Table, prefix: str) -> str:
    bare = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name.removeprefix(prefix)))
    for pattern, replacement in table:
        renamed, count = re.subn("^" + pattern, replacement, bare)
        if count:
            return renamed
    return name


def _part(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Part each `….query_key_value.x` into `….query.x`, its first third, and `….key_value.x`."""
    parted = dict(tensors)
    for name, tensor in tensors.items():
        stem, dot, kind = name.rpartition(".query_key_value.")
        if dot:
            width = tensor.shape[0] // 3
            del parted[name]
            parted[f"{stem}.query.{kind}"] = tensor[:width]
            parted[f"{stem}.key_value.{kind}"] = tensor[width:]
    return parted


def _stack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join each `….key.x` with its `….value.x` into `….key_value.x`; one without the other stays, to be refused."""
    joined = dict(tensors)
    for name in tensors:
        stem, dot, kind = name.rpartition(".key.")
        value = f"{stem}.value.{kind}"
        if dot and value in joined and joined[value].shape == joined[name].shape:
            joined[f"{stem}.key_value.{kind}"] = torch.cat([joined.pop(name), joined.pop(value)])
    return joined
