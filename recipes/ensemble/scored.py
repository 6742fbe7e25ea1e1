"""Lists with an ensemble's scores, as `crossrank train` reads them.

    python scored.py --model FOLDER --texts work/texts --states work/states --candidates work/candidates \
        --vectors work/vectors/* --out work/scored

A score is the sum of what the model says without its cross layers and of each bi-encoder's cosine. What each counts is
fitted to the labels of all sources, and for code to those of code, where words say less; it is printed with what it is
worth on lists that no training sees. An answer that is known to be one has BONUS more.

--out/train has a NAME.jsonl.gz a source. Queries that no training sees are in --out/dev, of sources that have labels.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from blend import kin
from library import fitted
from lists import Pool, open_pools
from measures import ndcg
from texts import read

from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual

BONUS = 3.0  # logits that the teacher adds for a label
COSINE = 7.0  # logits of a bi-encoder's cosine, before these are fitted
PLACES = 3  # of a score
CODE = kin("functions")


@torch.no_grad()
def opinions(model: Dual, pool: Pool, vectors: list[np.ndarray]) -> Tensor:
    """What the model says without its cross layers, then each bi-encoder's cosine, [queries, documents, opinions]."""
    counts = softplus(model.head.mix(torch.from_numpy(pool.asked)))
    found = [(torch.from_numpy(pool.opinions) * counts[:, None]).sum(2)]
    for each in vectors:
        asked, answered = np.split(each.astype(np.float32), [len(pool)])
        found.append(torch.from_numpy(np.einsum("qw,qdw->qd", asked, answered[pool.documents])))
    return torch.stack(found, 2)


def counted(sources: list[tuple[Pool, Tensor]], start: Tensor) -> Tensor:
    """What each opinion counts by the labels of sources that are learned from, all alike, [opinions]."""
    labels = [torch.from_numpy(pool.label[pool.held_out :]) for pool, _ in sources]
    return fitted([each[pool.held_out :] for pool, each in sources], labels, start)


def quality(found: Tensor, label: np.ndarray, counts: Tensor) -> float:
    """nDCG@10, the mean of lists that hold an answer."""
    scores = (found * counts).sum(2).numpy()
    return float(np.mean([ndcg(*each) for each in zip(scores, label, strict=True) if each[1].any()]))


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with gzip.open(partial, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    partial.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of mini-en as it is so far")
    parser.add_argument("--texts", type=Path, required=True, help="folder that ../dual/texts.py wrote")
    parser.add_argument("--states", type=Path, required=True, help="folder that ../dual/states.py wrote")
    parser.add_argument("--candidates", type=Path, required=True, help="folder that ../dual/choose.py wrote")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="folders that vectors.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = read_checkpoint(options.model).model
    assert isinstance(model, Dual)
    pools = open_pools(options.states, options.candidates)
    if not any(pool.label.any() for pool in pools):
        parser.error(f"no source of {options.candidates} has labels, which say what each opinion counts")
    found = [opinions(model, p, [np.load(f / f"{p.name}.npy") for f in options.vectors]) for p in pools]
    labelled = [(pool, each) for pool, each in zip(pools, found, strict=True) if pool.label.any()]
    start = torch.tensor([1.0, *(COSINE for _ in options.vectors)])
    code = [(pool, each) for pool, each in labelled if kin(pool.name) == CODE] or labelled
    elsewhere, in_code = counted(labelled, start), counted(code, start)
    for where, each in (("", elsewhere), (" for code", in_code)):
        told = " ".join(f"{count:.2f}" for count in each.tolist())
        print(f"the model and the bi-encoders count {told}{where}")
    counts = {pool.name: in_code if kin(pool.name) == CODE else elsewhere for pool in pools}
    print("held out, nDCG@10 of each alone and of the sum")
    rows = []
    for pool, each in labelled:
        ways = [*torch.eye(len(start)), counts[pool.name]]
        rows.append([quality(each[: pool.held_out], pool.label[: pool.held_out], way) for way in ways])
        print(f"  {pool.name:28s} " + " ".join(f"{value:.3f}" for value in rows[-1]))
    print("  mean " + " ".join(f"{value:.4f}" for value in np.mean(rows, axis=0)), flush=True)
    for pool, each in zip(pools, found, strict=True):
        source = read(options.texts, pool.name)
        scores = (each * counts[pool.name]).sum(2) + BONUS * torch.from_numpy(pool.label)
        lines = [
            {"query": query, "documents": [source.documents[n] for n in pool.documents[i]]}
            | {"scores": [round(score, PLACES) for score in scores[i].tolist()]}
            | ({"labels": pool.label[i].astype(int).tolist()} if pool.label.any() else {})
            for i, query in enumerate(source.queries)
        ]
        held = pool.held_out if pool.label.any() else 0
        if held:
            write(options.out / "dev" / f"{pool.name}.jsonl.gz", [line for line in lines[:held] if 1 in line["labels"]])
        write(options.out / "train" / f"{pool.name}.jsonl.gz", lines[held:])


if __name__ == "__main__":
    main()
