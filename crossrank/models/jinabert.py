"""JinaBERT with a one-output classifier: jina-reranker-v1-tiny-en and v1-turbo-en, 8,192 tokens without positions.

BERT with symmetric ALiBi in place of positions and a gated MLP, after Günther et al. (2023),
https://arxiv.org/abs/2310.19923. Variant B, the layout of jina-embeddings-v2-base-code, normalises queries and keys
and adds the residual round attention twice; a checkpoint's tensors say which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from crossrank.attention import alibi_slopes
from crossrank.batch import Packed
from crossrank.heads import TanhHead
from crossrank.layers import Encoder, First, Hidden, SelfAttention
from crossrank.models.naming import EMBEDDINGS, STOCK_BLOCKS, adopted
from crossrank.models.settings import check, number
from crossrank.template import framed as template

__all__ = ["Config", "adopt", "build", "template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """alibi_tail: "halved" for jina-reranker-v1-tiny-en (4 layers), "canonical" for every other checkpoint.

    The published config does not name it. An `alibi_tail` written into config.json overrides the default.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    alibi_tail: str
    query_key_norm: bool

    @classmethod
    def read(cls, config: Mapping[str, Any], names: frozenset[str] = frozenset()) -> Config:
        fixed = {
            "position_embedding_type": ("alibi",),
            "is_decoder": (False, None),
            "add_cross_attention": (False, None),
            "feed_forward_type": ("geglu",),
            "hidden_act": ("gelu",),
            "type_vocab_size": (2,),
            "alibi_tail": ("canonical", "halved"),
        }
        check(config, frozenset(cls.__dataclass_fields__) - {"query_key_norm"}, fixed)
        layers = number(config, "num_hidden_layers")
        return cls(
            vocab_size=number(config, "vocab_size"),
            hidden_size=number(config, "hidden_size"),
            num_hidden_layers=layers,
            num_attention_heads=number(config, "num_attention_heads"),
            intermediate_size=number(config, "intermediate_size"),
            max_position_embeddings=number(config, "max_position_embeddings"),
            type_vocab_size=number(config, "type_vocab_size"),
            layer_norm_eps=number(config, "layer_norm_eps", float),
            alibi_tail=config.get("alibi_tail", "halved" if layers == 4 else "canonical"),
            query_key_norm=any(".attention.self.layer_norm_q." in name for name in names),
        )


class Embeddings(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, batch: Packed) -> Float[Tensor, "tokens width"]:
        # The published tokenizers give no token types: there every token is of type 0, the document's too.
        return self.norm(self.words(batch.tokens) + self.types(batch.types))


class Block(nn.Module):
    """The layer of the v1 rerankers. The first half of the gate is activated."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention = SelfAttention(width, config.num_attention_heads)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps)
        self.slopes = alibi_slopes(config.num_attention_heads, config.alibi_tail == "halved")

    def forward(self, x: Hidden, batch: Packed) -> Hidden:
        return self._feed(self.attention_norm(x + self.attention(x, batch, self.slopes)))

    def first(self, x: Hidden, batch: Packed) -> First:
        return self._feed(self.attention_norm(x[batch.first] + self.attention.first(x, batch, self.slopes)))

    def _feed(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        return self.norm(x + self.down(gelu(gate) * value))


class BlockB(nn.Module):
    """Variant B's layer. Queries and keys are normalised, and the second half of the gate is activated."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention = SelfAttention(width, config.num_attention_heads, query_key_norm_eps=eps)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.norm_1 = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width)
        self.norm_2 = nn.LayerNorm(width, eps)
        self.slopes = alibi_slopes(config.num_attention_heads, config.alibi_tail == "halved")

    def forward(self, x: Hidden, batch: Packed) -> Hidden:
        return self._feed(x, self.attention(x, batch, self.slopes))

    def first(self, x: Hidden, batch: Packed) -> First:
        return self._feed(x[batch.first], self.attention.first(x, batch, self.slopes))

    def _feed(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self.norm_1(x + self.attention_norm(x + mixed))
        value, gate = self.up(x).chunk(2, -1)
        return self.norm_2(x + self.down(value * gelu(gate)))


def build(config: Config) -> Encoder:
    block = BlockB if config.query_key_norm else Block
    return Encoder(
        embeddings=Embeddings(config),
        blocks=[block(config) for _ in range(config.num_hidden_layers)],
        head=TanhHead(config.hidden_size),
        max_length=config.max_position_embeddings,
    )


GATED = [
    (r"encoder\.layer\.(\d+)\.attention\.self\.layer_norm_q\.", r"blocks.\1.attention.query_norm."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.layer_norm_k\.", r"blocks.\1.attention.key_norm."),
    (r"encoder\.layer\.(\d+)\.mlp\.(?:gated_layers|up_gated_layer)\.", r"blocks.\1.up."),
    (r"encoder\.layer\.(\d+)\.mlp\.(?:wo|down_layer)\.", r"blocks.\1.down."),
    (r"encoder\.layer\.(\d+)\.mlp\.layernorm\.", r"blocks.\1.norm."),
    (r"encoder\.layer\.(\d+)\.layer_norm_1\.", r"blocks.\1.norm_1."),
    (r"encoder\.layer\.(\d+)\.layer_norm_2\.", r"blocks.\1.norm_2."),
    (r"pooler\.dense\.", r"head.dense."),
    (r"classifier\.", r"head.out."),
]


def adopt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return adopted(tensors, [*EMBEDDINGS, *GATED, *STOCK_BLOCKS], prefix="bert.")
