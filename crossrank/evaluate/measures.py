"""Measures as values, spelled as the literature does: nDCG@10, R@3, RR@10, AP, P@5. The arithmetic is ir-measures'.

Two of its providers are used, always the same two: trec_eval itself for all that it computes, and the MS MARCO script's
rule for RR with a cut-off, which trec_eval has not got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
from ir_measures.providers import FallbackProvider

from crossrank.collections import Qrels
from crossrank.errors import InputError
from crossrank.evaluate.runs import Run

__all__ = ["DEFAULT", "Value", "measure", "mean", "parse"]

DEFAULT = ("nDCG@10", "R@10", "RR@10")
EXAMPLES = "nDCG@10, R@3, RR@10, AP, P@5, Success@1"


@dataclass(frozen=True, slots=True)
class Value:
    """What one query scored by one measure."""

    query: str
    measure: str
    value: float


def parse(names: Sequence[str]) -> list[str]:
    """Check names of measures and return them in the literature's spelling, without repeats.

    InputError names every one that cannot be computed.
    """
    good: dict[str, None] = {}
    bad = []
    for name in names:
        try:
            found = ir_measures.parse_measure(name)
            if not _provider().supports(found):
                raise ValueError("neither trec_eval nor MS MARCO computes it")
            good[str(found)] = None
        except (ValueError, NameError, AttributeError, KeyError, TypeError) as error:
            bad.append(f"{name!r} ({error})")
    if bad:
        raise InputError(f"cannot measure {', '.join(bad)}; measures are such as {EXAMPLES}")
    return list(good)


def measure(run: Run, qrels: Qrels, names: Sequence[str]) -> list[Value]:
    """Every measure of every query in `qrels`; a query that the run lacks, or answers with nothing, scores 0.

    The run's own order counts. Documents without a judgement are not relevant.
    """
    # Scores are replaced by places, so no provider's own rule for ties has a say.
    places: dict[str, dict[str, float]] = {
        query: {document: float(len(run[query]) - place) for place, (document, _) in enumerate(run[query])}
        for query in qrels
        if run.get(query)
    }
    spelled = {ir_measures.parse_measure(name): name for name in names}
    if not places:
        return [Value(query, name, 0.0) for query in qrels for name in names]
    judged = {query: dict(gains) for query, gains in qrels.items()}
    evaluator = _provider().evaluator(list(spelled), judged)
    return [Value(each.query_id, spelled[each.measure], float(each.value)) for each in evaluator.iter_calc(places)]


def mean(values: Mapping[str, float]) -> float:
    """The mean over queries, 0 if there is none."""
    return sum(values.values()) / len(values) if values else 0.0


def _provider() -> FallbackProvider:
    return FallbackProvider([ir_measures.pytrec_eval, ir_measures.msmarco])
