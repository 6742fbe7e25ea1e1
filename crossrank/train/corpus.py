"""What negatives are mined from, and the two ways to search it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from jaxtyping import Float

from crossrank.biencoder import BiEncoder
from crossrank.errors import InputError
from crossrank.lines import json_objects
from crossrank.rendering import render_document
from crossrank.words import K1, B, words

__all__ = ["Corpus", "Search", "bm25_search", "dense_search", "read_corpus", "recalled", "same", "vectors"]

CHUNK = 2048  # documents that are encoded between two saves


@dataclass(frozen=True, slots=True)
class Search:
    """find(queries, depth) gives each query's documents as places in the corpus, best first, at most `depth`."""

    name: str
    find: Callable[[Sequence[str], int], list[list[int]]]


class Corpus:
    """Distinct documents, in the order met. keys: what `same` makes of each."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts: list[str] = []
        self.keys: list[bytes] = []
        self._met: set[bytes] = set()
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str) -> None:
        key = same(text)
        if text.strip() and key not in self._met:
            self._met.add(key)
            self.texts.append(text)
            self.keys.append(key)

    @property
    def digest(self) -> str:
        return hashlib.sha256(b"".join(self.keys)).hexdigest()


def same(text: str) -> bytes:
    """A short hash, equal for texts that differ only in case and spacing."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass"), digest_size=12).digest()


def read_corpus(paths: Sequence[Path], corpus: Corpus) -> None:
    """Add the documents of JSONL files: objects with "text" and perhaps "title", as BEIR's corpus.jsonl, or schemas."""
    for path in paths:
        before = len(corpus)

        def take(row: dict[str, Any]) -> None:
            corpus.add(render_document({key: value for key, value in row.items() if key not in ("_id", "metadata")}))

        json_objects(path, take)
        if len(corpus) == before:
            raise InputError(f"{path} adds no document that was not there already")


def bm25_search(texts: Sequence[str]) -> Search:
    """BM25 as `crossrank evaluate` has it; documents that share no word with the query are not found."""
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    index.index([words(text) for text in texts], show_progress=False)

    def find(queries: Sequence[str], depth: int) -> list[list[int]]:
        return [_best(index, query, depth) for query in queries]

    return Search("bm25", find)


def dense_search(encoder: BiEncoder, documents: Float[np.ndarray, "documents width"]) -> Search:
    """A bi-encoder's nearest documents by cosine, exactly: every query is compared with every document."""
    from sentence_transformers.util import dot_score, semantic_search

    matrix = _tensor(documents)

    def find(queries: Sequence[str], depth: int) -> list[list[int]]:
        if not queries:
            return []
        hits = semantic_search(_tensor(encoder.queries(queries)), matrix, top_k=depth, score_function=dot_score)
        return [[int(hit["corpus_id"]) for hit in own] for own in hits]

    return Search("biencoder", find)


def vectors(
    encoder: BiEncoder, corpus: Corpus, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Float[np.ndarray, "documents width"]:
    """The corpus encoded, CHUNK documents at a time, each chunk saved in `folder` for a run that comes after a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(corpus), CHUNK):
        if progress:
            progress(start, len(corpus))
        path = folder / f"{start:09}.npy"
        if not path.is_file():
            half = folder / f".{path.name}.{os.getpid()}"
            with half.open("wb") as file:
                np.save(file, encoder.documents(corpus.texts[start : start + CHUNK]))
            os.replace(half, path)
        parts.append(np.load(path))
    return np.concatenate(parts)


def recalled(
    encoder: BiEncoder, corpus: Corpus, documents: Float[np.ndarray, "documents width"]
) -> Callable[[Sequence[str]], Float[np.ndarray, "texts width"]]:
    """The encoder for documents, which need not encode again those that the corpus has."""
    places = {text: place for place, text in enumerate(corpus.texts)}

    def encode(texts: Sequence[str]) -> Float[np.ndarray, "texts width"]:
        found = np.empty((len(texts), documents.shape[1]), dtype=np.float32)
        fresh = [n for n, text in enumerate(texts) if text not in places]
        known = [n for n, text in enumerate(texts) if text in places]
        found[known] = documents[[places[texts[n]] for n in known]]
        if fresh:
            found[fresh] = encoder.documents([texts[n] for n in fresh])
        return found

    return encode


def _best(index: Any, query: str, depth: int) -> list[int]:
    ids = index.get_tokens_ids(words(query))
    if not ids:
        return []
    scores = index.get_scores_from_ids(ids)
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:  # every document that ties with the last one stays in, and the first of the corpus wins
        found = found[scores[found] >= np.partition(scores[found], -depth)[-depth]]
    order = np.lexsort((found, -scores[found]))
    return [int(place) for place in found[order][:depth]]


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)
