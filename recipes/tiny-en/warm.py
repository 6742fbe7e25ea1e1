"""A stock BertForSequenceClassification that, before any training, scores a pair as the bi-encoder would.

A fresh head on [CLS] needs tens of thousands of pairs before it matches at all. Here it starts by matching. [CLS] is
the only token that the head reads, so the last layer's weights are free to be *written* rather than learned:

- attention: half of the heads average the query's tokens, the other half the document's. A linear probe on the fifth
  layer's states tells the sides apart (it becomes the keys); a least-squares map from there to the bi-encoder's
  embedding, reduced to 190 dimensions, becomes the values. [CLS] then holds both embeddings, u and v, side by side.
- feed-forward: gelu(z) + gelu(-z) = z erf(z / sqrt 2) is even, nearly quadratic. Over u + v less over u - v it sums to
  a multiple of u . v. That sum is written to one direction which nothing else uses.
- pooler and classifier read that direction.

Training then moves all of it, the first five layers included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

WIDTH, HALF, KEPT = 384, 192, 190  # hidden size; a side's share of it; dimensions of the embedding that are kept
SHARPNESS = 9.0  # nats between the sides for a head that wants one of them
LOUDNESS = 90.0  # of the embeddings beside what [CLS] held before
SLOPE = 20.0  # logits for a cosine of 1
READERS = 16  # units of the pooler that read the match


def ridge(inputs: Tensor, targets: Tensor, weight: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Least squares with intercept: (map [out, in], intercept [out])."""
    center, middle = inputs.mean(0), targets.mean(0)
    centred = inputs - center
    gram = centred.T @ centred
    gram += weight * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solved = torch.linalg.solve(gram, centred.T @ (targets - middle)).T
    return solved, middle - solved @ center


def fit(
    states: Sequence[Tensor], sides: Sequence[Tensor], embeddings: tuple[np.ndarray, np.ndarray], seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """The probe [384], the values' map [190, 384] and its intercept, from the fifth layer's states of some pairs.

    `states` are [tokens, 384] a pair, `sides` 0 for query and 1 for document, `embeddings` the bi-encoder's of each.
    """
    tokens, side = torch.cat(list(states)).double(), torch.cat(list(sides)).double()
    probe, _ = ridge(tokens, 2 * side[:, None] - 1)
    means = [torch.stack([s[w == k].mean(0) for s, w in zip(states, sides, strict=True)]) for k in (0, 1)]
    targets = torch.tensor(np.concatenate(embeddings)).double()
    linear, intercept = ridge(torch.cat(means).double(), targets, 1e-2)
    directions = torch.linalg.svd(targets, full_matrices=False).Vh[:KEPT]
    # Rotated at random, every coordinate carries as much as any other, and each stays where gelu is nearly quadratic.
    noise = torch.randn(KEPT, KEPT, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    rotated = torch.linalg.qr(noise).Q @ directions
    spread = (tokens @ probe[0])[side == 1].mean() - (tokens @ probe[0])[side == 0].mean()
    return (probe[0] / spread).float(), (rotated @ linear).float(), (rotated @ intercept).float()


@torch.no_grad()
def write(model: BertForSequenceClassification, probe: Tensor, values: Tensor, intercept: Tensor) -> None:
    """Overwrite the last layer and the head so that the logit is SLOPE * (cosine - 1/2), roughly."""
    layer = model.bert.encoder.layer[-1]
    attention, output = layer.attention.self, layer.attention.output
    for linear in (attention.query, attention.key, attention.value, output.dense, layer.output.dense):
        linear.weight.zero_()
        linear.bias.zero_()
    for norm in (output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1.0)
        norm.bias.zero_()
    heads = model.config.num_attention_heads
    size = WIDTH // heads
    for head in range(heads):
        wanted = 1.0 if head >= heads // 2 else -1.0
        attention.query.bias[head * size] = wanted * size**0.5  # attention divides by sqrt(size)
        attention.key.weight[head * size] = SHARPNESS * probe
    for start in (0, HALF):
        attention.value.weight[start : start + KEPT] = LOUDNESS * values
        attention.value.bias[start : start + KEPT] = LOUDNESS * intercept
    output.dense.weight.copy_(torch.eye(WIDTH))

    match = torch.zeros(WIDTH)
    match[[HALF - 2, HALF - 1]], match[[WIDTH - 2, WIDTH - 1]] = 0.5, -0.5
    inner = layer.intermediate.dense
    inner.weight.normal_(0.0, 0.02)
    inner.bias.zero_()
    unit = 0
    for other, sign in ((1.0, 1.0), (-1.0, -1.0)):
        for direction in (0.5, -0.5):
            for i in range(KEPT):
                inner.weight[unit].zero_()
                inner.weight[unit, i], inner.weight[unit, HALF + i] = direction, direction * other
                # 150 is the sum for a cosine of 1: 0.8 for each of 190 coordinates of unit variance.
                layer.output.dense.weight[:, unit] = match * sign * SLOPE / 150.0
                unit += 1
    pooler, classifier = model.bert.pooler.dense, model.classifier
    classifier.weight.normal_(0.0, 0.005)
    for reader in range(READERS):
        pooler.weight[reader] = 0.06 * match
        pooler.bias[reader] = -0.06 * SLOPE / 2
        classifier.weight[0, reader] = 1.0 / (0.06 * READERS)
    classifier.bias.zero_()
