"""Parts that more than one architecture uses. Each part computes every token, or, as `first`, only first tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from crossrank.attention import attend, attend_first
from crossrank.batch import Packed
from crossrank.rotary import rotated

__all__ = ["ACTIVATIONS", "Encoder", "First", "Hidden", "PostNormBlock", "SelfAttention"]

Hidden = Float[Tensor, "tokens width"]
First = Float[Tensor, "pairs width"]

_tanh_gelu = partial(functional.gelu, approximate="tanh")

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


class SelfAttention(nn.Module):
    """Multi-head self-attention. Keys and values share a projection; queries have theirs, so that it can be skipped.

    With `query_key_norm_eps`, queries and keys are normalised over the full width before the heads part; with `theta`,
    turned by their positions. With `window`, a token attends to so many neighbours on either side alone.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        query_key_norm_eps: float | None = None,
        bias: bool = True,
        theta: float | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.theta = theta
        self.window = window
        self.query = nn.Linear(width, width, bias=bias)
        self.key_value: nn.Module = nn.Linear(width, 2 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

        def norm() -> nn.Module:
            return nn.Identity() if query_key_norm_eps is None else nn.LayerNorm(width, query_key_norm_eps)

        self.query_norm, self.key_norm = norm(), norm()

    def forward(self, x: Hidden, batch: Packed, slopes: tuple[float, ...] | None = None) -> Hidden:
        queries = self._queries(x, batch.positions)
        return self.out(attend(queries, *self._keys_values(x, batch), batch, slopes, self.window).flatten(-2))

    def first(self, x: Hidden, batch: Packed, slopes: tuple[float, ...] | None = None) -> First:
        queries = self._queries(x[batch.first], batch.positions[batch.first])
        return self.out(attend_first(queries, *self._keys_values(x, batch), batch, slopes, self.window).flatten(-2))

    def _queries(self, x: Tensor, positions: Tensor) -> Tensor:
        return self._turned(self.query_norm(self.query(x)), positions)

    def _keys_values(self, x: Hidden, batch: Packed) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(x).chunk(2, -1)
        return self._turned(self.key_norm(keys), batch.positions), values.unflatten(-1, (self.heads, -1))

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        parts = x.unflatten(-1, (self.heads, -1))
        return parts if self.theta is None else rotated(parts, positions, self.theta)


class PostNormBlock(nn.Module):
    """The Transformer layer of BERT and RoBERTa: residual, then norm, twice."""

    def __init__(self, width: int, heads: int, inner: int, activation: str, eps: float) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, inner)
        self.activation = ACTIVATIONS[activation]
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x: Hidden, batch: Packed) -> Hidden:
        return self._feed(self.attention_norm(x + self.attention(x, batch)))

    def first(self, x: Hidden, batch: Packed) -> First:
        return self._feed(self.attention_norm(x[batch.first] + self.attention.first(x, batch)))

    def _feed(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(self.activation(self.up(x))))


class Encoder(nn.Module):
    """Embeddings, blocks, head: the trunk that BERT and its kin share.

    max_length: how many tokens a sequence may have. blocks: what may be quantized.
    """

    def __init__(self, embeddings: nn.Module, blocks: Sequence[nn.Module], head: nn.Module, max_length: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.max_length = max_length

    def forward(self, batch: Packed) -> Float[Tensor, " pairs"]:
        """One logit a sequence; the last layer is computed for the scored tokens alone, which changes nothing."""
        x = self.embeddings(batch)
        for block in self.blocks[:-1]:
            x = block(x, batch)
        return self.head(self.blocks[-1].first(x, batch))  # type: ignore[operator]  # a Module's attributes are untyped

    def hidden(self, batch: Packed) -> Hidden:
        """The last layer's states of every token."""
        x = self.embeddings(batch)
        for block in self.blocks:
            x = block(x, batch)
        return x
