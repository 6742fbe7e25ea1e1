"""What int8 costs in quality: nDCG@10 of float32 and int8 over BM25's top 100 of a collection in BEIR layout."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crossrank import Reranker
from crossrank.collections import chosen_queries, open_collection
from crossrank.evaluate.first_stage import retrieve
from crossrank.evaluate.measures import mean, measure
from crossrank.evaluate.runs import in_order

__all__ = ["Quality", "quality"]

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Quality:
    """Means of nDCG@10 over the same queries; moved: queries whose value differs between float32 and int8."""

    collection: str
    queries: int
    bm25: float
    float32: float
    int8: float
    moved: int

    @property
    def change(self) -> float:
        return self.int8 - self.float32


def quality(folder: Path, model: Path, limit: int | None) -> Quality:
    """Rerank BM25's top 100 of each query, or of a sample of `limit`, in both precisions."""
    collection = open_collection(str(folder))
    queries = chosen_queries(collection, limit)
    qrels = {query: collection.qrels[query] for query in queries}
    stage = retrieve(collection, queries, top_k=100)
    values = {"bm25": {value.query: value.value for value in measure(stage.run, qrels, [MEASURE])}}
    for dtype in ("float32", "int8"):
        reranker = Reranker.load(model, device="cpu", dtype=dtype)
        run = {}
        for done, query in enumerate(queries):
            candidates = [document for document, _ in stage.run[query]]
            ranking = reranker.rank(collection.queries[query], [collection.documents[each] for each in candidates])
            run[query] = in_order((candidates[hit.index], hit.logit) for hit in ranking)
            if done % 20 == 19:
                print(f"{collection.name} {dtype}: {done + 1} of {len(queries)} queries", file=sys.stderr, flush=True)
        values[dtype] = {value.query: value.value for value in measure(run, qrels, [MEASURE])}
    return Quality(
        collection=collection.name,
        queries=len(queries),
        bm25=mean(values["bm25"]),
        float32=mean(values["float32"]),
        int8=mean(values["int8"]),
        moved=sum(values["float32"][query] != values["int8"][query] for query in queries),
    )
