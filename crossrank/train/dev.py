"""Held-in development data: what a run is measured on before, between and after its stages, by nDCG@10.

Järvelin and Kekäläinen (2002), https://doi.org/10.1145/582415.582418, with the label as the gain, as trec_eval has it.
Judged documents that are not among the candidates count as missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from crossrank.errors import InputError
from crossrank.lines import json_objects
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
    """The judged queries of a JSONL file or of a folder in BEIR layout.

    Queries without a relevant document are left out; InputError where nothing is left.
    """
    path = data / dev.path
    judged = _folder(path, dev) if path.is_dir() else _file(path)
    judged = [each for each in judged if max((*each.labels, *each.missed), default=0) > 0 and len(each.documents) > 1]
    if not judged:
        raise InputError(f"{path}: no query has two documents or more and a label above 0, so nothing can be measured")
    return judged[: dev.queries or None]


def _file(path: Path) -> list[Judged]:
    """Labelled pairs of the same query, wherever they stand, are one query's documents."""
    found: dict[str, dict[str, float]] = {}
    for record in read_records(path):
        if record.labels:
            found.setdefault(record.query, {}).update(zip(record.documents, record.labels, strict=True))
    return [Judged(query, tuple(labels), tuple(labels.values())) for query, labels in found.items()]


def _folder(folder: Path, dev: Dev) -> list[Judged]:
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    json_objects(folder / "corpus.jsonl", lambda row: corpus.update({row["_id"]: _document(row)}))
    json_objects(folder / "queries.jsonl", lambda row: queries.update({row["_id"]: row["text"]}))
    labels: dict[str, dict[str, float]] = {}
    path = next((p for p in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if p.is_file()), folder / "qrels.tsv")
    for line in path.read_text(encoding="utf-8").splitlines():
        query, document, label = line.split("\t")[:3]
        if query in queries and document in corpus:
            labels.setdefault(query, {})[document] = float(label)
    chosen = list(labels)[: dev.queries or None]
    names = list(corpus)
    found = bm25_search(list(corpus.values())).find([queries[query] for query in chosen], dev.top_k)
    judged = []
    for query, candidates in zip(chosen, found, strict=True):
        near = [names[index] for index in candidates]
        gains = labels[query]
        missed = tuple(gain for document, gain in gains.items() if document not in near)
        texts = tuple(corpus[document] for document in near)
        judged.append(Judged(queries[query], texts, tuple(gains.get(document, 0.0) for document in near), missed))
    return judged


def _document(row: dict[str, Any]) -> str:
    return " ".join(filter(None, (row.get("title"), row["text"])))


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
