"""Narrower models: the most important heads, hidden units and neurons of a model, the others left out.

Importance is the size of what a unit does, read from the weights alone, no data needed. It is the rule of Wanda (Sun et
al. 2023, https://arxiv.org/abs/2306.11695), weight times activation, with the activation's deviation taken from the
layer norm before it, and summed over whole units, as structured pruning needs:

    hidden unit d   sum over the layers that read it of |gamma_d| times the norm of their columns for it
    head h          norm of its values' rows, gamma in each column, times the norm of its output's columns
    neuron j        norm of its rows going in, gamma in each column, times the norm of its column going out

The width of a head stays, so `width` is as many of them as it holds. Kept units stay in order: with all of them kept,
nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from crossrank.errors import CheckpointError, InputError

__all__ = ["narrowed"]

# A tensor's name -> what its rows and its columns are: hidden units, heads, neurons, or nothing that is narrowed.
# "3 heads" are queries, keys and values stacked; "2 neurons" a gate and what it gates.
AXES: list[tuple[str, tuple[str, ...]]] = [
    (r"embeddings\.(word|position|token_type)_embeddings\.weight", ("", "hidden")),
    (r"(LayerNorm|layernorm|emb_ln|norm[12])\.(weight|bias|gamma|beta)", ("hidden",)),
    (r"attention\.self\.(query|key|value)\.(weight|bias)", ("heads", "hidden")),
    (r"mixer\.Wqkv\.(weight|bias)", ("3 heads", "hidden")),
    (r"(attention\.output\.dense|mixer\.out_proj)\.(weight|bias)", ("hidden", "heads")),
    (r"(intermediate\.dense|mlp\.fc1)\.(weight|bias)", ("neurons", "hidden")),
    (r"mlp\.gated_layers\.weight", ("2 neurons", "hidden")),
    (r"(output\.dense|mlp\.fc2|mlp\.wo)\.(weight|bias)", ("hidden", "neurons")),
    (r"(pooler|classifier)\.dense\.(weight|bias)", ("hidden", "hidden")),
    (r"classifier(\.out_proj)?\.(weight|bias)", ("", "hidden")),
]
NUMBER = re.compile(r"\bencoder\.layers?\.(\d+)\.")


def narrowed(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    module: ModuleType,
    *,
    width: int | None = None,
    inner: int | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A config and tensors with hidden_size `width` and intermediate_size `inner`; None for inner follows the width.

    InputError for sizes that cannot be, CheckpointError for a tensor that it does not know how to narrow.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    of_head = hidden // heads
    width = hidden if width is None else width
    inner = max(1, config["intermediate_size"] * width // hidden) if inner is None else inner
    if width % of_head or not of_head <= width <= hidden:
        raise InputError(f"width should be a multiple of {of_head}, a head's, from {of_head} to {hidden}, not {width}")
    if not 1 <= inner <= config["intermediate_size"]:
        raise InputError(f"intermediate size should be from 1 to {config['intermediate_size']}, not {inner}")
    if width < hidden and config.get("position_embedding_type") == "alibi":
        raise InputError("a JinaBERT keeps its heads, whose slopes follow their number; narrow the BERT it is built of")
    axes = {name: _axes(name) for name in tensors if not name.endswith("position_ids")}
    ours = {name: tensor.double() for name, tensor in module.adopt(tensors).items()}
    kept = _kept(ours, config["num_hidden_layers"], of_head, width, inner)
    chosen = {name: _cut(name, tensors[name], kinds, kept) for name, kinds in axes.items()}
    sizes = {"hidden_size": width, "num_attention_heads": width // of_head, "intermediate_size": inner}
    return {**config, **sizes}, chosen


def _kept(ours: Mapping[str, Tensor], layers: int, of_head: int, width: int, inner: int) -> dict[str, Tensor]:
    """Which units stay, by kind: "hidden", and for each layer "heads N" (as rows) and "neurons N"."""
    hidden = torch.zeros_like(ours["embeddings.norm.weight"])
    kept = {}
    before = ours["embeddings.norm.weight"].abs()
    for layer in range(layers):
        stem = f"blocks.{layer}."
        block = {name.removeprefix(stem): tensor for name, tensor in ours.items() if name.startswith(stem)}
        query, both, out = (block[f"attention.{name}.weight"] for name in ("query", "key_value", "out"))
        hidden += before * (query.norm(dim=0) + both.norm(dim=0))
        values = both[len(both) // 2 :] * before
        heads = values.unflatten(0, (-1, of_head)).norm(dim=(1, 2)) * out.unflatten(1, (-1, of_head)).norm(dim=(0, 2))
        rows = _best(heads, width // of_head)[:, None] * of_head + torch.arange(of_head)
        kept[f"heads {layer}"] = rows.flatten()
        middle = block["attention_norm.weight"].abs()
        up, down = block["up.weight"], block["down.weight"]
        hidden += middle * up.norm(dim=0)
        going_in = (up * middle).norm(dim=1).view(-1, down.shape[1]).prod(0)  # of a gated neuron, both of its rows
        kept[f"neurons {layer}"] = _best(going_in * down.norm(dim=0), inner)
        before = block["norm.weight"].abs()
    hidden += before * ours["head.dense.weight"].norm(dim=0)
    return kept | {"hidden": _best(hidden, width)}


def _best(importance: Tensor, count: int) -> Tensor:
    """The places of the `count` largest, equals by place, in order."""
    return torch.sort(importance, descending=True, stable=True).indices[:count].sort().values


def _axes(name: str) -> tuple[str, ...]:
    for pattern, kinds in AXES:
        if re.search(rf"(^|\.){pattern}$", name):
            return kinds
    raise CheckpointError(f"{name}: no rule says how this tensor is narrowed")


def _cut(name: str, tensor: Tensor, kinds: tuple[str, ...], kept: Mapping[str, Tensor]) -> Tensor:
    """The rows and columns that stay; a bias has rows only."""
    layer = NUMBER.search(name)
    for dim, kind in enumerate(kinds[: tensor.ndim]):
        if not kind:
            continue
        number, _, unit = kind.rpartition(" ")
        times = int(number or 1)
        places = kept[f"{unit} {layer[1]}" if layer and unit != "hidden" else unit]
        stride = tensor.shape[dim] // times
        tensor = tensor.index_select(dim, torch.cat([places + stride * part for part in range(times)]))
    return tensor
