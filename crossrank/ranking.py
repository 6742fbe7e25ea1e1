"""The answer: hits best first, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

__all__ = ["Hit", "Ranking", "Usage", "best_first"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a ranking.

    index: its place in the caller's list. document: what the caller sent, untouched.
    score: the model's own scale (a probability for most models). logit: before the activation.
    windows: how many windows the document was read in. span: the best window, as a half-open range of code points
    of the document's text. tokens: what was scored for it, special tokens, query and every window counted.
    """

    index: int
    score: float
    document: object
    logit: float
    windows: int
    span: tuple[int, int]
    tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """total_tokens: of every pair and window, also of one that equals another and is computed once.

    query_tokens: the query's, with its special tokens.
    """

    total_tokens: int
    query_tokens: int


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[Hit]):
    """Hits, best first; equal scores keep the caller's order. A sequence of Hit."""

    hits: tuple[Hit, ...]
    usage: Usage
    query_truncated: bool

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, item: int) -> Hit: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, item: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[item]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


def best_first(scores: Sequence[float], top_n: int | None = None) -> list[int]:
    """Indices by descending score, equals by ascending index; the first `top_n` of them, all if None."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return order if top_n is None else order[:top_n]
