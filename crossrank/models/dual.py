"""A bi-encoder and a cross-encoder in one pass: crossrank's own mini-en and mini-multilingual.

Query and document are encoded apart, each with its own first and last special token and its own positions, so that
the cosine of their means is what the bi-encoder underneath gives. Cross layers branch off below its top and read both
sides at once. The logit adds four opinions:

    cross     the first token after the cross layers, through a tanh head
    cosine    of the two sides' mean states, as in Sentence-BERT (Reimers and Gurevych 2019)
    lexical   BM25's sum over the query's pieces, each weighted by a table, as a share of the most it could be
    late      each piece's nearest token of the document by cosine, averaged with the same weights: the late
              interaction of ColBERT (Khattab and Zaharia 2020, https://arxiv.org/abs/2004.12832)

What the last three count is decided by the query: words say little where people ask for code in plain English, and
much where they name things.

Apart below and together above is MORES (Gao, Dai and Callan 2020, https://arxiv.org/abs/2010.09313); tokens that stand
on the other side too are marked before the cross layers, as in MarkedBERT (Boualili, Moreno and Boughanem 2020).
A small cross-encoder that is fine-tuned on few pairs forgets matching that its bi-encoder knew. Here that stays in the
sum, though what is added to it may still rank worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from crossrank.batch import Packed, distinct, sides
from crossrank.errors import CheckpointError
from crossrank.heads import TanhHead
from crossrank.layers import ACTIVATIONS, Hidden, PostNormBlock
from crossrank.models.naming import EMBEDDINGS, STOCK_BLOCKS, adopted
from crossrank.models.settings import check, number
from crossrank.template import Template, framed
from crossrank.tokens import Tokenizer

__all__ = ["Config", "Dual", "adopt", "build", "template"]

# BM25's, after Robertson and Zaragoza (2009); a document's usual length in pieces.
SATURATION, LENGTH_SHARE, USUAL_LENGTH = 0.9, 0.4, 128.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """num_hidden_layers: of each side. num_cross_layers: of both, on the states below layer `branch_layer`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    branch_layer: int
    num_cross_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    max_position_embeddings: int
    layer_norm_eps: float

    @classmethod
    def read(cls, config: Mapping[str, Any], names: frozenset[str] = frozenset()) -> Config:
        check(config, frozenset(cls.__dataclass_fields__), {"hidden_act": tuple(ACTIVATIONS)})
        layers, branch = number(config, "num_hidden_layers"), number(config, "branch_layer")
        if branch > layers:
            raise CheckpointError(f"config.json: branch_layer {branch} is above the top of {layers} num_hidden_layers")
        return cls(
            vocab_size=number(config, "vocab_size"),
            hidden_size=number(config, "hidden_size"),
            num_hidden_layers=layers,
            branch_layer=branch,
            num_cross_layers=number(config, "num_cross_layers"),
            num_attention_heads=number(config, "num_attention_heads"),
            intermediate_size=number(config, "intermediate_size"),
            hidden_act=config.get("hidden_act", "gelu"),
            max_position_embeddings=number(config, "max_position_embeddings"),
            layer_norm_eps=number(config, "layer_norm_eps", float),
        )


class Embeddings(nn.Module):
    """BERT's, all of one token type: each side stands alone."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, batch: Packed) -> Hidden:
        return self.norm(self.words(batch.tokens) + self.positions(batch.positions))


class Blend(nn.Module):
    """The opinions -> one logit, in float32 whatever the layers below compute in."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.cross = TanhHead(width)
        self.pieces = nn.Embedding(vocabulary, 1)  # what each piece of the vocabulary weighs in lexical and late
        self.late = nn.Linear(width, width, bias=False)  # states -> where tokens are compared
        self.mix = nn.Linear(width + 1, 3)  # the query -> what cosine, lexical and late count

    def forward(
        self, first: Float[Tensor, "pairs width"], top: Hidden, batch: Packed, overlap: Overlap
    ) -> Float[Tensor, " pairs"]:
        with torch.autocast(first.device.type, enabled=False):
            opinions, query = self.matching(top, batch, overlap)
            return self.cross(first) + (self.counts(query, overlap) * opinions).sum(1)

    def matching(
        self, top: Hidden, batch: Packed, overlap: Overlap
    ) -> tuple[Float[Tensor, "pairs opinions"], Float[Tensor, "pairs width"]]:
        """Cosine, lexical and late of each pair, and the query's embedding of unit length."""
        alone = sides(batch)
        query, document = normalize(means(top, alone), dim=1).unflatten(0, (-1, 2)).unbind(1)
        late = late_interaction(self.late(top.float()), alone, overlap.weights) / overlap.total.clamp(min=1e-6)
        return torch.stack([(query * document).sum(1), overlap.lexical, late], 1), query

    def counts(self, query: Float[Tensor, "pairs width"], overlap: Overlap) -> Float[Tensor, "pairs opinions"]:
        """What each opinion counts: by what the query says, and by how much it says."""
        return softplus(self.mix(torch.cat([query, overlap.total.log1p()[:, None]], 1)))


