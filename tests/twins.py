"""Slow twins of the fast code: float64, one sequence, one head and one token at a time, written from the papers.

They share nothing with the package, tensors' published names included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def canonical_slopes(heads: int) -> list[float]:
    """Press et al. (2022), section 3: a geometric series; between powers of two, every other one of the next."""
    if math.log2(heads).is_integer():
        return [2 ** (-8 * (head + 1) / heads) for head in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return canonical_slopes(below) + canonical_slopes(2 * below)[0::2][: heads - below]


def halved_slopes(heads: int) -> list[float]:
    """The same with every slope past the power of two halved."""
    below = 2 ** math.floor(math.log2(heads))
    return [slope / (2 if head >= below else 1) for head, slope in enumerate(canonical_slopes(heads))]


class JinaBert:
    """A JinaBERT checkpoint by its published tensors: layout A (the v1 rerankers) or B."""

    def __init__(self, tensors: Mapping[str, Tensor], heads: int, slopes: Sequence[float], eps: float = 1e-12) -> None:
        self.tensors = {name.removeprefix("bert."): t.double().numpy() for name, t in tensors.items()}
        self.heads, self.slopes, self.eps = heads, slopes, eps
        self.layers = 1 + max(int(name.split(".")[2]) for name in self.tensors if name.startswith("encoder.layer."))
        self.b = any(".layer_norm_q." in name for name in self.tensors)

    def logit(self, ids: Sequence[int]) -> float:
        pooled = np.tanh(self._linear("pooler.dense", self.hidden(ids)[0]))
        return float(self._linear("classifier", pooled)[0])

    def hidden(self, ids: Sequence[int]) -> Array:
        words, types = (self.tensors[f"embeddings.{part}_embeddings.weight"] for part in ("word", "token_type"))
        x = np.stack([self._norm("embeddings.LayerNorm", words[token] + types[0]) for token in ids])
        for layer in range(self.layers):
            x = self._layer(f"encoder.layer.{layer}", x)
        return x

    def _layer(self, stem: str, x: Array) -> Array:
        context = self._linear(f"{stem}.attention.output.dense", self._attention(f"{stem}.attention.self", x))
        y = self._norm(f"{stem}.attention.output.LayerNorm", context + x)
        if self.b:
            y = self._norm(f"{stem}.layer_norm_1", y + x)
            first, second = np.split(y @ self.tensors[f"{stem}.mlp.up_gated_layer.weight"].T, 2, axis=-1)
            return self._norm(f"{stem}.layer_norm_2", y + self._linear(f"{stem}.mlp.down_layer", first * gelu(second)))
        first, second = np.split(y @ self.tensors[f"{stem}.mlp.gated_layers.weight"].T, 2, axis=-1)
        return self._norm(f"{stem}.mlp.layernorm", y + self._linear(f"{stem}.mlp.wo", gelu(first) * second))

    def _attention(self, stem: str, x: Array) -> Array:
        q, k, v = (self._linear(f"{stem}.{part}", x) for part in ("query", "key", "value"))
        if self.b:
            q, k = self._norm(f"{stem}.layer_norm_q", q), self._norm(f"{stem}.layer_norm_k", k)
        width = x.shape[1] // self.heads
        mixed = np.zeros_like(x)
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            for i in range(len(x)):
                logits = [
                    q[i, part] @ k[j, part] / math.sqrt(width) - self.slopes[head] * abs(i - j) for j in range(len(x))
                ]
                weights = np.exp(np.array(logits) - max(logits))
                mixed[i, part] = weights / weights.sum() @ v[:, part]
        return mixed

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + self.eps)
        return centred / scale * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def gelu(x: Array) -> Array:
    """x times the normal distribution's cumulative function: the exact form, by math.erf."""
    return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.flat]).reshape(x.shape)


def jina_v2_inputs(
    query: Sequence[int],
    document: Sequence[int],
    *,
    max_length: int = 1024,
    max_query: int = 512,
    overlap: int = 80,
    bos: int = 0,
    eos: int = 2,
) -> list[list[int]]:
    """The model inputs that jina-reranker-v2's `rerank` makes of one document, by its published description.

    The query counts its two special tokens. The last window of a long document is its final `capacity` tokens.
    """
    head = [bos, *query[: max_query - 2], eos]
    capacity = max_length - len(head) - 2
    overlap = min(overlap, capacity // 4)
    if len(document) <= capacity:
        return [[*head, eos, *document, eos]]
    inputs, start = [], 0
    while start + capacity < len(document):
        inputs.append([*head, eos, *document[start : start + capacity], eos])
        start += capacity - overlap
    return [*inputs, [*head, eos, *document[-capacity:], eos]]
