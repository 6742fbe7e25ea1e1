"""Queries with some of their candidates, as a packed batch with the states that are not computed again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossrank.batch import Filled, Packed, pack
from crossrank.models.dual import Dual

GROUP, QUERIES = 10, 6  # documents of a query, queries of a step
HELD_OUT = 40  # the first queries of each source are never trained on, and choose between runs
DEV_GROUP = 24


@dataclass(frozen=True, eq=False)
class Pool:
    """One source, as states.py and choose.py left it.

    `opinions` and `asked` are choose.py's; a pool that it is still at has none.
    """

    name: str
    tokens: np.ndarray
    bounds: np.ndarray
    states: np.ndarray
    queries: int
    documents: np.ndarray
    label: np.ndarray
    opinions: np.ndarray
    asked: np.ndarray

    @classmethod
    def open(cls, states: Path, chosen: Mapping[str, np.ndarray]) -> Pool:
        """The source whose texts are in the file `states`, with candidates."""
        texts = np.load(states)
        none = np.zeros((*chosen["label"].shape, 3), dtype=np.float32)
        return cls(
            name=states.stem,
            tokens=texts["tokens"],
            bounds=texts["bounds"],
            states=np.load(states.with_suffix(".npy"), mmap_mode="r"),
            queries=int(texts["queries"]),
            documents=chosen["documents"],
            label=chosen["label"],
            opinions=chosen.get("opinions", none),
            asked=chosen.get("queries", none),
        )

    def __len__(self) -> int:
        return self.queries

    @property
    def held_out(self) -> int:
        return min(HELD_OUT, self.queries // 5)

    def text(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a query, or of document i - queries, and their states, [tokens, 2 * width]."""
        start, end = self.bounds[i : i + 2]
        return self.tokens[start:end], self.states[start:end]


@dataclass(frozen=True, eq=False)
class Lists:
    """Pairs list after list, as many documents in each; label is [lists, documents], opinions [lists, documents, 3]."""

    batch: Packed
    below: Tensor
    top: Tensor
    label: Tensor
    opinions: Tensor
    sources: list[str]


def open_pools(states: Path, candidates: Path) -> list[Pool]:
    """Every source that both folders have."""
    files = [file for file in sorted(candidates.glob("*.npz")) if "partial" not in file.name]
    return [Pool.open(states / file.name, dict(np.load(file))) for file in files if (states / file.name).exists()]


def gather(picks: list[tuple[Pool, int, list[int]]]) -> Lists:
    """Lists of (pool, query, which of its candidates)."""
    filled, states = [], []
    for pool, i, columns in picks:
        query, above = pool.text(i)
        for number in pool.documents[i, columns]:
            document, under = pool.text(pool.queries + number)
            filled.append(Filled(tokens=np.concatenate([query, document]), split=len(query)))
            states += [above, under]
    below, top = torch.from_numpy(np.concatenate(states)).float().chunk(2, dim=1)
    return Lists(
        batch=pack(filled),
        below=below.contiguous(),
        top=top.contiguous(),
        label=torch.from_numpy(np.stack([pool.label[i, columns] for pool, i, columns in picks])),
        opinions=torch.from_numpy(np.stack([pool.opinions[i, columns] for pool, i, columns in picks])),
        sources=[pool.name for pool, _, _ in picks],
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


def scores_of(model: Dual, lists: Lists) -> Tensor:
    """Logits, [lists, documents]."""
    below = lists.below.to(next(model.blocks.parameters()).dtype)
    return model.together(below, lists.top, lists.batch).view(lists.label.shape)
