"""How a dual model ranks a collection, with each text's states computed once however many queries meet it.

    python measure.py --model FOLDER --collection DATA/scifact DATA/cranfield --limit-queries 60 --measure nDCG@10
    python measure.py --model FOLDER --collection work/across/en-de --first-stage e5.run

Windows and scores are the engine's own, so the model's column is what `crossrank evaluate` gives. Beside it stand the
first stage, the cosine alone, which is the bi-encoder underneath reading the same windows, and matching, which is the
model without its cross layers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from states import encode

from crossrank import Reranker
from crossrank.batch import Filled, pack
from crossrank.collections import chosen_queries, open_collection
from crossrank.evaluate.compare import interval, randomisation_test
from crossrank.evaluate.first_stage import retrieve
from crossrank.evaluate.measures import measure
from crossrank.evaluate.runs import in_order
from crossrank.inputs import Text, read_documents
from crossrank.models.dual import Dual, overlap
from crossrank.windows import Limits

TOGETHER = 20  # pairs a batch


class Memory:
    """Scores pairs with a model, and remembers the sides that it has read."""

    def __init__(self, model: Dual) -> None:
        self.model = model
        self.dtype = next(model.blocks.parameters()).dtype
        self.sides: dict[bytes, np.ndarray] = {}

    @torch.inference_mode()
    def judged(self, pairs: list[Filled]) -> np.ndarray:
        """Cosine, matching and logit of each pair, [3, pairs]."""
        parts = [side for pair in pairs for side in (pair.tokens[: pair.split], pair.tokens[pair.split :])]
        fresh = list({part.tobytes(): part for part in parts if part.tobytes() not in self.sides}.values())
        for part, state in zip(fresh, encode(self.model, fresh)[0], strict=True) if fresh else ():
            self.sides[part.tobytes()] = state.copy()
        head, found = self.model.head, []
        for start in range(0, len(pairs), TOGETHER):
            few = pairs[start : start + TOGETHER]
            kept = [self.sides[part.tobytes()] for part in parts[2 * start : 2 * (start + len(few))]]
            below, top = torch.from_numpy(np.concatenate(kept)).to(self.dtype).chunk(2, dim=1)
            batch = pack(few)
            shared = overlap(batch, head.pieces.weight[:, 0])
            opinions, query = head.matching(top, batch, shared)
            matching = (head.counts(query, shared) * opinions).sum(1)
            logits = self.model.together(below, top, batch)
            found.append(torch.stack([opinions[:, 0], matching, logits]).float().numpy())
        return np.concatenate(found, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name or a folder")
    parser.add_argument("--collection", nargs="+", required=True, help="as for crossrank evaluate")
    parser.add_argument("--first-stage", help="a file in each collection's folder; default: bm25")
    parser.add_argument("--limit-queries", type=int)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--measure", default="nDCG@10")
    parser.add_argument("--dtype", default="float32", help="bfloat16 is faster where the CPU has AMX")
    options = parser.parse_args()
    limits = Limits(max_length=options.max_length)
    reranker = Reranker.load(options.model, device="cpu", dtype=options.dtype, limits=limits)
    model = reranker.scorer.model
    assert isinstance(model, Dual)
    print(
        f"{options.measure:24s} queries | first stage, cosine, matching, model | "
        "model less the better of the first two, 95 % interval, p"
    )
    memory = Memory(model)
    for spec in options.collection:
        collection = open_collection(spec)
        queries = chosen_queries(collection, options.limit_queries)
        source = str(Path(spec) / options.first_stage) if options.first_stage else "bm25"
        run = retrieve(collection, queries, source=source, top_k=options.top_k).run
        runs: list[dict[str, list[tuple[str, float]]]] = [{}, {}, {}]
        for query in queries:
            names = [document for document, _ in run[query]]
            if not names:
                continue
            texts = read_documents([collection.documents[name] for name in names])
            prepared = reranker.prepare(Text(collection.queries[query]), texts)
            ends = np.cumsum([len(ranges) for ranges in prepared.ranges])[:-1]
            for kept, scores in zip(runs, memory.judged(prepared.sequences), strict=True):
                best = [float(each.max()) for each in np.split(scores, ends)]
                kept[query] = in_order(zip(names, best, strict=True))
        qrels = {query: collection.qrels[query] for query in queries}
        found = []
        for each in (run, *runs):
            values = {value.query: value.value for value in measure(each, qrels, [options.measure])}
            found.append(np.array([values.get(query, 0.0) for query in queries]))
        better = max(found[:2], key=lambda values: values.mean())
        apart = found[3] - better
        low, high = interval(apart)
        means = " ".join(f"{values.mean():.3f}" for values in found)
        told = f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}] p {randomisation_test(apart):.3f}"
        print(f"{collection.name:24s} {len(queries):5d} | {means} | {told}", flush=True)


if __name__ == "__main__":
    main()