class Dual(nn.Module):
    """max_length: tokens of a pair, one side of which may have all but a few. blocks: what may be quantized."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.hidden_size
        sizes = width, config.num_attention_heads, config.intermediate_size, config.hidden_act, config.layer_norm_eps
        self.embeddings = Embeddings(config)
        self.blocks = nn.ModuleList(
            PostNormBlock(*sizes) for _ in range(config.num_hidden_layers + config.num_cross_layers)
        )
        self.marks = nn.Embedding(4, width)  # query, document, and either where the other side has the token too
        self.head = Blend(width, config.vocab_size)
        self.layers, self.branch = config.num_hidden_layers, config.branch_layer
        self.max_length = config.max_position_embeddings

    def forward(self, batch: Packed) -> Float[Tensor, " pairs"]:
        """One logit a pair."""
        return self.together(*self.apart(batch), batch)

    def apart(self, batch: Packed) -> tuple[Hidden, Hidden]:
        """Each side by itself: the states that the cross layers take, and those of the top.

        On a CPU a query that several pairs of the batch share is read once.
        """
        alone = sides(batch)
        if batch.tokens.device.type != "cpu":
            return self.encoded(alone)
        once, places = distinct(alone)
        below, top = self.encoded(once)
        return below.index_select(0, places), top.index_select(0, places)

    def encoded(self, alone: Packed) -> tuple[Hidden, Hidden]:
        """As `apart`, of texts that are each a sequence already."""
        x = self.embeddings(alone)
        for block in self.blocks[: self.branch]:
            x = block(x, alone)
        below = x
        for block in self.blocks[self.branch : self.layers]:
            x = block(x, alone)
        return below, x

    def together(self, below: Hidden, top: Hidden, batch: Packed) -> Float[Tensor, " pairs"]:
        """The logits, from what `apart` gave."""
        found = overlap(batch, self.head.pieces.weight[:, 0])
        x = below + self.marks(batch.types + 2 * found.met).to(below.dtype)
        for block in self.blocks[self.layers : -1]:
            x = block(x, batch)
        last = self.blocks[-1]
        assert isinstance(last, PostNormBlock)
        return self.head(last.first(x, batch), top, batch, found)


def means(x: Hidden, batch: Packed) -> Float[Tensor, "sequences width"]:
    """The mean state of each sequence, in float32."""
    lengths = batch.bounds.diff()
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=x.device), lengths)
    sums = torch.zeros(len(lengths), x.shape[1], dtype=torch.float32, device=x.device).index_add_(0, rows, x.float())
    return sums / lengths[:, None]


def late_interaction(
    states: Float[Tensor, "tokens width"], alone: Packed, weights: Float[Tensor, " tokens"]
) -> Float[Tensor, " pairs"]:
    """The cosine of each query token and the document's nearest, summed with the query tokens' weights."""
    units = normalize(states, dim=1).split(alone.lengths)
    pairs = zip(weights.split(alone.lengths)[::2], units[::2], units[1::2], strict=True)
    return torch.stack([weight @ (query @ document.mT).amax(1) for weight, query, document in pairs])


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """What query and document share, by their pieces alone.

    met: which tokens stand on the other side of their pair too. lexical: BM25's share of each pair's query, 1 where
    every piece of it fills the document. weights: of every token by the table, and total: of each pair's query.
    """

    met: Bool[Tensor, " tokens"]
    lexical: Float[Tensor, " pairs"]
    weights: Float[Tensor, " tokens"]
    total: Float[Tensor, " pairs"]


def overlap(batch: Packed, table: Float[Tensor, " vocabulary"]) -> Overlap:
    """Count the pieces that query and document share; `table` has what each piece of the vocabulary weighs.

    Pieces of no weight, such as special tokens, do not count, nor do those that training took below: they could make
    a sum of nearly nothing to divide by.
    """
    pairs = len(batch.lengths)
    rows = torch.repeat_interleave(torch.arange(pairs, device=batch.tokens.device), batch.bounds.diff())
    keys = rows * len(table) + batch.tokens  # a token of one pair is none of another's
    asked = batch.types == 0
    queries, documents = keys[asked], keys[~asked].sort().values
    found = torch.searchsorted(documents, queries, right=True) - torch.searchsorted(documents, queries)
    met = torch.isin(keys, queries)
    met[asked] = found > 0
    mine = rows[asked]
    lengths = torch.bincount(rows[~asked], minlength=pairs)[mine]
    room = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * lengths.float() / USUAL_LENGTH)
    weights = table.float()[batch.tokens].clamp(min=0)
    weight = weights[asked]
    sums = torch.zeros(2, pairs, dtype=torch.float32, device=weight.device)
    sums = sums.index_add(1, mine, torch.stack([weight * found / (found + room), weight]))
    return Overlap(met=met, lexical=sums[0] / sums[1].clamp(min=1e-6), weights=weights, total=sums[1])


def template(tokenizer: Tokenizer) -> Template:
    """The tokenizer's frame. CheckpointError where it puts no first token of its own before the document."""
    frame = framed(tokenizer)
    if not frame.types or not frame.opening:
        raise CheckpointError(
            "tokenizer.json frames no document by itself; this architecture reads [CLS] q [SEP] of token type 0, then "
            "[CLS] d [SEP] of type 1"
        )
    return frame


def build(config: Config) -> Dual:
    return Dual(config)


def adopt(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = [(r"cross\.dense\.", "head.cross.dense."), (r"cross\.out\.", "head.cross.out.")]
    own += [(r"pieces\.weight", "head.pieces.weight"), (r"mix\.", "head.mix."), (r"late\.", "head.late.")]
    return adopted(tensors, [*EMBEDDINGS, *STOCK_BLOCKS, *own], prefix="")
