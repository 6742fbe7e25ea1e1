"""Candidates and the teacher's opinion of them, one .npz a source, in the format of mini-en's candidates.py.

    python candidates.py --base work/base --data DIR --pairs work/pairs --out work/candidates
    python candidates.py ... --out work/mined --judge work/stage3 --share 0.3        (stage 4)

The teacher is e5 (its cosines, centred) and, where query and document share a language, BM25. With --judge a trained
cross-encoder chooses: of e5's nearest documents those that it scores highest, less those that it puts above the answer,
which may well be right. Re-running skips the sources that are there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import base
import bm25s
import numpy as np
import torch
from base import PASSAGE, QUERY, embed
from english import mini_en
from tokenizers import Tokenizer
from transformers import BertModel

from crossrank import Reranker
from crossrank.words import words

QUERY_TOKENS, DOCUMENT_TOKENS, TEACHER_TOKENS = 64, 384, 128
CAPS = {"cross": (3000, 3600), "multi": (2000, 2400)}  # most queries, most documents of a source
NEAR, HARD = 40, 14  # documents that the judge reads for a query, and that it chooses
MEANS = 1500  # texts that the centre of e5's embeddings is taken from

sources, candidates = mini_en("sources"), mini_en("candidates")


@dataclass(frozen=True)
class Teacher:
    """e5, and where its embeddings of queries and of passages lie on average: they fill a narrow cone."""

    model: BertModel
    tokenizer: Tokenizer
    centre: np.ndarray

    def vectors(self, texts: list[str], query: bool) -> np.ndarray:
        """Embeddings less their centre, of unit length, [texts, width]."""
        most = QUERY_TOKENS if query else TEACHER_TOKENS
        with torch.autocast("cpu", torch.bfloat16):  # half the time; cosines move by .002
            raw = embed(self.model, self.tokenizer, texts, QUERY if query else PASSAGE, most)
        return unit(raw - self.centre[0 if query else 1])


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def names(pairs: Path, english: bool) -> list[str]:
    """Every source: those of sources.py by stage, and mini-en's before them as en_NAME."""
    written = sorted(path.name.removesuffix(".jsonl.gz") for path in pairs.glob("*.jsonl.gz"))
    return [*(f"en_{name}" for name in sources.NAMES if english), *written]


def thinned(source: Any, share: float) -> Any:
    """The first `share` of a source's queries, with their documents and as large a share of the others'."""
    count, most = max(40, int(share * len(source.queries))), max(60, int(share * len(source.documents)))
    positives, given = source.positives[:count], source.given[:count]
    kept = dict.fromkeys(number for each in (*positives, *given) for number in each)
    for number in range(len(source.documents)):
        if len(kept) >= most:
            break
        kept.setdefault(number)
    place = {number: new for new, number in enumerate(kept)}
    documents = [source.documents[number] for number in kept]
    renamed = [[[place[number] for number in each] for each in lists] for lists in (positives, given)]
    return sources.Source(source.name, source.queries[:count], documents, *renamed)


