"""Our models beside each other: documents a second on this machine's CPU, one model at a time, in turn.

    python -m benchmarks.models [--rounds 5] [--model mini-en mini-en@int8 tiny-en ...]

Every model reads the hundred passages of documents.jsonl with one query, in windows of its own length. The table has
the CPU time beside the wall time: other processes disturb the first less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from benchmarks.machine import machine
from crossrank import Reranker
from crossrank.hub import bundled_names

DOCUMENTS = Path(__file__).parent / "documents.jsonl"
QUERY = "how do I read a large file line by line without loading it into memory?"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=(__doc__ or "").split("\n\n")[0])
    names = [name + dtype for name in bundled_names() for dtype in ("", "@int8")]
    parser.add_argument("--model", nargs="+", default=names, metavar="NAME[@DTYPE]", help="default: all of ours")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with DOCUMENTS.open(encoding="utf-8") as lines:
        documents = [json.loads(line)["text"] for line in lines]
    rerankers = {}
    for name in options.model:
        folder, _, dtype = name.partition("@")
        rerankers[name] = Reranker.load(folder, device="cpu", dtype=dtype or "float32")
        rerankers[name].rank(QUERY, documents)
    wall: dict[str, list[float]] = {name: [] for name in rerankers}
    spent: dict[str, list[float]] = {name: [] for name in rerankers}
    for _ in range(options.rounds):
        for name, reranker in rerankers.items():
            begin, before = time.perf_counter(), time.process_time()
            reranker.rank(QUERY, documents)
            wall[name].append(time.perf_counter() - begin)
            spent[name].append(time.process_time() - before)
    first = statistics.median(spent[options.model[0]])
    print(f"{machine()}, {options.rounds} rounds, {len(documents)} documents, medians\n")
    print(f"| model | documents/s | CPU ms a document | times as fast as {options.model[0]}, by CPU time |")
    print("|---|--:|--:|--:|")
    for name in rerankers:
        seconds, cpu = statistics.median(wall[name]), statistics.median(spent[name])
        print(f"| {name} | {len(documents) / seconds:.0f} | {1e3 * cpu / len(documents):.1f} | {first / cpu:.2f} |")


if __name__ == "__main__":
    main()
