"""`crossrank mine` from end to end: read, index, search and judge block by block, publish, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import crossrank
from crossrank.biencoder import BiEncoder
from crossrank.errors import InputError
from crossrank.reranker import Reranker
from crossrank.train.corpus import Corpus, bm25_search, dense_search, read_corpus, recalled, vectors
from crossrank.train.leakage import Guard, Leak
from crossrank.train.negatives import Judge, Known, Mining, cosine_judge, mined, positives, reranker_judge
from crossrank.train.records import Record, read_records
from crossrank.train.resuming import key_of, refuse_output, resumed
from crossrank.train.survey import blocks, survey, watched
from crossrank.train.teaching import reranker_teacher

__all__ = ["Mined", "mine", "sample"]

# A query has some tens of candidates for each document of its own.
BLOCK_DOCUMENTS = 256

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Mined:
    """What was written, and what was not.

    corpus: documents that were searched. records, written: lines read and lines written; without_positive and
    without_negative are the lines between them. negatives: in all, and in `found_by`, by search. mean_rank: of the
    negatives. own_documents: candidates that were the query's own. too_near: candidates that the judge dropped.
    scores_dropped: records whose scores, which the negatives have not got, were not written. positive_score,
    negative_score: means on the judge's scale, None without a judge.
    """

    corpus: int
    records: int
    written: int
    without_positive: int
    without_negative: int
    negatives: int
    found_by: dict[str, int]
    mean_rank: float | None
    own_documents: int
    too_near: int
    scores_dropped: int
    positive_score: float | None
    negative_score: float | None
    leaks: tuple[Leak, ...]


def mine(
    path: Path,
    out: Path,
    options: Mining,
    *,
    bm25: bool = True,
    encoder: BiEncoder | None = None,
    reranker: Reranker | None = None,
    corpora: Sequence[Path] = (),
    guard: Guard | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Mined:
    """Write the records of `path` to `out`, each with negatives that were mined for it after its own documents.

    Documents come from `corpora`, or without any from `path` itself. bm25, encoder: the searches. The reranker judges
    if there is one, and its logits are written as scores; else the encoder does. Killed and called again alike, it goes
    on where it was, and the result is the same. progress: what is being done, how much of it is, and of how much.
    Raises InputError for a bad line, and data without a positive, before anything is searched, and for options that
    contradict each other.
    """
    if not bm25 and encoder is None:
        raise InputError("nothing searches; BM25, a bi-encoder, or both would")
    if options.filters and encoder is None and reranker is None:
        raise InputError("a margin or a highest score needs a judge: a bi-encoder, or a reranker")
    refuse_output(out, overwrite=overwrite)
    corpus, known = Corpus(), Known()
    if corpora:
        read_corpus(corpora, corpus)

    def take(record: Record) -> None:
        known.add(record)
        if not corpora:
            for text in record.documents:
                corpus.add(text)

    seen = survey(path, guard, unlabelled=True, take=take)
    if not known:
        raise InputError(
            f"{path}: none of its {seen.rows:,} records has a positive, a document with a label above 0, and negatives "
            "are mined for queries that have one"
        )
    key = key_of("mine", crossrank.__version__, seen.digest, [leak.where for leak in seen.leaks], corpus.digest,
                 sorted(asdict(options).items()), bm25, encoder and encoder.key,
                 reranker and reranker_teacher(reranker).key)  # fmt: skip
    searches = [bm25_search(corpus.texts)] if bm25 else []
    judge: Judge | None = reranker_judge(reranker.pair_logits) if reranker else None
    # Named by its content alone, so that other options find the vectors that an unfinished run left.
    kept = out.with_name(f".{out.name}.{key_of(corpus.digest, encoder and encoder.key)[:12]}.vectors")
    if encoder is not None:
        matrix = vectors(encoder, corpus, kept, _named("encoding", progress))
        searches.append(dense_search(encoder, matrix))
        if judge is None and options.filters:
            judge = cosine_judge(encoder.queries, recalled(encoder, corpus, matrix))
    drawn = watched(blocks(seen, BLOCK_DOCUMENTS, unlabelled=True), seen.rows, _named("mining", progress))
    counts = resumed(out, key, drawn, lambda block: mined(block, corpus, searches, judge, known, options))
    shutil.rmtree(kept, ignore_errors=True)
    return _report(counts, len(corpus), seen.leaks)


def sample(out: Path, count: int = 3, negatives: int = 3) -> list[tuple[str, list[str], list[str]]]:
    """The first queries of a mined file with their positives and the first of their negatives."""
    shown = []
    for record in islice(read_records(out), count):
        others = [text for text, label in zip(record.documents, record.labels, strict=True) if label <= 0]
        shown.append((record.query, positives(record), others[:negatives]))
    return shown


def _named(label: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(label, done, total)


def _report(counts: dict[str, float], corpus: int, leaks: tuple[Leak, ...]) -> Mined:
    def whole(name: str) -> int:
        return int(counts.get(name, 0))

    def mean(total: str, number: str) -> float | None:
        return counts[total] / counts[number] if total in counts and counts.get(number) else None

    prefix = "found by "
    return Mined(
        corpus=corpus,
        records=whole("records"),
        written=whole("written"),
        without_positive=whole("without_positive"),
        without_negative=whole("without_negative"),
        negatives=whole("negatives"),
        found_by={name.removeprefix(prefix): int(n) for name, n in sorted(counts.items()) if name.startswith(prefix)},
        mean_rank=mean("ranks", "negatives"),
        own_documents=whole("own_documents"),
        too_near=whole("too_near"),
        scores_dropped=whole("scores_dropped"),
        positive_score=mean("positive_scores", "positives"),
        negative_score=mean("negative_scores", "negatives"),
        leaks=leaks,
    )
