"""Queries with some of their candidates, as a packed batch with the states that are not computed again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossrank.batch import Filled, Packed, pack

GROUP, QUERIES = 10, 6  # documents of a query, queries of a step
HELD_OUT = 40  # the first queries of each source are never trained on, and choose between runs
DEV_GROUP = 24


@dataclass(frozen=True, eq=False)
class Pool:
    """One source, as states.py and choose.py left it."""

    name: str
    tokens: np.ndarray
    bounds: np.ndarray
    queries: int
    states: np.ndarray
    documents: np.ndarray
    label: np.ndarray
    cosines: np.ndarray

    def __len__(self) -> int:
        return self.queries

    @property
    def held_out(self) -> int:
        return min(HELD_OUT, self.queries // 5)

    def text(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens and the states of a query, or of document i - queries."""
        start, end = self.bounds[i : i + 2]
        return self.tokens[start:end], self.states[start:end]


@dataclass(frozen=True, eq=False)
class Lists:
    """Pairs list after list, as many documents in each; label is [lists, documents]."""

    batch: Packed
    below: Tensor
    cosine: Tensor
    label: Tensor


def open_pools(states: Path, candidates: Path) -> list[Pool]:
    """Every source that both folders have."""
    pools = []
    for file in sorted(candidates.glob("*.npz")):
        if "partial" in file.name or not (states / file.name).exists():
            continue
        chosen, texts = dict(np.load(file)), np.load(states / file.name)
        pools.append(
            Pool(
                name=file.stem,
                tokens=texts["tokens"],
                bounds=texts["bounds"],
                queries=int(texts["queries"]),
                states=np.load(states / f"{file.stem}.npy", mmap_mode="r"),
                documents=chosen["documents"],
                label=chosen["label"],
                cosines=chosen["cosines"],
            )
        )
    return pools


def gather(picks: list[tuple[Pool, int, list[int]]]) -> Lists:
    """Lists of (pool, query, which of its candidates)."""
    filled, states, cosine, label = [], [], [], []
    for pool, i, columns in picks:
        query, above = pool.text(i)
        for number in pool.documents[i, columns]:
            document, under = pool.text(pool.queries + number)
            filled.append(Filled(tokens=np.concatenate([query, document]), split=len(query)))
            states += [above, under]
        cosine.append(pool.cosines[i, columns])
        label.append(pool.label[i, columns])
    return Lists(
        batch=pack(filled),
        below=torch.from_numpy(np.concatenate(states)).float(),
        cosine=torch.from_numpy(np.concatenate(cosine)),
        label=torch.from_numpy(np.stack(label)),
    )


def sample(pools: list[Pool], weights: list[float], rng: random.Random) -> Lists:
    """One step's lists: one to three answers of each query, and others of its candidates at random."""
    picks = []
    for pool in rng.choices(pools, weights, k=QUERIES):
        i = rng.randrange(pool.held_out, len(pool))
        right, wrong = np.flatnonzero(pool.label[i]).tolist(), np.flatnonzero(~pool.label[i]).tolist()
        columns = rng.sample(right, min(len(right), rng.choice((1, 2, 3))))
        picks.append((pool, i, columns + rng.sample(wrong, GROUP - len(columns))))
    return gather(picks)
