"""A teacher's scores for the documents of a file: what a smaller model is then trained to repeat.

Scores are logits. A bi-encoder's are its cosines times COSINE_SCALE, the temperature that such models are usually
trained at; as its cosines have a zero of their own, learn from the differences (MarginMSE or a listwise loss), not from
the values (MSE). Several teachers give the mean of their scores, weighted: Hofstätter et al. (2020),
https://arxiv.org/abs/2010.02666, where ensembles taught better than their best member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import crossrank
from crossrank.biencoder import BiEncoder
from crossrank.calibration import files_hash
from crossrank.errors import InputError
from crossrank.inputs import Pair, Text
from crossrank.reranker import Reranker
from crossrank.train.leakage import Guard, Leak
from crossrank.train.records import Record, as_row
from crossrank.train.resuming import Block, key_of, refuse_output, resumed
from crossrank.train.survey import BLOCK_DOCUMENTS, Row, blocks, survey, watched

__all__ = ["COSINE_SCALE", "Taught", "Teacher", "biencoder_teacher", "reranker_teacher", "teach"]

COSINE_SCALE = 20.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Something that gives one logit a pair. key: what decides the logits. weight: its share beside other teachers."""

    name: str
    key: str
    logits: Callable[[Sequence[Pair]], list[float]]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InputError(f"teacher {self.name}: a weight should be a number above 0, not {self.weight}")


@dataclass(frozen=True, slots=True)
class Taught:
    """What was written. mean, deviation: of the scores. ordered: pairs of one query's documents with different labels.

    agreement: the share of `ordered` that the teacher puts in the labels' order, a tie being half; None without labels.
    """

    rows: int
    documents: int
    leaks: tuple[Leak, ...]
    mean: float
    deviation: float
    ordered: int
    agreement: float | None


def reranker_teacher(reranker: Reranker, weight: float = 1.0) -> Teacher:
    """A cross-encoder: its logit, of the best window for a document that is longer than it reads."""
    folder = reranker.checkpoint.folder
    key = f"reranker {files_hash(folder)} {reranker.dtype} {reranker.device} {sorted(asdict(reranker.limits).items())}"
    return Teacher(folder.resolve().name, key, reranker.pair_logits, weight)


def biencoder_teacher(encoder: BiEncoder, weight: float = 1.0) -> Teacher:
    """A bi-encoder: COSINE_SCALE times the cosine."""

    def logits(pairs: Sequence[Pair]) -> list[float]:
        queries = {text: place for place, text in enumerate(dict.fromkeys(pair.query.text for pair in pairs))}
        documents = {text: place for place, text in enumerate(dict.fromkeys(pair.document.text for pair in pairs))}
        asked, answered = encoder.queries(list(queries)), encoder.documents(list(documents))
        return [
            COSINE_SCALE * float(asked[queries[pair.query.text]] @ answered[documents[pair.document.text]])
            for pair in pairs
        ]

    return Teacher(encoder.name, f"{encoder.key} {COSINE_SCALE}", logits, weight)


def teach(
    path: Path,
    out: Path,
    teachers: Sequence[Teacher],
    *,
    guard: Guard | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Taught:
    """Write the records of `path` to `out` with the teachers' scores, in place of any that they had.

    Labels and a line's other keys stay; documents are written as the text that was scored. Records whose queries the
    guard knows are left out. Killed and called again alike, it goes on where it was. progress: rows done, and of how
    many. InputError for a line that is no record, before anything is scored.
    """
    if not teachers:
        raise InputError("there is no teacher; one model at least should score")
    refuse_output(out, overwrite=overwrite)
    seen = survey(path, guard, unlabelled=True)
    key = key_of("teach", crossrank.__version__, seen.digest, [leak.where for leak in seen.leaks],
                 [(teacher.key, teacher.weight) for teacher in teachers])  # fmt: skip
    drawn = watched(blocks(seen, BLOCK_DOCUMENTS, unlabelled=True), seen.rows, progress)
    counts = resumed(out, key, drawn, lambda block: _scored(block, teachers))
    number, ordered = counts["documents"], int(counts["ordered"])
    mean = counts["sum"] / number
    return Taught(
        rows=seen.rows,
        documents=int(number),
        leaks=seen.leaks,
        mean=mean,
        deviation=math.sqrt(max(0.0, counts["squares"] / number - mean**2)),
        ordered=ordered,
        agreement=counts["right"] / ordered if ordered else None,
    )


def _scored(block: Sequence[Row], teachers: Sequence[Teacher]) -> Block:
    pairs = [Pair(Text(row.record.query), Text(text)) for row in block for text in row.record.documents]
    total = sum(teacher.weight for teacher in teachers)
    sums = [0.0] * len(pairs)
    for teacher in teachers:
        for place, logit in enumerate(teacher.logits(pairs)):
            sums[place] += teacher.weight / total * logit
    scores = iter(sums)
    records = [replace(row.record, scores=tuple(next(scores) for _ in row.record.documents)) for row in block]
    ordered, right = map(sum, zip(*map(_agreement, records), strict=True))
    counts = {
        "documents": len(sums), "sum": math.fsum(sums), "squares": math.fsum(x * x for x in sums),
        "ordered": ordered, "right": right,
    }  # fmt: skip
    return Block([{**row.extra, **as_row(record)} for row, record in zip(block, records, strict=True)], counts)


def _agreement(record: Record) -> tuple[int, float]:
    """Pairs of documents with different labels, and how many of them the scores put in the same order."""
    ordered, right = 0, 0.0
    for (label, score), (other_label, other) in combinations(zip(record.labels, record.scores, strict=False), 2):
        if label != other_label:
            ordered += 1
            right += 0.5 if score == other else float((score > other) == (label > other_label))
    return ordered, right
