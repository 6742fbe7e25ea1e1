"""What there is to rerank: BM25's best, a run file's, or the documents that each query came with.

Nothing is forced in. A relevant document that the first stage missed stays missed, as it would for a user, and R@k of
the first stage is the most that any reranker can reach.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np

from crossrank.collections import Collection
from crossrank.errors import InputError
from crossrank.evaluate.runs import Run, in_order, read_run
from crossrank.words import K1, B, words

__all__ = ["BM25", "FirstStage", "retrieve"]

RULES = "3"  # goes into every cached index's name: change it when words.py changes


@dataclass(frozen=True, slots=True, eq=False)
class FirstStage:
    """Candidates in the first stage's order. key: what decides them, for telling runs apart. seconds: to find them."""

    name: str
    key: str
    run: Run
    seconds: float


def retrieve(
    collection: Collection,
    queries: Sequence[str],
    *,
    source: str = "bm25",
    top_k: int = 100,
    inject_relevant: bool = False,
    cache: Path | None = None,
) -> FirstStage:
    """The `top_k` candidates of each query.

    source: "bm25"; "candidates", the documents that the collection offers with each query, or "judged", those with a
    judgement, both in BM25's order; or the path of a TREC run. inject_relevant: put the relevant documents that were
    missed below the last candidate. That flatters every reranker by what retrieval lost, so it is off unless asked for.
    """
    if top_k < 1:
        raise InputError(f"top_k should be at least 1, not {top_k}")
    started = time.perf_counter()
    run: dict[str, list[tuple[str, float]]]
    if source in ("bm25", "candidates", "judged"):
        index = BM25.of(collection, cache)
        started = time.perf_counter()
        run = {
            query: index.search(collection.queries[query], top_k, _pool(collection, query, source)) for query in queries
        }
        name = "BM25" if source == "bm25" else f"BM25 of {source}"
        content = f"bm25 {K1} {B} {RULES} {source}"
    else:
        run, content = _from_file(Path(source), collection, queries, top_k)
        name = Path(source).name
    if inject_relevant:
        run = {query: _with_relevant(ranked, collection, query) for query, ranked in run.items()}
        name += " + missed relevant"
    seconds = time.perf_counter() - started
    key = hashlib.sha256(f"{content} {top_k} {inject_relevant}".encode()).hexdigest()
    return FirstStage(name, key, run, seconds)


class BM25:
    """BM25 as Lucene computes it, by bm25s. A document that shares no word with a query is not found."""

    def __init__(self, index: bm25s.BM25, documents: Sequence[str]) -> None:
        self.index = index
        self.documents = list(documents)
        self.places = {document: place for place, document in enumerate(self.documents)}

    @classmethod
    def of(cls, collection: Collection, cache: Path | None = None) -> BM25:
        """Index a collection, or read the index that an earlier call left under `cache`."""
        if cache is None:
            return cls(_build(collection), list(collection.documents))
        kept = cache / "bm25" / f"{collection.digest[:20]}-{RULES}-{K1}-{B}"
        if not kept.is_dir():
            half = kept.with_name(f".{kept.name}.{os.getpid()}")
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                _build(collection).save(str(half), show_progress=False)
                os.replace(half, kept)
            except OSError:
                # Another process may have put the same index there first; then that one is as good.
                if not kept.is_dir():
                    raise
            finally:
                shutil.rmtree(half, ignore_errors=True)
        return cls(bm25s.BM25.load(str(kept), show_progress=False), list(collection.documents))

    def search(self, query: str, top_k: int, pool: Sequence[str] | None = None) -> list[tuple[str, float]]:
        """The best `top_k` documents, or with a pool, the best of it, and then those without a shared word too."""
        ids = self.index.get_tokens_ids(words(query))
        scores = self.index.get_scores_from_ids(ids) if ids else np.zeros(len(self.documents), dtype=np.float32)
        if pool is not None:
            return in_order((document, float(scores[self.places[document]])) for document in pool)[:top_k]
        found = np.flatnonzero(scores > 0)
        if len(found) > top_k:  # every document that ties with the last one stays in, for in_order to choose
            found = found[scores[found] >= np.partition(scores[found], -top_k)[-top_k]]
        return in_order((self.documents[place], float(scores[place])) for place in found)[:top_k]


def _build(collection: Collection) -> bm25s.BM25:
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    index.index([words(text) for text in collection.documents.values()], show_progress=False)
    return index


def _pool(collection: Collection, query: str, source: str) -> list[str] | None:
    if source == "bm25":
        return None
    named = collection.candidates.get(query, ()) if source == "candidates" else collection.qrels.get(query, {})
    if not named and source == "candidates":
        raise InputError(f"{collection.name}: query {query!r} comes with no candidates; use bm25 or a run file")
    return [document for document in dict.fromkeys(named) if document in collection.documents]


def _from_file(
    path: Path, collection: Collection, queries: Sequence[str], top_k: int
) -> tuple[dict[str, list[tuple[str, float]]], str]:
    if not path.is_file():
        raise InputError(f"first stage {str(path)!r}: no such file; bm25, candidates, judged or a TREC run would do")
    found = read_run(path)
    if not any(query in found for query in queries):
        raise InputError(f"{path} holds none of the {len(queries):,} queries of {collection.name}")
    strangers = {d for query in queries for d, _ in found.get(query, [])[:top_k]} - collection.documents.keys()
    if strangers:
        raise InputError(
            f"{path} names {len(strangers):,} documents that {collection.name} has not got, first {min(strangers)!r}"
        )
    return {query: found.get(query, [])[:top_k] for query in queries}, hashlib.sha256(path.read_bytes()).hexdigest()


def _with_relevant(ranked: Sequence[tuple[str, float]], collection: Collection, query: str) -> list[tuple[str, float]]:
    """Candidates with the missed relevant documents below them."""
    known = {document for document, _ in ranked}
    missed = sorted((collection.relevant(query) & collection.documents.keys()) - known)
    least = ranked[-1][1] if ranked else 0.0
    return in_order([*ranked, *((document, least - 1 - place) for place, document in enumerate(missed))])
