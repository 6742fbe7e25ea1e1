"""BERT with a one-output classifier: the MS MARCO MiniLM and TinyBERT cross-encoders.

Devlin et al. (2019), https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from crossrank.batch import Packed
from crossrank.heads import TanhHead
from crossrank.layers import ACTIVATIONS, Encoder, PostNormBlock
from crossrank.models.naming import EMBEDDINGS, STOCK_BLOCKS, adopted
from crossrank.models.settings import check, number
from crossrank.template import framed as template

__all__ = ["Config", "adopt", "build", "template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float

    @classmethod
    def read(cls, config: Mapping[str, Any], names: frozenset[str] = frozenset()) -> Config:
        fixed = {
            "position_embedding_type": ("absolute", None),
            "is_decoder": (False, None),
            "add_cross_attention": (False, None),
            "hidden_act": tuple(ACTIVATIONS),
            "type_vocab_size": (2,),
        }
        check(config, frozenset(cls.__dataclass_fields__), fixed)
        return cls(
            vocab_size=number(config, "vocab_size"),
            hidden_size=number(config, "hidden_size"),
            num_hidden_layers=number(config, "num_hidden_layers"),
            num_attention_heads=number(config, "num_attention_heads"),
            intermediate_size=number(config, "intermediate_size"),
            hidden_act=config.get("hidden_act", "gelu"),
            max_position_embeddings=number(config, "max_position_embeddings"),
            type_vocab_size=number(config, "type_vocab_size"),
            layer_norm_eps=number(config, "layer_norm_eps", float),
        )


class Embeddings(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, batch: Packed) -> Float[Tensor, "tokens width"]:
        return self.norm(self.words(batch.tokens) + self.types(batch.types) + self.positions(batch.positions))


def build(config: Config) -> Encoder:
    sizes = config.hidden_size, config.num_attention_heads, config.intermediate_size
    return Encoder(
        embeddings=Embeddings(config),
        blocks=[
            PostNormBlock(*sizes, config.hidden_act, config.layer_norm_eps) for _ in range(config.num_hidden_layers)
        ],
        head=TanhHead(config.hidden_size),
        max_length=config.max_position_embeddings,
    )


def adopt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    head = [(r"pooler\.dense\.", "head.dense."), (r"classifier\.", "head.out.")]
    return adopted(tensors, [*EMBEDDINGS, *STOCK_BLOCKS, *head], prefix="bert.")