def load(pairs: Path, data: Path | None, name: str, share: float) -> Any:
    """One source by name as mini-en's Source, `share` of its caps; always the same for the same files."""
    if name.startswith("en_"):
        return thinned(sources.load(data, name.removeprefix("en_")), share)
    with gzip.open(pairs / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(name).shuffle(rows)
    queries, documents = (max(40, int(share * cap)) for cap in CAPS[name.partition("_")[0]])
    numbers: dict[str, int] = {}
    for row in rows[:queries]:
        for text in (row["positive"], *row["negatives"]):
            numbers.setdefault(text, len(numbers))
    used = rows[:queries]
    for row in rows[queries:]:  # the answers of the rest only distract
        if len(numbers) < documents:
            numbers.setdefault(row["positive"], len(numbers))
    return sources.Source(
        name,
        [row["query"] for row in used],
        list(numbers),
        [[numbers[row["positive"]]] for row in used],
        [[numbers[text] for text in row["negatives"]] for row in used],
    )


def bm25_scores(documents: list[str], queries: list[str]) -> list[np.ndarray]:
    """As mini-en's, with words that every script has: pairs of characters where it is written without spaces."""
    index = bm25s.BM25()
    index.index([words(text) or ["\0"] for text in documents], show_progress=False)
    known = index.vocab_dict
    asked = [[word for word in words(text) if word in known] for text in queries]
    return [index.get_scores(each) if each else np.zeros(len(documents), dtype=np.float32) for each in asked]


def harder(source: Any, i: int, cosine: np.ndarray, judge: Reranker, rng: random.Random) -> list[int]:
    """The answers, judged negatives, and of e5's nearest those that the judge takes for answers but not above them."""
    right = source.positives[i][:4]
    near = [number for number in np.argsort(-cosine)[:NEAR].tolist() if number not in source.positives[i]]
    read = [*right, *near]
    logits = judge.score([(source.queries[i], source.documents[number]) for number in read], raw=True)
    best = max(logits[: len(right)])
    below = sorted((-logit, number) for logit, number in zip(logits[len(right) :], near, strict=True) if logit < best)
    chosen = [*right, *source.given[i][:4], *(number for _, number in below[:HARD])]
    while len(chosen) < candidates.CANDIDATES:
        chosen.append(rng.randrange(len(source.documents)))
    return chosen


def prepare(source: Any, teacher: Teacher, pieces: Tokenizer, judge: Reranker | None) -> dict[str, np.ndarray]:
    """The arrays of a source. Token ids are those of `pieces`, cut, without special tokens and prefixes."""
    rng = random.Random(source.name)
    cosines = teacher.vectors(source.queries, True) @ teacher.vectors(source.documents, False).T
    lexical = None if source.name.startswith("cross_") else bm25_scores(source.documents, source.queries)
    chosen = []
    for i in range(len(source.queries)):
        if judge is not None:
            chosen.append(harder(source, i, cosines[i], judge, rng))
        else:  # across languages e5's own list stands in for BM25's
            first = cosines[i] if lexical is None else lexical[i]
            chosen.append(candidates.choose(source, i, first, cosines[i], rng))
    rows = np.array(chosen)
    bm25 = np.zeros(rows.shape, dtype=np.float32)
    for i, scores in enumerate(lexical or ()):
        bm25[i] = scores[rows[i]] / max(float(scores.max()), 1e-6)
    queries = candidates.tokenize(pieces, source.queries, QUERY_TOKENS)
    documents = candidates.tokenize(pieces, source.documents, DOCUMENT_TOKENS)
    return {
        "queries": np.concatenate([np.array(ids, dtype=np.uint32) for ids in queries]),
        "query_bounds": np.cumsum([0, *map(len, queries)]),
        "documents": np.concatenate([np.array(ids, dtype=np.uint32) for ids in documents]),
        "document_bounds": np.cumsum([0, *map(len, documents)]),
        "candidates": rows.astype(np.int32),
        "cosine": np.take_along_axis(cosines, rows, 1).astype(np.float32),
        "bm25": bm25,
        "label": np.array([[number in source.positives[i] for number in each] for i, each in enumerate(chosen)]),
    }


def teacher_of(folder: Path, pairs: Path) -> Teacher:
    """e5 with its centre, from texts of every language."""
    model, tokenizer = base.load(folder)
    rows = []
    for path in sorted(pairs.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line, _ in zip(lines, range(400), strict=False)]
    rows = random.Random(0).sample(rows, min(MEANS, len(rows)))
    asked = embed(model, tokenizer, [row["query"] for row in rows], QUERY, QUERY_TOKENS).mean(0)
    answered = embed(model, tokenizer, [row["positive"] for row in rows], PASSAGE, TEACHER_TOKENS).mean(0)
    return Teacher(model, tokenizer, np.stack([asked, answered]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder that base.py wrote, or `crossrank trim` of it")
    parser.add_argument("--teacher", type=Path, help="folder of the e5 that embeds; default: --base")
    parser.add_argument("--pairs", type=Path, required=True, help="folder that sources.py wrote")
    parser.add_argument(
        "--data", type=Path, help="folder of the training files, for mini-en's sources; default: without"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a source")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of sources' names; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the caps on queries and documents")
    parser.add_argument(
        "--judge", type=Path, help="folder of a trained cross-encoder, which then chooses the negatives"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    teacher = teacher_of(options.teacher or options.base, options.pairs)
    pieces = Tokenizer.from_file(str(options.base / "tokenizer.json"))
    np.save(options.out / "centre.npy", teacher.centre)
    judge = Reranker.load(options.judge) if options.judge else None
    for name in names(options.pairs, options.data is not None):
        target = options.out / f"{name}.npz"
        if target.exists() or not name.startswith(tuple(options.only)):
            continue
        start = time.perf_counter()
        source = load(options.pairs, options.data, name, options.share)
        partial = options.out / f"{name}.partial.npz"
        np.savez(partial, **prepare(source, teacher, pieces, judge))
        partial.rename(target)
        seconds = time.perf_counter() - start
        print(f"{name}: {len(source.queries)} queries, {len(source.documents)} documents, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
