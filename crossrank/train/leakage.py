"""Training queries that are also evaluation queries, exactly or nearly: found, reported, and left out.

Queries are compared as sets of four-letter shingles of their normalised text. Two are nearly the same when their
Jaccard similarity reaches a threshold; no pair above it is missed, for what is searched is an index of prefixes, after
Bayardo, Ma and Srikant (2007), "Scaling up all pairs similarity search": two sets that are alike enough must share one
of the rarest shingles of each. Only the evaluation queries are held in memory.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossrank.errors import InputError
from crossrank.lines import json_objects
from crossrank.words import MARKS

__all__ = ["THRESHOLD", "Guard", "Leak", "normalised"]

# "what is" and "what's the capital city of france" share .81 of their shingles; with france and ghana in it, .67.
THRESHOLD = 0.7
SHINGLE = 4
NOT_WORDS = re.compile(rf"(?:[^\w{MARKS}]|_)+")


@dataclass(frozen=True, slots=True)
class Leak:
    """A training query that an evaluation asks too. similarity: 1.0 when they are equal but for case and marks."""

    where: str
    query: str
    collection: str
    evaluated: str
    similarity: float


class Guard:
    """Knows the queries of evaluation collections, and recognises them.

    collections: name -> queries. threshold: the least Jaccard similarity that counts as the same, above 0, at most 1.
    """

    def __init__(self, collections: dict[str, Sequence[str]], threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"a leakage threshold should be above 0 and at most 1, not {threshold}")
        self.threshold = threshold
        self._queries = [(name, query) for name, queries in collections.items() for query in queries]
        self._shingles = [shingles(normalised(query)) for _, query in self._queries]
        self._counts = Counter(shingle for found in self._shingles for shingle in found)
        self._index: defaultdict[str, list[int]] = defaultdict(list)
        for place, found in enumerate(self._shingles):
            for shingle in self._prefix(found):
                self._index[shingle].append(place)

    @classmethod
    def of(cls, folders: Sequence[Path], threshold: float = THRESHOLD) -> Guard:
        """From BEIR folders: the "text" of each line of their queries.jsonl. InputError for a folder without one."""
        found: dict[str, Sequence[str]] = {}
        for folder in folders:
            path = folder / "queries.jsonl"
            if not path.is_file():
                raise InputError(f"{folder} has no queries.jsonl; an evaluation collection is a BEIR folder with one")
            found[str(folder)] = _queries(path)
        return cls(found, threshold)

    def __len__(self) -> int:
        return len(self._queries)

    def find(self, query: str, where: str = "") -> Leak | None:
        """The evaluation query most like a training query, if there is one alike enough."""
        own = shingles(normalised(query))
        near = {place for shingle in self._prefix(own) for place in self._index.get(shingle, ())}
        best = max(((_jaccard(own, self._shingles[place]), -place) for place in near), default=(0.0, 0))
        if best[0] < self.threshold:
            return None
        name, evaluated = self._queries[-best[1]]
        return Leak(where, query, name, evaluated, best[0])

    def _prefix(self, found: frozenset[str]) -> list[str]:
        """The rarest shingles, so many that a set alike enough cannot have them all missing."""
        needed = math.ceil(self.threshold * len(found) - 1e-9)
        return sorted(found, key=lambda shingle: (self._counts[shingle], shingle))[: len(found) - needed + 1]


def normalised(text: str) -> str:
    """Case, width, accents' spelling, punctuation and spacing told apart no longer."""
    return NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def shingles(text: str) -> frozenset[str]:
    """Every run of four letters of a text with a blank before and after; of a text without words, none."""
    if not text:
        return frozenset()
    padded = f" {text} "
    return frozenset(padded[start : start + SHINGLE] for start in range(max(1, len(padded) - SHINGLE + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _queries(path: Path) -> list[str]:
    found: list[str] = []

    def take(row: dict[str, Any]) -> None:
        if not isinstance(row["text"], str):
            raise TypeError(f'"text" should be a string, not {type(row["text"]).__name__}')
        found.append(row["text"])

    json_objects(path, take)
    return found
