"""Long documents become overlapping windows, and the best window speaks for its document.

The rule is that of jina-reranker-v2's `rerank`, applied to every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossrank.errors import InputError

__all__ = ["Limits", "best", "capacity", "windows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the model reads at once, in tokens. None means the model's own choice or the device's.

    max_length: a pair with its special tokens. max_query: a query with its own two special tokens; the rest of a
    longer query is cut off, and the ranking says so; at most half of max_length. overlap: tokens that neighbouring
    windows of a long document share, at most a quarter of a window. budget: tokens computed at a time; what bounds
    memory. A CPU's threads divide it among themselves.
    """

    max_length: int | None = None
    max_query: int | None = None
    overlap: int = 80
    budget: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "max_query", "budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"limits: {name} must be at least 1, not {value}")
        if self.overlap < 0:
            raise InputError(f"limits: overlap must not be negative, and is {self.overlap}")

    def within(self, model_length: int, budget: int, usual_length: int | None = None, beside: int = 2) -> Limits:
        """These limits with every None filled in, for a model that reads `model_length` tokens at most.

        beside: tokens of its template that max_query does not count. Raises InputError for what it cannot meet.
        """
        max_length = self.max_length or usual_length or model_length
        if max_length > model_length:
            raise InputError(f"limits: max_length {max_length} is more than the model's {model_length} tokens")
        max_query = self.max_query or min(512, max_length // 2)
        if 2 * max_query > max_length:
            raise InputError(f"limits: max_query {max_query} must not pass half of max_length {max_length}")
        if max_query < 3 or max_length < 16:
            raise InputError(f"limits: max_length {max_length} and max_query {max_query} leave no room for text")
        if capacity(max_length, max_query, beside) < 1:
            raise InputError(
                f"limits: max_length {max_length} and max_query {max_query} leave no room for a document, since "
                f"{beside} more tokens are the model's own; raise the one or lower the other"
            )
        return Limits(max_length=max_length, max_query=max_query, overlap=self.overlap, budget=self.budget or budget)


def capacity(max_length: int, query: int, fixed: int) -> int:
    """How many document tokens fit beside `query` query tokens and `fixed` template tokens."""
    return max_length - query - fixed


def windows(length: int, capacity: int, overlap: int) -> list[tuple[int, int]]:
    """Half-open token ranges that cover a document of `length` tokens, each at most `capacity` long.

    Neighbours share min(overlap, capacity // 4) tokens, except that the last window always holds the final
    `capacity` tokens and may share more. A document that fits, an empty one too, is one window.
    """
    if length <= capacity:
        return [(0, length)]
    stride = capacity - min(overlap, capacity // 4)
    starts = range(0, length - capacity, stride)
    return [(start, start + capacity) for start in starts] + [(length - capacity, length)]


def best(scores: Sequence[float]) -> int:
    """Which window speaks for its document: the one with the highest score, the first among equals."""
    return max(range(len(scores)), key=lambda index: (scores[index], -index))
