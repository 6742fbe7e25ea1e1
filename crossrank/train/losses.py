"""The losses of a recipe: sentence-transformers', by name, and the rows that each of them reads.

A row is what a loss learns from at once: a pair, a query with one positive and negatives, or a query with a list of
documents. rows_of() makes rows of a Record, with no more documents than asked for.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses
from torch import nn

from crossrank.errors import InputError
from crossrank.train.records import Record

__all__ = ["LOSSES", "Loss", "flat_loss", "label_prior", "make_loss", "rows_of"]

Row = dict[str, Any]
Build = Callable[[CrossEncoder, Mapping[str, float]], nn.Module]


@dataclass(frozen=True, slots=True)
class Loss:
    """shape: of its rows, a key of SHAPES. targets: what it can learn from, the default first.

    options: its settings in a recipe, and their defaults. `chunk`, where there is one, is how many pairs go through the
    model at once; 0 is all of them.
    """

    shape: str
    targets: tuple[str, ...]
    build: Build
    options: Mapping[str, float]


def _listwise(kind: Callable[..., nn.Module]) -> Build:
    return lambda model, chosen: kind(model, mini_batch_size=int(chosen["chunk"]) or -1)


def _ranked(kind: Callable[..., nn.Module]) -> Build:
    """The two that take the documents' order for the truth unless they are told to read the labels."""
    return lambda model, chosen: kind(model, mini_batch_size=int(chosen["chunk"]) or -1, respect_input_order=False)


def _weighted(model: CrossEncoder, chosen: Mapping[str, float]) -> nn.Module:
    return losses.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(chosen["positive_weight"])))


def _in_batch(model: CrossEncoder, chosen: Mapping[str, float]) -> nn.Module:
    negatives, scale = int(chosen["in_batch_negatives"]), chosen["scale"]
    return losses.MultipleNegativesRankingLoss(model, negatives, scale)  # type: ignore[arg-type]  # a float will do


def _cached(model: CrossEncoder, chosen: Mapping[str, float]) -> nn.Module:
    return losses.CachedMultipleNegativesRankingLoss(
        model,
        num_negatives=int(chosen["in_batch_negatives"]),
        scale=chosen["scale"],
        mini_batch_size=int(chosen["chunk"]) or sys.maxsize,
    )


def _lambda(model: CrossEncoder, chosen: Mapping[str, float]) -> nn.Module:
    return losses.LambdaLoss(model, mini_batch_size=int(chosen["chunk"]) or -1, k=int(chosen["k"]) or None)


LEAST = {"in_batch_negatives": 1, "chunk": 0, "k": 0}  # whole numbers; the other options are above 0
NEGATIVES = {"in_batch_negatives": 4, "scale": 10.0}
EITHER = ("labels", "scores")
LOSSES = {
    "binary_cross_entropy": Loss("pairs", EITHER, _weighted, {"positive_weight": 1.0}),
    "multiple_negatives": Loss("tuples", ("labels",), _in_batch, NEGATIVES),
    "cached_multiple_negatives": Loss("tuples", ("labels",), _cached, {**NEGATIVES, "chunk": 32}),
    "rank_net": Loss("lists", EITHER, _listwise(losses.RankNetLoss), {"chunk": 0}),
    "lambda": Loss("lists", ("labels",), _lambda, {"chunk": 0, "k": 0}),
    "list_net": Loss("lists", EITHER, _listwise(losses.ListNetLoss), {"chunk": 0}),
    "list_mle": Loss("lists", EITHER, _ranked(losses.ListMLELoss), {"chunk": 0}),
    "p_list_mle": Loss("lists", EITHER, _ranked(losses.PListMLELoss), {"chunk": 0}),
    "adr_mse": Loss("lists", EITHER, _listwise(losses.ADRMSELoss), {"chunk": 0}),
    "mse": Loss("pairs", ("scores", "labels"), lambda model, _: losses.MSELoss(model), {}),
    "margin_mse": Loss("margins", ("scores",), lambda model, _: losses.MarginMSELoss(model), {}),
}


def make_loss(name: str, model: CrossEncoder, chosen: Mapping[str, float]) -> nn.Module:
    """The loss of that name over `model`; `chosen` overrides its options. InputError for a value that will not do."""
    kind = LOSSES[name]
    for option, value in chosen.items():
        if option in LEAST and not (value >= LEAST[option] and float(value).is_integer()):
            raise InputError(f"loss {name!r}: {option} should be a whole number from {LEAST[option]}, not {value}")
        if option not in LEAST and not 0 < value < math.inf:
            raise InputError(f"loss {name!r}: {option} should be a number above 0, not {value}")
    return kind.build(model, {**kind.options, **chosen})


