"""Small collections, written to disk as the real ones are, and the systems that are measured on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests import checkpoints

DOCUMENTS = {
    "d1": ("Whales", "The blue whale is the largest animal that has ever lived."),
    "d2": ("Bees", "A honey bee visits a hundred flowers on one flight."),
    "d3": ("", "Flowers open when the sun is up, and bees follow."),
    "d4": ("Bread", "Flour, water, salt and yeast make bread."),
    "d5": ("Salt", "Salt of the sea is what is left when water dries up."),
    "d6": ("Engines", "A steam engine turns water and fire into motion."),
}
QUERIES = {
    "q1": "which animal is the largest",
    "q2": "what do bees visit",
    "q3": "bread of flour and salt",
    "q4": "sea water",
    "q5": "",
    "q6": "steam and fire",
    "q7": "yeast",
}
QRELS = {
    "q1": {"d1": 1},
    "q2": {"d2": 2, "d3": 1, "d1": 0},
    "q3": {"d4": 1, "d5": 1, "d9": 1},
    "q4": {"d5": 1},
    "q5": {"d1": 1},
    "q6": {"d6": 0},
}


def write_beir(
    folder: Path,
    documents: Mapping[str, tuple[str, object]] = DOCUMENTS,
    queries: Mapping[str, str] = QUERIES,
    qrels: Mapping[str, Mapping[str, int]] = QRELS,
    candidates: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "corpus.jsonl", ({"_id": key, "title": t, "text": x} for key, (t, x) in documents.items()))
    offered = candidates or {}
    rows = ({"_id": key, "text": text} | _offered(offered.get(key)) for key, text in queries.items())
    write_jsonl(folder / "queries.jsonl", rows)
    lines = [f"{query}\t{document}\t{gain}\n" for query, gains in qrels.items() for document, gain in gains.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


def write_jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_model(folder: Path, seed: int = 0) -> Path:
    """A small random cross-encoder: its order is arbitrary, and always the same."""
    return checkpoints.bert(seed).write(folder)


def _offered(candidates: Sequence[str] | None) -> dict[str, object]:
    return {} if candidates is None else {"candidates": list(candidates)}
