"""The loop: every system on every collection, query by query, going on where an interruption left it."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from crossrank.collections import Collection, Gap, Qrels, chosen_queries
from crossrank.errors import InputError
from crossrank.evaluate.cost import forget_peak, peak_memory
from crossrank.evaluate.first_stage import FirstStage, retrieve
from crossrank.evaluate.journal import Done, Journal
from crossrank.evaluate.measures import DEFAULT, mean, measure, parse
from crossrank.evaluate.runs import Run, in_order, read_run, safe_name
from crossrank.evaluate.systems import Judged, System

__all__ = ["Cost", "Options", "Outcome", "Table", "evaluate", "evaluate_one"]

Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to evaluate. first_stage: bm25, candidates, judged, or a TREC run's path. measures: the first one is the one
    that systems are compared by. limit_queries: a sample of each collection's queries, the same one for all systems;
    None is all of them. seed: of that sample, and of the tests of significance. work: where indexes and unfinished
    work are kept."""

    first_stage: str = "bm25"
    top_k: int = 100
    measures: tuple[str, ...] = DEFAULT
    limit_queries: int | None = None
    inject_relevant: bool = False
    seed: int = 0
    work: Path

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top_k should be at least 1, not {self.top_k}")
        if self.limit_queries is not None and self.limit_queries < 1:
            raise InputError(f"limit_queries should be at least 1, not {self.limit_queries}")
        if not self.measures:
            raise InputError("at least one measure is needed, such as nDCG@10")


@dataclass(frozen=True, slots=True)
class Cost:
    """documents: scored. seconds: spent on them, encoding ahead included, reading of weights left out.
    tokens: read by the model, where known. peak: largest resident memory of the process meanwhile, in bytes."""

    documents: int
    seconds: float
    tokens: int | None
    peak: int | None

    @property
    def documents_per_second(self) -> float | None:
        return self.documents / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One system on one collection. values: measure -> query -> value. scale: what the run's scores are."""

    system: str
    scale: str
    run: Run
    values: Mapping[str, Mapping[str, float]]
    cost: Cost | None

    def mean(self, name: str) -> float:
        return mean(self.values[name])


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """All systems on one collection; the first outcome is the first stage's own order. measures: as asked for.
    ceiling: R@ as many as there are candidates, also among each outcome's values; that of the first stage is the most a
    reranker can reach."""

    collection: Collection
    queries: Sequence[str]
    qrels: Qrels
    gap: Gap
    measures: Sequence[str]
    ceiling: str
    outcomes: Sequence[Outcome]


def evaluate(
    collections: Sequence[Collection],
    systems: Sequence[System],
    options: Options,
    progress: Progress | None = None,
) -> list[Table]:
    """A table for each collection. progress: called with collection, system, queries done and their total."""
    return [evaluate_one(collection, systems, options, progress) for collection in collections]


def evaluate_one(
    collection: Collection, systems: Sequence[System], options: Options, progress: Progress | None = None
) -> Table:
    """Retrieve, rerank with each system, and measure."""
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two systems are called {twice!r}; give their folders different names")
    asked = parse(options.measures)
    queries = chosen_queries(collection, options.limit_queries, options.seed)
    qrels = {query: collection.qrels[query] for query in queries}
    stage = retrieve(
        collection,
        queries,
        source=options.first_stage,
        top_k=options.top_k,
        inject_relevant=options.inject_relevant,
        cache=options.work,
    )
    if stage.name in names:
        raise InputError(f"a system is called {stage.name!r}, as the first stage is; rename one of the files")
    # Relevant documents that are added lie below top_k.
    ceiling = f"R@{max([options.top_k, *map(len, stage.run.values())])}"
    measures = parse([*asked, ceiling])
    found = sum(map(len, stage.run.values()))
    first = Cost(found, stage.seconds, None, None) if options.first_stage == "bm25" else None
    outcomes = [_outcome(stage.name, "score", stage.run, qrels, measures, first)]
    for system in systems:
        if system.run is not None:
            theirs = read_run(system.run)
            run: Run = {query: theirs.get(query, []) for query in queries}
            outcomes.append(_outcome(system.name, system.scale, run, qrels, measures, None))
            continue
        scores, cost = _rerank(collection, stage, system, queries, options.work, progress)
        ranked = {query: in_order(scores[query].items()) for query in queries}
        outcomes.append(_outcome(system.name, system.scale, ranked, qrels, measures, cost))
    return Table(collection, queries, qrels, collection.gap(), asked, ceiling, outcomes)


def _outcome(name: str, scale: str, run: Run, qrels: Qrels, measures: Sequence[str], cost: Cost | None) -> Outcome:
    values: dict[str, dict[str, float]] = {each: {} for each in measures}
    for value in measure(run, qrels, measures):
        values[value.measure][value.query] = value.value
    return Outcome(name, scale, run, values, cost)


def _rerank(
    collection: Collection,
    stage: FirstStage,
    system: System,
    queries: Sequence[str],
    work: Path,
    progress: Progress | None,
) -> tuple[dict[str, dict[str, float]], Cost]:
    """Scores of every candidate; queries that an earlier, interrupted call finished are taken from its journal."""
    assert system.load is not None
    # The machine's part is there for the cost, which another number of threads would change, not for the scores.
    place = f"{torch.__version__} {torch.get_num_threads()}"
    key = hashlib.sha256("\n".join([collection.digest, stage.key, system.key, place, *queries]).encode()).hexdigest()
    path = work / "journals" / f"{safe_name(collection.name)}.{safe_name(system.name)}.{key[:20]}.jsonl"
    with Journal(path).open() as journal:
        left = [query for query in queries if query not in journal.done]
        if progress:
            progress(collection.name, system.name, len(queries) - len(left), len(queries))
        if left:
            forget_peak()
            texts = {document for query in queries for document, _ in stage.run[query]}
            judge, ahead = system.load([collection.documents[document] for document in sorted(texts)])
            journal.ready(ahead)
        for query in left:
            documents = [document for document, _ in stage.run[query]]
            started = time.perf_counter()
            asked = [collection.documents[document] for document in documents]
            judged = judge(collection.queries[query], asked) if documents else Judged([], 0)
            seconds = time.perf_counter() - started
            scores = dict(zip(documents, judged.scores, strict=True))
            journal.add(Done(query, scores, seconds, judged.tokens, peak_memory()))
            if progress:
                progress(collection.name, system.name, len(journal.done), len(queries))
        if left:
            del judge
            gc.collect()  # the next system's peak should not hold this one's weights
        done = [journal.done[query] for query in queries]
    tokens = [each.tokens for each in done if each.tokens is not None]
    cost = Cost(
        documents=sum(len(each.scores) for each in done),
        seconds=journal.ready_seconds + sum(each.seconds for each in done),
        tokens=sum(tokens) if len(tokens) == len(done) else None,
        peak=max((each.peak for each in done if each.peak is not None), default=None),
    )
    return {each.query: each.scores for each in done}, cost