def rows_of(
    record: Record, name: str, target: str, *, documents: int, temperature: float, chance: random.Random
) -> Iterator[Row]:
    """The rows of a record for the loss `name`; none where it holds nothing that this loss could learn.

    target: "labels" or "scores". They are divided by `temperature`, but for the labels of single pairs. Of more
    documents than `documents`, relevant ones are drawn first, up to half of them, and others then. InputError where a
    record lacks the target.
    """
    values = record.labels if target == "labels" else record.scores
    if not values:
        where = f"{record.where}: " if record.where else ""
        raise InputError(f"{where}the query {record.query[:60]!r} has no {target}, and loss {name!r} learns from them")
    shape = LOSSES[name].shape
    if shape == "tuples":
        yield from _tuples(record, documents, chance)
        return
    chosen = _drawn(record, documents, chance)
    if shape != "pairs" or target == "scores":
        values = tuple(value / temperature for value in values)
    if shape == "pairs":
        for index in chosen:
            label = _probability(values[index], target) if name == "binary_cross_entropy" else values[index]
            yield {"query": record.query, "document": record.documents[index], "label": label}
        return
    if len({values[index] for index in chosen}) < 2:
        return  # equal values order nothing
    if shape == "lists":
        yield {
            "query": record.query,
            "documents": [record.documents[index] for index in chosen],
            "labels": [values[index] for index in chosen],
        }
        return
    best, *others = sorted(chosen, key=lambda index: -values[index])
    chosen = [best, *_filled_up(others, documents - 1)]
    yield {
        "query": record.query,
        **{f"document_{place}": record.documents[index] for place, index in enumerate(chosen)},
        "label": [values[index] for index in chosen],
    }


def _tuples(record: Record, documents: int, chance: random.Random) -> Iterator[Row]:
    positives = [index for index, label in enumerate(record.labels) if label >= 1]
    negatives = [index for index, label in enumerate(record.labels) if label <= 0]
    if not positives or (documents > 1 and not negatives):
        return
    negatives = _filled_up(chance.sample(negatives, min(len(negatives), documents - 1)), documents - 1)
    yield {
        "query": record.query,
        "positive": record.documents[chance.choice(positives)],
        **{f"negative_{place}": record.documents[index] for place, index in enumerate(negatives)},
    }


def _drawn(record: Record, most: int, chance: random.Random) -> list[int]:
    """Indices of at most `most` documents in a random order."""
    everything = range(len(record.documents))
    if len(everything) <= most:
        return chance.sample(everything, len(everything))
    right = [index for index in everything if record.labels and record.labels[index] >= 1]
    kept = chance.sample(right, min(len(right), max(1, most // 2)))
    rest = [index for index in everything if index not in right]
    kept += chance.sample(rest, min(len(rest), most - len(kept)))
    spare = [index for index in right if index not in kept]
    kept += chance.sample(spare, min(len(spare), most - len(kept)))
    return chance.sample(kept, len(kept))


def _filled_up(indices: list[int], count: int) -> list[int]:
    """`count` of the indices, from the first again where there are fewer: every row of a batch has as many columns."""
    return [indices[place % len(indices)] for place in range(count)]


def _probability(value: float, target: str) -> float:
    """A label of 1 or more is relevant; a teacher's logit is read through the logistic function."""
    if target == "labels":
        return min(max(value, 0.0), 1.0)
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))


def label_prior(name: str, labels: object) -> float:
    """The score that a model which knows nothing but a batch's labels would give to every document."""
    if not isinstance(labels, torch.Tensor):
        return 0.0
    mean = float(labels.float().mean())
    if name == "binary_cross_entropy":
        mean = min(max(mean, 1e-4), 1 - 1e-4)
        return math.log(mean / (1 - mean))
    return mean if name == "mse" else 0.0


def flat_loss(loss: nn.Module, module: nn.Module, columns: list[Any], labels: Any, score: float) -> float:
    """What `loss` is when `module`, the model's first, gives every pair the same `score`: that of knowing nothing."""

    def flatten(_: nn.Module, __: object, features: dict[str, Any]) -> dict[str, Any]:
        return {**features, "scores": torch.full_like(features["scores"], score)}

    handle = module.register_forward_hook(flatten)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            return float(loss(columns, labels))
    finally:
        handle.remove()
