"""Read this first. A Reranker turns a query and documents into a Ranking; each step is one call into the file named.

read_side, read_documents   inputs.py      people's words
encode                      tokens.py      ids of each side
windows                     windows.py     ranges of a long document that fit beside the query
fill                        template.py    a pair in its place among fixed tokens
logits                      scorer.py      planned, packed, through the model, in the caller's order
best, best_first            windows.py, ranking.py
"""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crossrank.batch import Filled
from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.errors import InputError
from crossrank.hub import find
from crossrank.inputs import Input, Pair, Text, read_documents, read_pair, read_side
from crossrank.ranking import Hit, Ranking, Usage, best_first
from crossrank.scorer import Scorer, default_budget, place
from crossrank.windows import Limits, best, capacity, windows

__all__ = ["Prepared", "Reranker", "sigmoid"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A query with its documents, ready for the model: what serving batches across requests.

    sequences: every window of every document. ranges: for each document, its windows as half-open token ranges.
    """

    sequences: list[Filled]
    ranges: list[list[tuple[int, int]]]
    query_tokens: int
    query_truncated: bool

    @property
    def total_tokens(self) -> int:
        """Tokens that go through the model."""
        return sum(map(len, self.sequences))


class Reranker:
    """Scores documents against a query. Threads may share one: it holds nothing that changes.

    limits: with every None filled in. device, dtype: as chosen.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str | None, dtype: str | None, limits: Limits) -> None:
        model, target, self.dtype = place(checkpoint.model, device, dtype)
        self.checkpoint = checkpoint
        self.device = str(target)
        budget = limits.budget or default_budget(target)
        beside = checkpoint.template.beside
        self.limits = limits.within(checkpoint.max_length, budget, checkpoint.usual_length, beside)
        self.scorer = Scorer(model, target, budget)

    @classmethod
    def load(
        cls,
        name_or_folder: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        limits: Limits | None = None,
    ) -> Reranker:
        """Load a model: a folder, a bundled name, a hub name, or, by default, the model that ships with the package.

        device: "cpu", "cuda", "cuda:1"; None takes a GPU where there is one. dtype: "float32", "bfloat16", "float16"
        or, on CPU, "int8"; None takes float32 on CPU and bfloat16 on a GPU. Raises ModelNotFound, CheckpointError,
        DeviceError, or InputError for limits that the model cannot meet.
        """
        return cls(read_checkpoint(find(name_or_folder)), device=device, dtype=dtype, limits=limits or Limits())

    def rank(
        self, query: Input, documents: Sequence[Input], *, top_n: int | None = None, progress: Progress | None = None
    ) -> Ranking:
        """Documents by descending relevance, equals in the order given; the first `top_n`, or all of them.

        A document longer than the limits is read in overlapping windows, and its best window scores it. progress:
        called with windows done and their total.
        """
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InputError(f"top_n should be a whole number from 1, or None for all documents, not {top_n!r}")
        texts = read_documents(documents)
        prepared = self.prepare(read_side(query, "query"), texts)
        return self.ranking(prepared, self.scorer.logits(prepared.sequences, progress), texts, documents, top_n=top_n)

    def score(
        self, pairs: Iterable[Pair | Sequence[Input]], *, raw: bool = False, progress: Progress | None = None
    ) -> list[float]:
        """One score a (query, document) pair, in order: a probability, or with `raw` the logit before the sigmoid."""
        read = [read_pair(pair, f"pairs[{index}]") for index, pair in enumerate(pairs)]
        logits = self.pair_logits(read, progress)
        return logits if raw else [sigmoid(logit) for logit in logits]

    def pair_logits(self, pairs: Sequence[Pair], progress: Progress | None = None) -> list[float]:
        """The best window's logit of each pair, all pairs sharing batches."""
        queries = dict.fromkeys(pair.query for pair in pairs)
        members: dict[Text, list[int]] = {query: [] for query in queries}
        for index, pair in enumerate(pairs):
            members[pair.query].append(index)
        prepared = [(m, self.prepare(query, [pairs[i].document for i in m])) for query, m in members.items()]
        flat = iter(self.scorer.logits([filled for _, one in prepared for filled in one.sequences], progress))
        logits = [0.0] * len(pairs)
        for indices, one in prepared:
            for index, ranges in zip(indices, one.ranges, strict=True):
                logits[index] = max(next(flat) for _ in ranges)
        return logits

    def prepare(self, query: Text, documents: Sequence[Text]) -> Prepared:
        """Tokens of a query and documents in their windows and places."""
        template, max_length, max_query = self.checkpoint.template, self.limits.max_length, self.limits.max_query
        if max_length is None or max_query is None:
            raise InputError("limits: must be filled in, by Limits.within, before pairs are prepared")
        query_ids, *document_ids = self.checkpoint.tokenizer.encode([query.text, *(d.text for d in documents)])
        kept = query_ids[: max_query - template.query_frame]
        room = capacity(max_length, len(kept), template.fixed)
        ranges = [windows(len(ids), room, self.limits.overlap) for ids in document_ids]
        return Prepared(
            sequences=[
                template.fill(kept, ids[start:end])
                for ids, parts in zip(document_ids, ranges, strict=True)
                for start, end in parts
            ],
            ranges=ranges,
            query_tokens=len(kept) + template.query_frame,
            query_truncated=len(kept) < len(query_ids),
        )

    def ranking(
        self,
        prepared: Prepared,
        logits: Sequence[float],
        texts: Sequence[Text],
        documents: Sequence[object],
        *,
        top_n: int | None = None,
    ) -> Ranking:
        """Join the windows' logits to one a document, and put the best first. `documents` are returned as given."""
        hits, start = [], 0
        for index, parts in enumerate(prepared.ranges):
            end = start + len(parts)
            chosen = best(logits[start:end])
            logit = logits[start + chosen]
            hits.append(
                Hit(
                    index=index,
                    score=sigmoid(logit),
                    document=documents[index],
                    logit=logit,
                    windows=len(parts),
                    span=self._span(texts[index].text, parts, chosen),
                    tokens=sum(len(filled) for filled in prepared.sequences[start:end]),
                )
            )
            start = end
        return Ranking(
            hits=tuple(hits[index] for index in best_first([hit.logit for hit in hits], top_n)),
            usage=Usage(total_tokens=prepared.total_tokens, query_tokens=prepared.query_tokens),
            query_truncated=prepared.query_truncated,
        )

    def _span(self, text: str, parts: Sequence[tuple[int, int]], chosen: int) -> tuple[int, int]:
        """The code points of the chosen window. Read again with offsets, which only long documents need."""
        if len(parts) == 1:
            return 0, len(text)
        start, end = parts[chosen]
        offsets = self.checkpoint.tokenizer.offsets(text)[start:end]
        first, last = int(np.min(offsets[:, 0])), int(np.max(offsets[:, 1]))
        # A tokenizer that composes letters with their combining marks may give the marks no place.
        while last < len(text) and unicodedata.combining(text[last]):
            last += 1
        return first, last


def sigmoid(logit: float) -> float:
    """The logistic function, in double precision and without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
