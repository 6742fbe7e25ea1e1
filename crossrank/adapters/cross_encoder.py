"""sentence-transformers' CrossEncoder: `predict` and `rank`, with the activation that the checkpoint names.

Text that spells a special token stays text; otherwise the numbers are those of sentence-transformers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from crossrank.adapters.truncation import is_one_pair, truncated_logits
from crossrank.checkpoint import Checkpoint
from crossrank.errors import CheckpointError, InputError
from crossrank.reranker import Reranker

__all__ = ["ACTIVATIONS", "CrossEncoder", "Result", "default_activation"]

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.modules.linear.Identity": nn.Identity(),
    "torch.nn.modules.activation.Sigmoid": nn.Sigmoid(),
    "torch.nn.modules.activation.Tanh": nn.Tanh(),
    "torch.nn.Identity": nn.Identity(),
    "torch.nn.Sigmoid": nn.Sigmoid(),
    "torch.nn.Tanh": nn.Tanh(),
}


class Result(TypedDict):
    """One document of `rank`; text only if asked for."""

    corpus_id: int
    score: float
    text: NotRequired[str]


class CrossEncoder:
    """A Reranker with the methods of sentence-transformers' CrossEncoder.

    activation_fn: what turns logits, float32 [pairs], into scores; by default what the checkpoint names, else sigmoid.
    """

    def __init__(self, reranker: Reranker, *, activation_fn: Activation | None = None) -> None:
        self.reranker = reranker
        self.activation_fn = activation_fn or default_activation(reranker.checkpoint)

    @classmethod
    def load(
        cls,
        name_or_folder: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        activation_fn: Activation | None = None,
    ) -> CrossEncoder:
        """As Reranker.load. CheckpointError if the checkpoint names an activation that is not in ACTIVATIONS."""
        return cls(Reranker.load(name_or_folder, device=device, dtype=dtype), activation_fn=activation_fn)

    def predict(
        self,
        sentences: Sequence[Sequence[str]] | Sequence[str],
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
    ) -> Float32[np.ndarray, " pairs"] | np.float32:
        """A score for each (query, document); for one pair that is not in a list, a single number.

        A pair longer than the reranker's limit loses the end of its longer side. batch_size and show_progress_bar
        change nothing: batches are planned by tokens, and a library prints nothing.
        """
        one = is_one_pair(sentences)
        logits = truncated_logits(self.reranker, [sentences] if one else sentences)  # type: ignore[list-item]
        scores: np.ndarray = (activation_fn or self.activation_fn)(torch.tensor(logits)).numpy()
        return np.float32(scores[0]) if one else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
    ) -> list[Result]:
        """Documents by descending score, equals in the order given; the first `top_k`, or all.

        batch_size and show_progress_bar change nothing.
        """
        if isinstance(documents, str):
            raise InputError("documents: expected a list of strings, not one string")
        if top_k is not None and top_k < 0:
            raise InputError(f"top_k should not be negative, and is {top_k}")
        texts = list(documents)
        scores = np.asarray(self.predict([(query, text) for text in texts], activation_fn=activation_fn)).tolist()
        best = sorted(range(len(texts)), key=lambda index: -scores[index])[:top_k]
        if return_documents:
            return [Result(corpus_id=index, score=scores[index], text=texts[index]) for index in best]
        return [Result(corpus_id=index, score=scores[index]) for index in best]


def default_activation(checkpoint: Checkpoint) -> Activation:
    """What the checkpoint names, looked for where sentence-transformers has kept it over the years; else sigmoid.

    config_sentence_transformers.json, then config.json's sentence_transformers.activation_fn, then its
    sbert_ce_default_activation_function.
    """
    name = _named(checkpoint)
    if name is None:
        return ACTIVATIONS["torch.nn.Sigmoid"]
    if name not in ACTIVATIONS:
        raise CheckpointError(
            f"{checkpoint.folder}: activation function {name!r} is not known here; give activation_fn yourself"
        )
    return ACTIVATIONS[name]


def _named(checkpoint: Checkpoint) -> str | None:
    own = checkpoint.folder / "config_sentence_transformers.json"
    sources: list[tuple[Any, str]] = []
    if own.is_file():
        try:
            sources.append((json.loads(own.read_text(encoding="utf-8")), "activation_fn"))
        except ValueError as error:
            raise CheckpointError(f"{own} is not JSON: {error}") from error
    sources.append((checkpoint.config.get("sentence_transformers"), "activation_fn"))
    sources.append((checkpoint.config, "sbert_ce_default_activation_function"))
    for source, key in sources:
        if isinstance(source, Mapping) and source.get(key) is not None:
            return str(source[key])
    return None
