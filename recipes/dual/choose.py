"""Which documents of its pool a query is trained with: the answers, and what BM25 and the bi-encoder take for answers.

    python choose.py --model work/start --texts work/texts --states work/states --out work/candidates

NAME.npz holds, for each query, CANDIDATES documents' numbers and labels, what the model's head makes of each (cosine,
lexical and late, before the query has its say), and what the head reads of the query. Sources that are there are left
alone.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import bm25s
import numpy as np
import torch
from lists import Pool, gather
from texts import names, read

from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual, overlap
from crossrank.words import words

CANDIDATES = 24
NEAREST = {"lexical": 8, "cosine": 7}  # of each retriever's best
DEEPER = 4  # at random from BM25's first hundred


def lexical(documents: list[str], queries: list[str]) -> list[np.ndarray]:
    """BM25 of every document of the pool, for each query; words as crossrank evaluate has them, in every script."""
    index = bm25s.BM25()
    index.index([words(text) or ["\0"] for text in documents], show_progress=False)
    known = index.vocab_dict
    asked = [[word for word in words(text) if word in known] for text in queries]
    return [index.get_scores(each) if each else np.zeros(len(documents), dtype=np.float32) for each in asked]


def chosen(
    positives: list[int], given: list[int], bm25: np.ndarray | None, cosine: np.ndarray, rng: random.Random
) -> list[int]:
    """Answers first, then judged negatives, the best of each retriever in turn, some further down, and chance."""
    rankings = [np.argsort(-cosine)[: NEAREST["cosine"]].tolist()]
    if bm25 is not None:
        first = np.argsort(-bm25)[:100].tolist()
        rankings.append(first[: NEAREST["lexical"]])
        rankings.append(rng.sample(first[NEAREST["lexical"] :], min(DEEPER, max(0, len(first) - NEAREST["lexical"]))))
    picked = [*positives[:4], *given[:4]]
    for place in range(max(map(len, rankings))):
        picked += [ranking[place] for ranking in rankings if place < len(ranking)]
    kept = list(dict.fromkeys(picked))[: CANDIDATES - 2]
    while len(kept) < CANDIDATES:
        kept.append(rng.randrange(len(cosine)))
    return kept


@torch.inference_mode()
def opinions(model: Dual, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Cosine, lexical and late of every candidate, [queries, CANDIDATES, 3], and each query as the head reads it."""
    head = model.head
    found, read = [], []
    for i in range(len(pool)):
        lists = gather([(pool, i, list(range(CANDIDATES)))])
        shared = overlap(lists.batch, head.pieces.weight[:, 0])
        made, query = head.matching(lists.top, lists.batch, shared)
        found.append(made.numpy())
        read.append(torch.cat([query[0], shared.total[:1].log1p()]).numpy())
    return np.stack(found), np.stack(read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that start.py wrote")
    parser.add_argument("--texts", type=Path, required=True, help="folder that texts.py wrote")
    parser.add_argument("--states", type=Path, required=True, help="folder that states.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a source")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = read_checkpoint(options.model).model
    assert isinstance(model, Dual)
    for name in names(options.texts):
        target = options.out / f"{name}.npz"
        states = options.states / f"{name}.npz"
        if target.exists() or not states.exists():
            continue
        source = read(options.texts, name)
        rng = random.Random(name)
        asked = len(source.queries)
        vectors = np.load(states)["vectors"]
        cosines = vectors[:asked] @ vectors[asked:].T
        bm25 = [None] * asked if name.startswith("cross_") else lexical(source.documents, source.queries)
        rows = np.array([chosen(source.positives[i], source.given[i], bm25[i], cosines[i], rng) for i in range(asked)])
        label = np.array([[n in source.positives[i] for n in each] for i, each in enumerate(rows.tolist())])
        pool = Pool.open(states, {"documents": rows, "label": label})
        found, read_of = opinions(model, pool)
        partial = options.out / f"{name}.partial.npz"
        np.savez(partial, documents=rows.astype(np.int32), label=label, opinions=found, queries=read_of)
        partial.rename(target)
        print(f"{name}: {len(rows)} queries", flush=True)


if __name__ == "__main__":
    main()
