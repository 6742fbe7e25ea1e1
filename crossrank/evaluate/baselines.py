"""Peers to be measured in the same run: a bi-encoder, sentence-transformers' CrossEncoder, FlashRank."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crossrank.biencoder import BiEncoder, named, refuse_other
from crossrank.calibration import files_hash
from crossrank.errors import InputError, MissingExtra, need
from crossrank.evaluate.systems import Judged, Loaded, System

__all__ = ["KINDS", "biencoder", "crossencoder", "flashrank"]

BATCH = 32


def biencoder(folder: Path) -> System:
    """An embedding model of sentence-transformers: the cosine of query and document, each after its own prompt if any.

    Every candidate is encoded once, when the system loads, in the order of the texts; so what a query's documents score
    cannot depend on where an interruption fell. That time counts as the system's.
    """
    need("sentence_transformers", extra="train")
    refuse_other(folder)
    digest = files_hash(folder)

    def load(texts: Sequence[str]) -> Loaded:
        encoder = BiEncoder(folder)
        started = time.perf_counter()
        vectors = dict(zip(texts, encoder.documents(texts), strict=True))
        ahead = time.perf_counter() - started

        def judge(query: str, documents: Sequence[str]) -> Judged:
            towards = encoder.queries([query])[0]
            return Judged([float(vectors[document] @ towards) for document in documents])

        return judge, ahead

    card: dict[str, object] = {"kind": "biencoder", "folder": str(folder), "sha256": digest}
    return System(f"{_name(folder)} bi-encoder", f"biencoder {digest}", "cosine", card, load)


def crossencoder(folder: Path) -> System:
    """A CrossEncoder as sentence-transformers runs it, long documents cut off at its limit. Scores are logits."""
    need("sentence_transformers", extra="train")
    digest = files_hash(folder)

    def load(texts: Sequence[str]) -> Loaded:
        import torch
        from sentence_transformers import CrossEncoder

        with named(folder):
            model = CrossEncoder(str(folder), local_files_only=True)

        def judge(query: str, documents: Sequence[str]) -> Judged:
            pairs = [(query, document) for document in documents]
            scores = model.predict(pairs, batch_size=BATCH, activation_fn=torch.nn.Identity(), show_progress_bar=False)
            return Judged([float(score) for score in scores])

        return judge, 0.0

    card: dict[str, object] = {"kind": "crossencoder", "folder": str(folder), "sha256": digest}
    return System(f"{_name(folder)} CrossEncoder", f"crossencoder {digest}", "logit", card, load)


def flashrank(folder: Path) -> System:
    """A model of FlashRank, in a folder that has the name FlashRank knows it by. Scores are its own, 0 to 1."""
    try:
        need("flashrank", extra="evaluate")
    except MissingExtra as error:
        raise MissingExtra("flashrank:FOLDER needs FlashRank: pip install flashrank") from error
    from flashrank.Config import model_file_map  # type: ignore[import-untyped,unused-ignore]

    if folder.name not in model_file_map:
        raise InputError(f"flashrank:{folder}: FlashRank knows no model of that name, but {', '.join(model_file_map)}")
    digest = files_hash(folder)

    def load(texts: Sequence[str]) -> Loaded:
        from flashrank import Ranker, RerankRequest  # type: ignore[import-untyped,unused-ignore]

        ranker = Ranker(model_name=folder.name, cache_dir=str(folder.parent), log_level="WARNING")

        def judge(query: str, documents: Sequence[str]) -> Judged:
            passages = [{"id": place, "text": document} for place, document in enumerate(documents)]
            scores = [0.0] * len(documents)
            for found in ranker.rerank(RerankRequest(query=query, passages=passages)):
                scores[found["id"]] = float(found["score"])
            return Judged(scores)

        return judge, 0.0

    card: dict[str, object] = {"kind": "flashrank", "folder": str(folder), "sha256": digest}
    return System(f"{folder.name} FlashRank", f"flashrank {digest}", "score", card, load)


def _name(folder: Path) -> str:
    """The folder's name; of a package's folder `model`, the package's."""
    resolved = folder.resolve()
    return resolved.parent.name if resolved.name == "model" else resolved.name


KINDS: dict[str, Callable[[Path], System]] = {
    "biencoder": biencoder,
    "crossencoder": crossencoder,
    "flashrank": flashrank,
}
