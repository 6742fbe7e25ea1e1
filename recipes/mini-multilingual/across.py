"""Questions in one language, documents in another: collections for `crossrank evaluate`, with e5's ranking of each.

    python across.py --base work/e5 --data XQUAD --out work/across
    crossrank evaluate work/across/en-de --first-stage work/across/en-de/e5.run -m work/later/model

XQUAD is a folder with corpus.jsonl and queries.jsonl whose ids begin with the language, and whose texts are the same in
every language and stand in the same order. The first stage is e5's hundred nearest of the language's documents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from base import PASSAGE, QUERY, embed, load

from crossrank.evaluate.runs import in_order, write_run

DIRECTIONS = "en-de de-en en-zh zh-en de-ar ar-de ru-es es-ru th-en en-th hi-en en-hi".split()
TOKENS = 512  # that e5 reads
DEEP = 100

Row = dict[str, object]


def of_language(path: Path, language: str) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["_id"].startswith(f"{language}-")]


def write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder that base.py wrote")
    parser.add_argument("--data", type=Path, required=True, help="XQuAD as retrieval")
    parser.add_argument("--out", type=Path, required=True, help="a folder for each direction")
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS, help="query's language - document's language")
    parser.add_argument("--queries", type=int, default=100, help="evenly drawn of those of a language")
    options = parser.parse_args()
    model, tokenizer = load(options.base)
    vectors: dict[str, np.ndarray] = {}
    for direction in options.directions:
        asked, answered = direction.split("-")
        queries = of_language(options.data / "queries.jsonl", asked)
        queries = queries[:: max(1, len(queries) // options.queries)][: options.queries]
        documents = of_language(options.data / "corpus.jsonl", answered)
        if answered not in vectors:
            vectors[answered] = embed(model, tokenizer, [str(row["text"]) for row in documents], PASSAGE, TOKENS)
        cosines = embed(model, tokenizer, [str(row["text"]) for row in queries], QUERY, TOKENS) @ vectors[answered].T
        folder = options.out / direction
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / "queries.jsonl", queries)
        write_lines(folder / "corpus.jsonl", documents)
        judged = "".join(f"{row['_id']}\t{answered}-{row['para']}\t1\n" for row in queries)
        (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
        names = [str(row["_id"]) for row in documents]
        run = {
            str(row["_id"]): in_order(zip(names, scores.tolist(), strict=True))[:DEEP]
            for row, scores in zip(queries, cosines, strict=True)
        }
        write_run(folder / "e5.run", run, "e5")
        print(f"{direction}: {len(queries)} queries, {len(documents)} documents", flush=True)


if __name__ == "__main__":
    main()
