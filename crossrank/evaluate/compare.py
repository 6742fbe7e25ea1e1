"""Is the difference between two systems luck? Query by query, by a randomisation test and a bootstrap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from crossrank.evaluate.run import Outcome, Table

__all__ = ["Change", "Difference", "compare", "differences", "interval", "randomisation_test", "worst"]

ROUNDS = 10_000
CELLS = 4_000_000  # of a random matrix held at once
EXACT = 13  # up to 2 ** 13 sign patterns are all tried, which is fewer than ROUNDS


@dataclass(frozen=True, slots=True)
class Change:
    """One query under two systems, with its text."""

    query: str
    text: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Difference:
    """`after` less `before`, by `measure`. low, high: a 95 % interval. p: two-sided, of one comparison by itself; with
    many comparisons in a table, some are small by chance. changes: every query that moved, the worst loss first."""

    measure: str
    before: str
    after: str
    mean: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    changes: tuple[Change, ...]


def compare(table: Table, before: Outcome, after: Outcome, measure: str, seed: int = 0) -> Difference:
    """Two systems on the same queries."""
    old, new = before.values[measure], after.values[measure]
    deltas = np.array([new[query] - old[query] for query in table.queries])
    low, high = interval(deltas, seed)
    moved = [
        Change(query, table.collection.queries[query], old[query], new[query])
        for query in table.queries
        if new[query] != old[query]
    ]
    return Difference(
        measure=measure,
        before=before.system,
        after=after.system,
        mean=float(deltas.mean()),
        low=low,
        high=high,
        p=randomisation_test(deltas, seed),
        wins=int((deltas > 0).sum()),
        losses=int((deltas < 0).sum()),
        changes=tuple(sorted(moved, key=lambda change: change.after - change.before)),
    )


def differences(table: Table, measure: str, seed: int = 0) -> Iterator[Difference]:
    """Every pair of systems, each against those named before it."""
    for before, after in combinations(table.outcomes, 2):
        yield compare(table, before, after, measure, seed)


def randomisation_test(deltas: np.ndarray, seed: int = 0, rounds: int = ROUNDS) -> float:
    """How often chance alone gives a mean difference at least this large: Fisher's paired randomisation test.

    If the systems were alike, each query's difference could as well have had the other sign. All patterns of signs are
    tried when there are few, `rounds` random ones otherwise, the observed one counted among them. (Smucker, Allan and
    Carterette, CIKM 2007, compare it with its peers.)
    """
    nonzero = deltas[deltas != 0].astype(np.float64)
    if len(nonzero) == 0:
        return 1.0
    # Sums of the same numbers in another order differ in the last bits, and a tie with the observed sum must count.
    observed = abs(nonzero.sum()) - 1e-9
    if len(nonzero) <= EXACT:
        patterns = (np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero))) & 1
        return float((np.abs((patterns * 2 - 1) @ nonzero) >= observed).mean())
    random = np.random.default_rng(seed)
    extreme = 0
    for size in _shares(rounds, len(nonzero)):
        signs = random.integers(0, 2, size=(size, len(nonzero)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ nonzero) >= observed).sum())
    return (extreme + 1) / (rounds + 1)


def interval(deltas: np.ndarray, seed: int = 0, rounds: int = ROUNDS, level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean over queries."""
    if len(deltas) == 0:
        return 0.0, 0.0
    random = np.random.default_rng(seed)
    means = [
        deltas[random.integers(0, len(deltas), size=(size, len(deltas)))].mean(1)
        for size in _shares(rounds, len(deltas))
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _shares(rounds: int, width: int) -> list[int]:
    """`rounds` in parts of at most CELLS random numbers."""
    part = max(1, CELLS // max(1, width))
    return [min(part, rounds - start) for start in range(0, rounds, part)]


def worst(changes: Sequence[Change], count: int) -> list[Change]:
    """The largest losses."""
    return [change for change in changes if change.after < change.before][:count]
