"""Hard negatives: documents that a first stage ranks high for a query and that are, most likely, not relevant to it.

    retrieve   BM25, a bi-encoder, or both: each one's documents from rank range_min to range_max, taken in turns
    exclude    the query's own documents, and those that are positives of the same query elsewhere in the file
    judge      the first `pool` of what is left, with a cross-encoder, or else by the bi-encoder's cosine: what comes
               too near the least of the query's positives is likely a positive that nobody marked, and is dropped
    keep       the first `negatives`, or a random choice of as many

Options are named as in sentence-transformers' mine_hard_negatives, whose search is used here. That function itself has
neither BM25 nor resume. The margin relative to the positive follows Moreira et al. (2024), NV-Retriever,
https://arxiv.org/abs/2407.15831, who found 0.05 best of what they tried.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from crossrank.errors import InputError
from crossrank.inputs import Pair, Text
from crossrank.reranker import sigmoid
from crossrank.train.corpus import Corpus, Search, same
from crossrank.train.records import Record, as_row
from crossrank.train.resuming import Block
from crossrank.train.survey import Row

__all__ = ["SAMPLINGS", "Judge", "Judged", "Known", "Mining", "cosine_judge", "mined", "positives", "reranker_judge"]

SAMPLINGS = ("top", "random")

Counts = defaultdict[str, float]

# Scores for each query's documents: `compared` is what margins are measured on, `logits` what is written, or nothing.
Judge = Callable[[Sequence[str], Sequence[Sequence[str]]], "list[Judged]"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One query's documents as a judge sees them, in their order. compared: probabilities or cosines."""

    compared: list[float]
    logits: list[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mining:
    """How many negatives a query gets and which. Ranks count from 0; range_max is the first that is not taken.

    pool: candidates that are judged; None takes three times `negatives`. absolute_margin, relative_margin: how far
    below the least positive a negative must score, as a difference and as a share of that positive's score. max_score:
    the most that a negative may score. All three are on the judge's scale: a probability, or a cosine. sampling: "top"
    keeps the first candidates, "random" draws them from the range.
    """

    negatives: int = 8
    range_min: int = 0
    range_max: int = 100
    pool: int | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    sampling: str = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise InputError(f"negatives should be at least 1, not {self.negatives}")
        if not 0 <= self.range_min < self.range_max:
            raise InputError(f"ranks should be 0 <= range_min < range_max, not {self.range_min} and {self.range_max}")
        if self.pool is not None and self.pool < self.negatives:
            raise InputError(f"a pool of {self.pool} cannot give {self.negatives} negatives")
        for name in ("absolute_margin", "relative_margin", "max_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} should be a finite number, not {value}")
        if self.sampling not in SAMPLINGS:
            raise InputError(f"sampling should be {' or '.join(SAMPLINGS)}, not {self.sampling!r}")

    @property
    def filters(self) -> bool:
        return not (self.absolute_margin is None and self.relative_margin is None and self.max_score is None)

    @property
    def judged(self) -> int:
        return 3 * self.negatives if self.pool is None else self.pool


class Known:
    """Which documents are positives of which query, over a whole file: a query may stand on several lines."""

    def __init__(self) -> None:
        self._positives: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        """Queries that have a positive."""
        return len(self._positives)

    def add(self, record: Record) -> None:
        if right := positives(record):
            self._positives.setdefault(same(record.query), set()).update(map(same, right))

    def of(self, query: str) -> set[bytes]:
        return self._positives.get(same(query), set())


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that a search found. found: the searches' names, joined by + where several found it."""

    text: str
    rank: int
    found: str


def positives(record: Record) -> list[str]:
    """The documents with a label above 0."""
    return [text for text, label in zip(record.documents, record.labels, strict=False) if label > 0]


def mined(
    block: Sequence[Row], corpus: Corpus, searches: Sequence[Search], judge: Judge | None, known: Known, options: Mining
) -> Block:
    """The block's records with their negatives after their own documents, and counts of what happened.

    A record without a positive is left out, and so is one that ends without a negative. With a judge that gives
    logits, they are written as scores. Without one the negatives have no scores, so those of the record are dropped
    and counted.
    """
    counts: Counts = defaultdict(float, records=len(block))
    rows = [row for row in block if positives(row.record)]
    counts["without_positive"] = len(block) - len(rows)
    found = _candidates([row.record for row in rows], corpus, searches, known, options, counts)
    judged = _judged([row.record for row in rows], found, judge)
    done = []
    for row, candidates, judgement in zip(rows, found, judged, strict=True):
        record = row.record
        kept = _kept(record, candidates, judgement, options, counts)
        _count(counts, kept, record, candidates, judgement)
        whole = Record(
            record.query,
            record.documents + tuple(candidates[place].text for place in kept),
            record.labels + (0.0,) * len(kept),
            _scores(record, judgement, kept),
        )
        if min(whole.labels) > 0:
            counts["without_negative"] += 1
            continue
        counts["scores_dropped"] += bool(record.scores and not whole.scores)
        done.append({**row.extra, **as_row(whole)})
    counts["written"] = len(done)
    return Block(done, dict(counts))


def reranker_judge(logits: Callable[[Sequence[Pair]], list[float]]) -> Judge:
    """A cross-encoder as judge: it compares probabilities, and its logits are kept."""

    def judge(queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Judged]:
        pairs = [Pair(Text(q), Text(text)) for q, texts in zip(queries, documents, strict=True) for text in texts]
        flat = iter(logits(pairs))
        each = [[next(flat) for _ in texts] for texts in documents]
        return [Judged([sigmoid(logit) for logit in own], own) for own in each]

    return judge


def cosine_judge(
    encode_queries: Callable[[Sequence[str]], np.ndarray], encode_documents: Callable[[Sequence[str]], np.ndarray]
) -> Judge:
    """A bi-encoder as judge: it compares cosines."""

    def judge(queries: Sequence[str], documents: Sequence[Sequence[str]]) -> list[Judged]:
        if not queries:
            return []
        places = {text: n for n, text in enumerate(dict.fromkeys(text for texts in documents for text in texts))}
        asked, answered = encode_queries(queries), encode_documents(list(places))
        return [
            Judged([float(query @ answered[places[text]]) for text in texts])
            for query, texts in zip(asked, documents, strict=True)
        ]

    return judge


def _candidates(
    records: Sequence[Record],
    corpus: Corpus,
    searches: Sequence[Search],
    known: Known,
    options: Mining,
    counts: Counts,
) -> list[list[Candidate]]:
    """What each record's negatives are chosen from, best first, or shuffled where the choice is random."""
    queries = [record.query for record in records]
    ranked = [(search.name, search.find(queries, options.range_max)) for search in searches]
    chosen = []
    for place, record in enumerate(records):
        own = known.of(record.query) | set(map(same, record.documents))
        turns = _in_turns([(name, found[place]) for name, found in ranked], options.range_min)
        merged = []
        for document, rank, name in turns:
            if corpus.keys[document] in own:
                counts["own_documents"] += 1
            else:
                merged.append(Candidate(corpus.texts[document], rank, name))
        if options.sampling == "random":
            random.Random(f"{options.seed}:{record.query}").shuffle(merged)
        chosen.append(merged[: options.judged])
    return chosen


def _in_turns(ranked: Sequence[tuple[str, Sequence[int]]], first: int) -> Iterator[tuple[int, int, str]]:
    """(document, its best rank, who found it): every search's next document in turn, each document once."""
    finders: dict[int, list[str]] = {}
    for name, documents in ranked:
        for document in documents[first:]:
            finders.setdefault(document, []).append(name)
    seen: set[int] = set()
    for rank, turn in enumerate(zip_longest(*(documents[first:] for _, documents in ranked)), first):
        for document in turn:
            if document is not None and document not in seen:
                seen.add(document)
                yield document, rank, "+".join(finders[document])


def _judged(
    records: Sequence[Record], found: Sequence[Sequence[Candidate]], judge: Judge | None
) -> Iterable[Judged | None]:
    if judge is None:
        return [None] * len(records)
    texts = [[*record.documents, *(each.text for each in own)] for record, own in zip(records, found, strict=True)]
    return judge([record.query for record in records], texts)


def _kept(
    record: Record, candidates: Sequence[Candidate], judged: Judged | None, options: Mining, counts: Counts
) -> list[int]:
    """Places of the candidates that are kept."""
    places = list(range(len(candidates)))
    if judged is not None and options.filters:
        own = len(record.documents)
        least = min(score for score, label in zip(judged.compared[:own], record.labels, strict=True) if label > 0)
        limits = [] if options.max_score is None else [options.max_score]
        if options.absolute_margin is not None:
            limits.append(least - options.absolute_margin)
        if options.relative_margin is not None:
            limits.append(least - abs(least) * options.relative_margin)
        passed = [place for place in places if judged.compared[own + place] <= min(limits)]
        counts["too_near"] += len(places) - len(passed)
        places = passed
    return places[: options.negatives]


def _scores(record: Record, judged: Judged | None, kept: Sequence[int]) -> tuple[float, ...]:
    if judged is None or judged.logits is None:
        return () if kept else record.scores
    own = len(record.documents)
    return (*judged.logits[:own], *(judged.logits[own + place] for place in kept))


def _count(
    counts: Counts,
    kept: Sequence[int],
    record: Record,
    candidates: Sequence[Candidate],
    judged: Judged | None,
) -> None:
    """Numbers that add up over blocks."""
    counts["negatives"] += len(kept)
    counts["ranks"] += sum(candidates[place].rank for place in kept)
    for place in kept:
        counts[f"found by {candidates[place].found}"] += 1
    if judged is not None:
        own = len(record.documents)
        right = [score for score, label in zip(judged.compared[:own], record.labels, strict=True) if label > 0]
        counts["positives"] += len(right)
        counts["positive_scores"] += sum(right)
        counts["negative_scores"] += sum(judged.compared[own + place] for place in kept)
