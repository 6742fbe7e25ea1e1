"""ModernBERT with a one-output classifier: gte-reranker-modernbert-base and its kin, 8,192 tokens.

Warner et al. (2024), https://arxiv.org/abs/2412.13663: norms before each part, gated MLPs, rotary positions, and layers
in which a token sees only so many neighbours between layers in which it sees all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from crossrank.batch import Packed
from crossrank.errors import CheckpointError
from crossrank.heads import NormedHead
from crossrank.layers import ACTIVATIONS, First, Hidden, SelfAttention
from crossrank.models.naming import adopted
from crossrank.models.settings import check, number
from crossrank.template import framed as template

__all__ = ["Config", "adopt", "build", "template"]

GLOBAL, LOCAL = "full_attention", "sliding_attention"
# What training and other tasks read.
ELSEWHERE = frozenset(
    """initializer_cutoff_factor decoder_bias deterministic_flash_attn reference_compile repad_logits_with_grad
    sparse_prediction sparse_pred_ignore_index layer_norm_eps attention_dropout embedding_dropout
    mlp_dropout""".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """layer_types: of each layer, as transformers 5 writes them; older files say global_attn_every_n_layers instead.

    The thetas are those of rope_parameters where it is there. local_attention: how wide a window is, both sides of a
    token together.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_activation: str
    max_position_embeddings: int
    norm_eps: float
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool
    layer_types: tuple[str, ...]
    local_attention: int
    global_rope_theta: float
    local_rope_theta: float
    classifier_pooling: str
    classifier_bias: bool
    classifier_activation: str

    @classmethod
    def read(cls, config: Mapping[str, Any], names: frozenset[str] = frozenset()) -> Config:
        fixed = {
            "position_embedding_type": ("absolute", None),  # written by old versions, read by none
            "is_decoder": (False, None),
            "hidden_activation": tuple(ACTIVATIONS),
            "classifier_activation": tuple(ACTIVATIONS),
            "classifier_pooling": ("cls", "mean"),
            **{key: (False, True) for key in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")},
        }
        read = frozenset(cls.__dataclass_fields__) | {"rope_parameters", "global_attn_every_n_layers"}
        check(config, read | ELSEWHERE, fixed)
        layers = number(config, "num_hidden_layers")
        told = {key: value for key, value in config.items() if value is not None}
        return cls(
            vocab_size=number(config, "vocab_size"),
            hidden_size=number(config, "hidden_size"),
            num_hidden_layers=layers,
            num_attention_heads=number(config, "num_attention_heads"),
            intermediate_size=number(config, "intermediate_size"),
            hidden_activation=config.get("hidden_activation", "gelu"),
            max_position_embeddings=number(config, "max_position_embeddings"),
            norm_eps=number({"norm_eps": 1e-5, **told}, "norm_eps", float),
            norm_bias=config.get("norm_bias", False),
            attention_bias=config.get("attention_bias", False),
            mlp_bias=config.get("mlp_bias", False),
            layer_types=_layer_types(told, layers),
            local_attention=number({"local_attention": 128, **told}, "local_attention"),
            global_rope_theta=_theta(told, GLOBAL, "global_rope_theta", 160000.0),
            local_rope_theta=_theta(told, LOCAL, "local_rope_theta", 10000.0),
            classifier_pooling=config.get("classifier_pooling", "cls"),
            classifier_bias=config.get("classifier_bias", False),
            classifier_activation=config.get("classifier_activation", "gelu"),
        )


def _layer_types(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    told = config.get("layer_types")
    if told is None:
        every = number({"global_attn_every_n_layers": 3, **config}, "global_attn_every_n_layers")
        return tuple(LOCAL if layer % every else GLOBAL for layer in range(layers))
    if not isinstance(told, list | tuple) or len(told) != layers or not {GLOBAL, LOCAL}.issuperset(told):
        raise CheckpointError(f"config.json: layer_types should be {layers} of {GLOBAL!r} and {LOCAL!r}, not {told!r}")
    return tuple(told)


def _theta(config: Mapping[str, Any], layer_type: str, key: str, default: float) -> float:
    told = config.get("rope_parameters")
    if told is not None:
        rope = told.get(layer_type, {}) if isinstance(told, dict) else None
        if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default" or len(rope) > 2:
            raise CheckpointError(f"config.json: rope_parameters are read of the type 'default' alone, not {told!r}")
        if "rope_theta" in rope:
            return float(number(rope, "rope_theta", float))
    return float(number({key: default, **config}, key, float))


class Embeddings(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=config.norm_bias)

    def forward(self, batch: Packed) -> Hidden:
        return self.norm(self.words(batch.tokens))


class Block(nn.Module):
    """Norm, then attention; norm, then a gated MLP, of which the first half is activated. The first layer's attention
    reads the embeddings' norm as it is.
    """

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size

        def norm() -> nn.Module:
            return nn.LayerNorm(width, config.norm_eps, bias=config.norm_bias)

        local = config.layer_types[layer] == LOCAL
        self.attention_norm = norm() if layer else nn.Identity()
        self.attention = SelfAttention(
            width,
            config.num_attention_heads,
            bias=config.attention_bias,
            theta=config.local_rope_theta if local else config.global_rope_theta,
            window=config.local_attention // 2 if local else None,
        )
        self.norm = norm()
        self.up = nn.Linear(width, 2 * inner, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.hidden_activation]
        self.down = nn.Linear(inner, width, bias=config.mlp_bias)

    def forward(self, x: Hidden, batch: Packed) -> Hidden:
        return self._feed(x + self.attention(self.attention_norm(x), batch))

    def first(self, x: Hidden, batch: Packed) -> First:
        return self._feed(x[batch.first] + self.attention.first(self.attention_norm(x), batch))

    def _feed(self, x: Tensor) -> Tensor:
        gate, value = self.up(self.norm(x)).chunk(2, -1)
        return x + self.down(self.activation(gate) * value)


class ModernBert(nn.Module):
    """Embeddings, blocks, a norm, and the head, on the first token's state or on the mean of all."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.norm_eps, bias=config.norm_bias)
        self.head = NormedHead(
            config.hidden_size, config.classifier_activation, config.norm_eps, config.classifier_bias, config.norm_bias
        )
        self.mean = config.classifier_pooling == "mean"
        self.max_length = config.max_position_embeddings

    def forward(self, batch: Packed) -> Float[Tensor, " pairs"]:
        """One logit a sequence; of the last layer only what the head reads."""
        if self.mean:
            sequences = self.hidden(batch).split(batch.lengths)
            return self.head(torch.stack([states.mean(0) for states in sequences]))
        x = self.embeddings(batch)
        for block in self.blocks[:-1]:
            x = block(x, batch)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return self.head(self.norm(last.first(x, batch).float()))

    def hidden(self, batch: Packed) -> Hidden:
        """The last layer's states of every token, as the head reads them: normed, in float32."""
        x = self.embeddings(batch)
        for block in self.blocks:
            x = block(x, batch)
        return self.norm(x.float())


def build(config: Config) -> ModernBert:
    return ModernBert(config)


LAYOUT = [
    (r"embeddings\.tok_embeddings\.weight", r"embeddings.words.weight"),
    (r"embeddings\.norm\.", r"embeddings.norm."),
    (r"layers\.(\d+)\.attn_norm\.", r"blocks.\1.attention_norm."),
    (r"layers\.(\d+)\.attn\.Wqkv\.", r"blocks.\1.attention.query_key_value."),
    (r"layers\.(\d+)\.attn\.Wo\.", r"blocks.\1.attention.out."),
    (r"layers\.(\d+)\.mlp_norm\.", r"blocks.\1.norm."),
    (r"layers\.(\d+)\.mlp\.Wi\.", r"blocks.\1.up."),
    (r"layers\.(\d+)\.mlp\.Wo\.", r"blocks.\1.down."),
    (r"final_norm\.", r"norm."),
    (r"head\.(dense|norm)\.", r"head.\1."),
    (r"classifier\.", r"head.out."),
]


def adopt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return adopted(tensors, LAYOUT, prefix="model.")
