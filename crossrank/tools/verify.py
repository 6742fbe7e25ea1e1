"""How far a model, as it runs here, is from its float32 reference on the CPU, or from logits that were published.

The reference scores every pair alone, so that packing and batching are compared too, not only the precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from jaxtyping import Float

from crossrank.errors import InputError
from crossrank.inputs import Pair, Text, read_pair
from crossrank.reranker import Reranker
from crossrank.windows import capacity

__all__ = ["TOLERANCES", "Agreement", "Golden", "builtin_pairs", "check", "compare", "kendall_tau", "read_golden"]

Values = Float[np.ndarray, " pairs"]

# The largest difference allowed: in float32 of a logit as it is, else as a share of the spread of the logits, because
# a logit has no scale that models share. With random weights, the hardest case, six layers of width 384 needed 0.034,
# 0.005 and 0.068 of it in bfloat16, float16 and int8.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01, "int8": 0.1}
TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two lists of logits for the same pairs agree.

    spread: of the reference's logits, largest less smallest. kendall_tau: tau-b within each query, averaged over the
    queries; None where no query has two documents. top_10: the share of the reference's best ten that are among
    these best ten, averaged over the queries with more than ten documents; None where there is none.
    tolerance: the largest difference allowed, in logits.
    """

    pairs: int
    queries: int
    spread: float
    max_difference: float
    mean_difference: float
    kendall_tau: float | None
    top_10: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether no logit differs by more than the tolerance."""
        return self.max_difference <= self.tolerance


@dataclass(frozen=True, slots=True)
class Golden:
    """Logits that somebody published for one query and its documents. atol: how far from them is still the same."""

    query: str
    documents: tuple[str, ...]
    logits: tuple[float, ...]
    atol: float


def builtin_pairs(reranker: Reranker) -> list[Pair]:
    """The pairs that ship with the package: prose, code, function and table schemas, and lengths up to the limit."""
    path = Path(__file__).with_name("pairs.jsonl")
    pairs = [read_pair(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    query = pairs[0].query
    prose = [pair.document.text for pair in pairs if pair.query == query]
    return [*pairs, *(Pair(query, _of_length(reranker, query, prose, share)) for share in (0.25, 0.5, 1.0))]


def _of_length(reranker: Reranker, query: Text, texts: Sequence[str], share: float) -> Text:
    """The texts again and again, as many tokens as fill a share of what the model reads beside the query."""
    assert reranker.limits.max_length is not None
    room = capacity(
        reranker.limits.max_length,
        reranker.prepare(query, []).query_tokens - reranker.checkpoint.template.query_frame,
        reranker.checkpoint.template.fixed,
    )
    wanted = max(1, int(room * share))
    text = ""
    for part in cycle(texts):
        text += f"{part} "
        offsets = reranker.checkpoint.tokenizer.offsets(text)
        if len(offsets) >= wanted:
            return Text(text[: int(offsets[wanted - 1, 1])])
    raise AssertionError("a cycle ends only by return")


def compare(
    reranker: Reranker, reference: Reranker, pairs: Sequence[Pair], tolerance: float | None = None
) -> Agreement:
    """Score the pairs with both. tolerance: as in TOLERANCES, for the reranker's dtype unless given.

    Raises InputError where there is nothing to compare.
    """
    if not pairs:
        raise InputError("pairs: there is nothing to compare")
    queries = [pair.query.text for pair in pairs]
    wanted = np.array(reference.pair_logits(pairs), dtype=np.float64)
    met = np.array(reranker.pair_logits(pairs), dtype=np.float64)
    share = TOLERANCES[reranker.dtype] if tolerance is None else tolerance
    spread = float(np.ptp(wanted))
    return _agreement(queries, met, wanted, share if reranker.dtype == "float32" else share * spread)


def check(reranker: Reranker, golden: Golden) -> Agreement:
    """Score the documents of published logits."""
    met = reranker.score([(golden.query, document) for document in golden.documents], raw=True)
    queries = [golden.query] * len(golden.documents)
    return _agreement(queries, np.array(met), np.array(golden.logits, dtype=np.float64), golden.atol)


def read_golden(path: Path) -> list[Golden]:
    """Read {"query", "documents", "logits", "atol"} or a list of such; InputError names what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    items = value if isinstance(value, list) else [value]
    if not items:
        raise InputError(f"{path} holds an empty list; there is nothing to compare")
    return [
        _golden(item, f"{path}[{index}]" if isinstance(value, list) else f"{path}") for index, item in enumerate(items)
    ]


def _golden(item: object, where: str) -> Golden:
    if not isinstance(item, Mapping):
        raise InputError(f'{where}: expected an object with "query", "documents", "logits" and "atol"')
    absent = [key for key in ("query", "documents", "logits", "atol") if key not in item]
    if absent:
        raise InputError(f"{where} lacks {', '.join(absent)}; it should have query, documents, logits and atol")
    query, documents, logits, atol = item["query"], item["documents"], item["logits"], item["atol"]
    numbers = [*logits, atol] if isinstance(logits, list) else [None]
    if not isinstance(query, str) or not isinstance(documents, list) or not all(isinstance(d, str) for d in documents):
        raise InputError(f"{where}: query should be a string and documents a list of strings")
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise InputError(f"{where}: logits should be a list of numbers and atol a number")
    if len(logits) != len(documents) or not documents:
        raise InputError(
            f"{where}: {len(documents)} documents and {len(logits)} logits; there should be as many, and some"
        )
    return Golden(query, tuple(documents), tuple(map(float, logits)), float(atol))


def _agreement(queries: Sequence[str], met: Values, wanted: Values, tolerance: float) -> Agreement:
    members: dict[str, list[int]] = {}
    for index, query in enumerate(queries):
        members.setdefault(query, []).append(index)
    taus = [kendall_tau(met[m], wanted[m]) for m in members.values() if len(m) > 1]
    tops = [_shared_top(met[m], wanted[m]) for m in members.values() if len(m) > TOP]
    difference = np.abs(met - wanted)
    return Agreement(
        pairs=len(queries),
        queries=len(members),
        spread=float(np.ptp(wanted)),
        max_difference=float(np.max(difference)),
        mean_difference=float(np.mean(difference)),
        kendall_tau=float(np.mean(taus)) if taus else None,
        top_10=float(np.mean(tops)) if tops else None,
        tolerance=tolerance,
    )


def kendall_tau(first: Values, second: Values) -> float:
    """Tau-b of Kendall (1945), which counts ties: 1 for the same order, -1 for the opposite.

    Where one list has only ties, no order can be told: 1 if both have, else 0.
    """
    a = np.sign(first[:, None] - first[None, :])
    b = np.sign(second[:, None] - second[None, :])
    if not a.any() or not b.any():
        return float(not a.any() and not b.any())
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _shared_top(met: Values, wanted: Values) -> float:
    best = (set(np.argsort(-values, kind="stable")[:TOP].tolist()) for values in (met, wanted))
    return len(set.intersection(*best)) / TOP
