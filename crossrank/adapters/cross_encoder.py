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
Pairs = Sequence[Sequence[str]] | Sequence[str] | np.ndarray

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

    activation_fn: what turns logits, float32 [pairs, 1], into scores; by default what the checkpoint names, else
    sigmoid.
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
        inputs: Pairs | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        *,
        sentences: Pairs | None = None,
        activation_fct: Activation | None = None,
        num_workers: int = 0,
    ) -> Float32[np.ndarray, " pairs"] | np.float32 | Tensor | list[Tensor]:
        """A score for each (query, document); for one pair that is not in a list, a single number.

        A pair longer than the reranker's limit loses the end of its longer side. sentences and activation_fct are old
        names of inputs and activation_fn. batch_size, show_progress_bar, num_workers and, for a model of one output,
        apply_softmax change nothing: batches are planned by tokens, and a library prints nothing. Raises InputError for
        anything but pairs of strings, and for a prompt, which no checkpoint here has.
        """
        given = _one("inputs", inputs, "sentences", sentences)
        if given is None:
            raise InputError("inputs: expected (query, document) pairs, and nothing was given")
        _no_prompt(prompt_name, prompt)
        pairs: Any = given.tolist() if isinstance(given, np.ndarray) else given
        one = is_one_pair(pairs)
        scores = self._scores(
            [pairs] if one else pairs, _one("activation_fn", activation_fn, "activation_fct", activation_fct)
        )
        if convert_to_tensor:
            return scores[0] if one else scores
        if not convert_to_numpy:
            return scores[0] if one else list(scores)
        array: np.ndarray = scores.float().cpu().numpy()
        return np.float32(array[0]) if one else array

    def rank(
        self,
        query: str,
        documents: Sequence[str] | np.ndarray,
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Activation | None = None,
        *,
        activation_fct: Activation | None = None,
        num_workers: int = 0,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> list[Result]:
        """Documents by descending score, equals in the order given; the first `top_k`, or all.

        activation_fct is an old name of activation_fn, a prompt an InputError as in predict. What else has a default
        changes nothing: scores are Python's floats.
        """
        if isinstance(documents, str):
            raise InputError("documents: expected a list of strings, not one string")
        if top_k is not None and top_k < 0:
            raise InputError(f"top_k should not be negative, and is {top_k}")
        _no_prompt(prompt_name, prompt)
        texts = list(documents)
        activation = _one("activation_fn", activation_fn, "activation_fct", activation_fct)
        scores: list[float] = self._scores([(query, text) for text in texts], activation).tolist()
        best = sorted(range(len(texts)), key=lambda index: -scores[index])[:top_k]
        if return_documents:
            return [Result(corpus_id=index, score=scores[index], text=texts[index]) for index in best]
        return [Result(corpus_id=index, score=scores[index]) for index in best]

    def _scores(self, pairs: Sequence[Sequence[str]], activation: Activation | None) -> Tensor:
        logits = torch.tensor(truncated_logits(self.reranker, pairs), dtype=torch.float32, device=self.reranker.device)
        with torch.inference_mode():
            scores = (activation or self.activation_fn)(logits[:, None])
        return scores.squeeze(-1) if scores.ndim > 1 else scores


def _one(name: str, value: Any, old_name: str, old: Any) -> Any:
    """The argument that was given under its name or the old one."""
    if value is not None and old is not None:
        raise InputError(f"{old_name} is an old name of {name}: give one of them")
    return old if value is None else value


def _no_prompt(prompt_name: str | None, prompt: str | None) -> None:
    if prompt_name is not None or prompt is not None:
        met = f"prompt_name {prompt_name!r}" if prompt is None else f"prompt {prompt!r}"
        raise InputError(f"{met}: prompts are not computed here; batch_size comes after them, or by its name")


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
