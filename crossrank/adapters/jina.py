"""Jina's model methods: `compute_score` of v1 and v2, and v2's `rerank`.

Where they differ from the published ones, it is on purpose: equal scores keep the caller's order, an empty document is
scored, an index is a plain int, and text that spells a special token stays text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from typing import TypedDict

from crossrank.adapters.truncation import is_one_pair, truncated_logits
from crossrank.errors import InputError
from crossrank.reranker import Reranker, sigmoid
from crossrank.windows import Limits

__all__ = ["JinaReranker", "Result"]


class Result(TypedDict):
    """One document of `rerank`."""

    document: str
    relevance_score: float
    index: int


class JinaReranker:
    """A Reranker with the methods of jina-reranker-v1 and v2."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker

    @classmethod
    def load(
        cls,
        name_or_folder: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
    ) -> JinaReranker:
        """As Reranker.load."""
        return cls(Reranker.load(name_or_folder, device=device, dtype=dtype))

    def compute_score(
        self,
        sentence_pairs: Sequence[Sequence[str]] | Sequence[str],
        batch_size: int = 32,
        max_length: int | None = None,
    ) -> float | list[float]:
        """A probability for each (query, document); for one pair, in a list or not, a bare float.

        A pair longer than `max_length` tokens, by default the reranker's limit, loses the end of its longer side; it
        is not read in windows. batch_size changes nothing: batches are planned by tokens, and no score depends on them.
        """
        pairs = [sentence_pairs] if is_one_pair(sentence_pairs) else sentence_pairs
        scores = [sigmoid(logit) for logit in truncated_logits(self.reranker, pairs, max_length)]  # type: ignore[arg-type]
        return scores[0] if len(scores) == 1 else scores

    predict = compute_score

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        batch_size: int = 32,
        max_query_length: int | None = None,
        max_length: int | None = None,
        overlap_tokens: int | None = None,
        overlap: int | None = None,
        top_n: int | None = None,
    ) -> list[Result]:
        """Documents by descending relevance, long ones in overlapping windows; the first `top_n`, all for None or 0.

        max_length: of a window with its query, by default 1,024 or the model's limit if that is less.
        max_query_length: by default 512, and at most half of max_length. overlap_tokens, also called overlap: 80.
        batch_size changes nothing: batches are planned by tokens.
        """
        if overlap is not None and overlap_tokens is not None and overlap != overlap_tokens:
            raise InputError(f"overlap {overlap} and overlap_tokens {overlap_tokens} are two names of one setting")
        shared = overlap if overlap_tokens is None else overlap_tokens
        longest = self.reranker.checkpoint.max_length
        limits = Limits(
            max_length=min(1024, longest) if max_length is None else max_length,
            max_query=max_query_length,
            overlap=80 if shared is None else shared,
        )
        # The model is shared; only the limits are this call's own.
        limited = copy(self.reranker)
        beside = self.reranker.checkpoint.template.beside
        limited.limits = limits.within(longest, self.reranker.scorer.budget, beside=beside)
        ranking = limited.rank(query, documents, top_n=top_n or None)
        texts = list(documents)
        return [Result(document=texts[hit.index], relevance_score=hit.score, index=hit.index) for hit in ranking]
