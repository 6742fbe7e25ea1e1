"""Held-in development data: what a run is measured on before, between and after its stages, by nDCG@10.

Järvelin and Kekäläinen (2002), https://doi.org/10.1145/582415.582418, with the label as the gain, as trec_eval has it.
Judged documents that are not among the candidates count as missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from crossrank.collections import open_collection
from crossrank.errors import InputError
from crossrank.train.corpus import bm25_search
from crossrank.train.recipe import Dev
from crossrank.train.records import read_records

__all__ = ["Judged", "mean", "measure", "ndcg", "read_dev"]

CUT = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """A query, its candidates and their labels, and the labels of relevant documents that no candidate is."""

    query: str
    documents: tuple[str, ...]
    labels: tuple[float, ...]
    missed: tuple[float, ...] = ()


def read_dev(dev: Dev, data: Path) -> list[Judged]:
    """The judged queries of a JSONL file or of a folder in BEIR or TREC layout.

    Queries without a relevant document are left out, and of a file those that have one document; InputError where
    nothing is left.
    """
    path = data / dev.path
    judged = _folder(path, dev) if path.is_dir() else _file(path, dev)
    if not any(len(each.documents) > 1 for each in judged):
        raise InputError(f"{path}: no query has two documents or more and a label above 0, so nothing can be measured")
    return judged


def _file(path: Path, dev: Dev) -> list[Judged]:
    """Labelled pairs of the same query, wherever they stand, are one query's documents; the best label counts."""
    found: dict[str, dict[str, float]] = {}
    for record in read_records(path):
        if record.labels:
            known = found.setdefault(record.query, {})
            for document, label in zip(record.documents, record.labels, strict=True):
                known[document] = max(label, known.get(document, label))
    judged = [Judged(query, tuple(labels), tuple(labels.values())) for query, labels in found.items()]
    return [each for each in judged if max(each.labels) > 0 and len(each.documents) > 1][: dev.queries or None]


def _folder(folder: Path, dev: Dev) -> list[Judged]:
    """What BM25 finds for each query; one for which it finds nothing counts as missed, as for a user."""
    collection = open_collection(str(folder))
    chosen = collection.usable[: dev.queries or None]
    names = list(collection.documents)
    search = bm25_search(list(collection.documents.values()))
    found = search.find([collection.queries[query] for query in chosen], dev.top_k)
    judged = []
    for query, places in zip(chosen, found, strict=True):
        near = [names[place] for place in places]
        gains = collection.qrels[query]
        texts = tuple(collection.documents[document] for document in near)
        labels = tuple(float(gains.get(document, 0)) for document in near)
        missed = tuple(float(gain) for document, gain in gains.items() if document not in near)
        judged.append(Judged(collection.queries[query], texts, labels, missed))
    return judged


def measure(model: CrossEncoder, judged: Sequence[Judged]) -> float:
    """Mean nDCG@10 of the model's rankings."""
    pairs = [(each.query, document) for each in judged for document in each.documents]
    training = model.training
    predicted = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    model.train(training)
    scores = iter(predicted.tolist())
    return mean([ndcg([next(scores) for _ in each.documents], each) for each in judged])


def ndcg(scores: Sequence[float], judged: Judged) -> float:
    """nDCG@10 of one query's candidates by their scores; among equal scores the relevant come last.

    Else a model that gives every document the same score would be perfect wherever the relevant are listed first.
    """
    pairs = sorted(zip(scores, judged.labels, strict=True), key=lambda pair: (-pair[0], pair[1]))
    ranked = [label for _, label in pairs]
    ideal = sorted((*judged.labels, *judged.missed), reverse=True)[:CUT]
    return _gain(ranked[:CUT]) / _gain(ideal)


def _gain(labels: Sequence[float]) -> float:
    return sum(max(label, 0.0) / math.log2(rank + 2) for rank, label in enumerate(labels))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
