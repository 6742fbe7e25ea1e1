"""BERT's weights as JinaBERT's: symmetric ALiBi in place of positions, in the layout of jina-reranker-v1-tiny-en.

The feed-forward is carried over exactly, though BERT's is GELU with a bias and JinaBERT's is gated and has none:

    BERT      down(gelu(W y + b))              y, its input, comes out of a layer norm: y = gamma * z + beta
    JinaBERT  down(gelu(G y) * (V y))

The normalised z of any token sums to zero, so sum(y / gamma) = sum(beta / gamma) =: s whatever the token: the row
u = 1 / (gamma s) gives u . y = 1 always. With every row of V equal to u, and G = W + b u, the two are equal.

Attention is carried over as it is, and there the student differs from its teacher until it is trained: nearness now
counts by ALiBi's slopes, and positions are gone. Of the position table its mean goes into the token type embedding.
Token types stay apart: the published v1 tokenizers give none, but the layout has both, and a student without them no
longer sees which side a token is of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crossrank.errors import CheckpointError, InputError

__all__ = ["constant_row", "jina_config", "to_jinabert"]

# In float32 the constant 1 then strays by less than this for a token; a larger one would be felt in the scores.
WORST_ERROR = 1e-2
FLOAT32 = 2.0**-24


def to_jinabert(tensors: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """The tensors of a BERT classifier under JinaBERT's names, in float32. eps: of its layer norms.

    CheckpointError where a layer norm gives no constant: a weight of zero, or a sum s too near zero.
    """
    old = {_plain(name): tensor.float() for name, tensor in tensors.items()}
    new = {"bert.embeddings.word_embeddings.weight": old["embeddings.word_embeddings.weight"]}
    types, positions = old["embeddings.token_type_embeddings.weight"], old["embeddings.position_embeddings.weight"]
    new["bert.embeddings.token_type_embeddings.weight"] = types + positions.mean(0)
    gone = ("word_embeddings.", "token_type_embeddings.", "position_embeddings.", ".position_ids")
    for name, tensor in old.items():
        stem, dot, rest = name.rpartition(".intermediate.dense.")
        if dot:
            if rest == "weight":
                new[f"bert.{stem}.mlp.gated_layers.weight"] = _gated(old, stem, tensor)
        elif ".output.dense." in name and ".attention." not in name:
            new["bert." + name.replace(".output.dense.", ".mlp.wo.")] = tensor
        elif ".output.LayerNorm." in name and ".attention." not in name:
            new["bert." + name.replace(".output.LayerNorm.", ".mlp.layernorm.")] = tensor
        elif not any(part in name for part in gone):
            new[name if name.startswith("classifier.") else f"bert.{name}"] = tensor
    return new


def constant_row(gamma: Tensor, beta: Tensor, where: str) -> Tensor:
    """The row u with u . y = 1 for every output y of a layer norm with these weights; where: for the error."""
    gamma64, beta64 = gamma.double(), beta.double()
    total = (beta64 / gamma64).sum()
    row = 1 / (gamma64 * total)
    # Three deviations of z bound nearly all of its values; roundings of the products add up as a random walk.
    error = FLOAT32 * torch.linalg.vector_norm(row * (3 * gamma64.abs() + beta64.abs())).item()
    if not error < WORST_ERROR:  # NaN and infinity too
        raise CheckpointError(
            f"{where}: this layer norm gives no constant (error {error:.1e}, at most {WORST_ERROR:.0e} would do); "
            "pick other layers, or train the teacher a little, which moves it"
        )
    return row.float()


def jina_config(config: Mapping[str, Any], max_length: int) -> dict[str, Any]:
    """config.json as jina-reranker-v1-tiny-en has it, with a BERT model's sizes."""
    if config.get("hidden_act", "gelu") != "gelu":
        raise InputError(f"a JinaBERT student needs a teacher with hidden_act 'gelu', not {config['hidden_act']!r}")
    if max_length < 1:
        raise InputError(f"max_length should be at least 1, not {max_length}")
    layers = config["num_hidden_layers"]
    return {
        "architectures": ["JinaBertModel"],
        "model_type": "bert",
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "hidden_act": "gelu",
        # What loaders of the published models take for these depths, written down for those that would ask.
        "alibi_tail": "halved" if layers == 4 else "canonical",
        "emb_pooler": "mean",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "num_hidden_layers": layers,
        "num_attention_heads": config["num_attention_heads"],
        "intermediate_size": config["intermediate_size"],
        "max_position_embeddings": max_length,
        "type_vocab_size": config["type_vocab_size"],
        "layer_norm_eps": config["layer_norm_eps"],
        "pad_token_id": config.get("pad_token_id", 0),
        "attention_probs_dropout_prob": config.get("attention_probs_dropout_prob", 0.1),
        "hidden_dropout_prob": config.get("hidden_dropout_prob", 0.1),
        "classifier_dropout": None,
        "initializer_range": config.get("initializer_range", 0.02),
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _gated(old: Mapping[str, Tensor], stem: str, weight: Tensor) -> Tensor:
    """G over V: what is activated first, as in the v1 rerankers. [2 * inner, width]"""
    norm = f"{stem}.attention.output.LayerNorm"
    row = constant_row(old[f"{norm}.weight"], old[f"{norm}.bias"], norm)
    gate = weight.double() + torch.outer(old[f"{stem}.intermediate.dense.bias"].double(), row.double())
    return torch.cat([gate.float(), row.expand(len(weight), -1)])


def _plain(name: str) -> str:
    """Without the prefix, and the norms as they are spelled today."""
    return name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias")
