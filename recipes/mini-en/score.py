"""The card's table: BM25's top 100 of each collection in BM25's order, the bi-encoder's and mini-en's.

    python score.py --model FOLDER --collections DIR --queries 100

A collection is a folder of corpus.jsonl, queries.jsonl and qrels.tsv (BEIR's layout). Documents are title and text.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import bm25s
import numpy as np
import torch
from candidates import base_model, encode, load_tokenizer, tokenize
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, BertModel

COLLECTIONS = "scifact cranfield lisa cosqa_dev toolbench_g1 bfcl spider_tables".split()
DEPTH = 100


def read(folder: Path) -> tuple[list[str], list[str], list[str], list[str], dict[str, dict[str, int]]]:
    """Document ids, documents, query ids, queries, and the grades of every judged query."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            qrels.setdefault(query, {})[document] = int(grade)
    queries = [query for query in queries if query["_id"] in qrels]
    texts = [f"{each.get('title', '')} {each['text']}".strip() for each in corpus]
    return [each["_id"] for each in corpus], texts, [q["_id"] for q in queries], [q["text"] for q in queries], qrels


def measures(ranked: list[str], grades: dict[str, int]) -> list[float]:
    """nDCG@10 (linear gain), MRR@10 and R@3; relevant documents outside the candidates count as missed."""
    discount = 1 / np.log2(np.arange(2, 12))
    ideal = np.array(sorted(grades.values(), reverse=True)[:10])
    gains = np.array([grades.get(each, 0) for each in ranked[:10]])
    first = next((1 / (place + 1) for place, gain in enumerate(gains) if gain), 0.0)
    recall = sum(each in grades for each in ranked[:3]) / len(grades)
    return [float((gains * discount[: len(gains)]).sum() / (ideal * discount[: len(ideal)]).sum()), first, recall]


@torch.inference_mode()
def logits(
    model: BertForSequenceClassification, queries: list[list[int]], documents: list[list[int]], most: int
) -> np.ndarray:
    """One logit a pair, cut to `most` tokens, in batches of like length."""
    rows = [
        [101, *query, 102, *document[: max(0, most - len(query) - 3)], 102]
        for query, document in zip(queries, documents, strict=True)
    ]
    heads = [len(query) + 2 for query in queries]
    out = np.zeros(len(rows), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    start = 0
    while start < len(order):
        longest = len(rows[order[start]])
        part = order[start : start + max(1, 4096 // longest)]
        start += len(part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, i in enumerate(part):
            ids[row, : len(rows[i])] = torch.tensor(rows[i])
            mask[row, : len(rows[i])] = 1
            types[row, heads[i] : len(rows[i])] = 1
        with torch.autocast("cpu", torch.bfloat16):
            out[part] = model(ids, attention_mask=mask, token_type_ids=types).logits[:, 0].float().numpy()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--collections", type=Path, required=True, help="folder of the collections' folders")
    parser.add_argument("--only", nargs="*", default=COLLECTIONS)
    parser.add_argument("--queries", type=int, default=100, help="the first so many judged queries of each")
    parser.add_argument("--tokens", type=int, default=512, help="longest pair")
    parser.add_argument("--skip-bi-encoder", action="store_true")
    options = parser.parse_args()
    model = AutoModelForSequenceClassification.from_pretrained(options.model, dtype=torch.float32).eval()
    bi_encoder = BertModel.from_pretrained(base_model()).eval()
    tokenizer: Tokenizer = load_tokenizer()
    for name in options.only:
        start = time.perf_counter()
        ids, texts, query_ids, queries, qrels = read(options.collections / name)
        query_ids, queries = query_ids[: options.queries], queries[: options.queries]
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
        words = bm25s.tokenize(queries, stopwords="en", show_progress=False)
        found, _ = index.retrieve(words, k=min(DEPTH, len(texts)), show_progress=False)
        needed = np.unique(found)
        place = {number: i for i, number in enumerate(needed.tolist())}
        documents = tokenize(tokenizer, [texts[i] for i in needed], 512)
        query_ids_tokens = tokenize(tokenizer, queries, 256)
        columns = [[place[number] for number in row] for row in found.tolist()]
        orders = {"BM25": [list(range(len(row))) for row in columns]}
        if not options.skip_bi_encoder:
            vectors = encode(bi_encoder, documents, 256)
            asked = encode(bi_encoder, query_ids_tokens, 256)
            orders["bi-encoder"] = [
                np.argsort(-(vectors[row] @ asked[i]), kind="stable").tolist() for i, row in enumerate(columns)
            ]
        pairs = [(i, column) for i, row in enumerate(columns) for column in row]
        scores = logits(
            model, [query_ids_tokens[i] for i, _ in pairs], [documents[c] for _, c in pairs], options.tokens
        )
        orders["mini-en"] = np.argsort(-scores.reshape(len(columns), -1), axis=1, kind="stable").tolist()
        for label, order in orders.items():
            ranked = [[ids[found[i][j]] for j in row] for i, row in enumerate(order)]
            values = [measures(each, qrels[query]) for each, query in zip(ranked, query_ids, strict=True)]
            mean = " ".join(f"{value:.3f}" for value in np.mean(values, axis=0))
            print(f"{name:14s} {label:11s} nDCG@10 MRR@10 R@3 {mean} ({len(queries)} queries)", flush=True)
        print(f"{name}: {len(pairs)} pairs, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
