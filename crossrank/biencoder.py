"""A bi-encoder of sentence-transformers, to retrieve, to teach and to be measured: texts -> unit vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from crossrank.calibration import files_hash
from crossrank.errors import InputError, ModelError

__all__ = ["BiEncoder", "named", "refuse_other"]

BATCH = 32

Vectors = Float[np.ndarray, "texts width"]


class BiEncoder:
    """An embedding model's folder, loaded. Dot products of its vectors are cosines.

    query_prompt, document_prompt: put before each text, such as "query: "; None leaves it to the prompts that the
    model's own config has for queries and documents, which many have not. key: what decides the vectors.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        refuse_other(folder)
        from sentence_transformers import SentenceTransformer

        with named(folder):
            self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        self._prompts = query_prompt, document_prompt
        self.name = folder.resolve().name
        self.key = f"biencoder {files_hash(folder)} {self._prompts} {self._model.device.type}"

    def queries(self, texts: Sequence[str]) -> Vectors:
        return _plain(
            self._model.encode_query(
                list(texts),
                prompt=self._prompts[0],
                batch_size=BATCH,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        )

    def documents(self, texts: Sequence[str]) -> Vectors:
        return _plain(
            self._model.encode_document(
                list(texts),
                prompt=self._prompts[1],
                batch_size=BATCH,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        )


def refuse_other(folder: Path) -> None:
    """InputError for a folder that sentence-transformers would read as a bi-encoder only by adding parts of its own."""
    if not (folder / "modules.json").is_file():
        raise InputError(f"{folder} is no bi-encoder: sentence-transformers saves a folder with modules.json")


@contextmanager
def named(folder: Path) -> Iterator[None]:
    """What sentence-transformers raises when it loads a folder, as a ModelError that names it."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded by sentence-transformers: {reason}") from error


def _plain(vectors: object) -> Vectors:
    return np.asarray(vectors, dtype=np.float32)
