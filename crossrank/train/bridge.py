"""A checkpoint's model as the input module of a sentence-transformers CrossEncoder, without padding.

sentence-transformers asks its first module for `preprocess(pairs)`, hands the features to `forward` and reads "scores".
Here the features are a packed batch, so that its losses, its trainer and Accelerate train our forward pass as they
stand. The model is trained as it scores: no dropout, whatever config.json says, and the last layer only for the tokens
that are scored. Nothing that serves inference alone (packed or quantized layers) is in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import InputModule
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from crossrank.batch import Filled, Packed, pack
from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.inputs import Text
from crossrank.train.lora import merged_state
from crossrank.train.saving import write_model
from crossrank.windows import Limits, capacity

__all__ = ["PackedModule", "cross_encoder"]

Features = dict[str, Any]


class PackedModule(InputModule):
    """preprocess: pairs -> a packed batch; forward: adds "scores", logits of shape [pairs, 1] in the pairs' order.

    max_length: tokens of a pair, special ones included; None is what the engine takes. A query is cut as it is when
    served; of a longer document the first window is read.
    """

    save_in_root = True

    def __init__(self, checkpoint: Checkpoint, *, max_length: int | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.model = checkpoint.model
        limits = Limits(max_length=max_length)
        beside = checkpoint.template.beside
        self.limits = limits.within(checkpoint.max_length, checkpoint.max_length, checkpoint.usual_length, beside)

    @property
    def max_seq_length(self) -> int | None:
        """Tokens of a pair; the name that sentence-transformers reads."""
        return self.limits.max_length

    def fill(self, pairs: Sequence[str | Sequence[str]], prompt: str | None = None) -> list[Filled]:
        """One sequence a pair. `prompt` goes before the query."""
        template, max_length, max_query = self.checkpoint.template, self.limits.max_length, self.limits.max_query
        assert max_length is not None  # Limits.within fills them in
        assert max_query is not None
        # A text alone, of which sentence-transformers counts tokens for its model card, is a query without a document.
        read = [(pair, "") if isinstance(pair, str) else pair for pair in pairs]
        sides = [(f"{prompt or ''}{query}", document) for query, document in read]
        # A lone surrogate, which no tokenizer can encode, is read as it is when served.
        texts = {text: Text(text).text for side in sides for text in side}
        encoded = dict(zip(texts, self.checkpoint.tokenizer.encode(list(texts.values())), strict=True))
        filled = []
        for query, document in sides:
            kept = encoded[query][: max_query - template.query_frame]
            filled.append(template.fill(kept, encoded[document][: capacity(max_length, len(kept), template.fixed)]))
        return filled

    # Narrower than InputModule asks of all modules: texts alone, and no arguments that pass through.
    def preprocess(  # type: ignore[override]
        self, inputs: Sequence[str | Sequence[str]], prompt: str | None = None, task: str | None = None
    ) -> Features:
        """Pairs of strings as a packed batch, on the CPU. `task` routes between models elsewhere; here there is one."""
        filled = self.fill(inputs, prompt)
        lengths = [len(each) for each in filled]
        # Equal lengths side by side are one attention call on a CPU.
        order = sorted(range(len(filled)), key=lambda index: -lengths[index])
        batch = pack([filled[index] for index in order])
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "types": batch.types,
            "bounds": batch.bounds,
            "lengths": batch.lengths,
            "splits": batch.splits,
            "places": torch.from_numpy(np.argsort(np.array(order, dtype=np.int64))),
        }

    def forward(self, features: Features) -> Features:  # type: ignore[override]
        batch = Packed(
            tokens=features["tokens"],
            positions=features["positions"],
            types=features["types"],
            bounds=features["bounds"],
            lengths=tuple(features["lengths"]),
            splits=tuple(features["splits"]),
        )
        logits: Tensor = self.model(batch)
        return {**features, "scores": logits[features["places"]].unsqueeze(-1)}

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Keep no activations within blocks but the last; they are computed again on the way back.

        Chen et al. (2016), https://arxiv.org/abs/1604.06174. The argument, which the trainer passes, is not used.
        """
        assert isinstance(self.model.blocks, torch.nn.ModuleList)
        for block in self.model.blocks[:-1]:
            block.forward = partial(recomputed, block.forward, use_reentrant=False)

    def save(self, output_path: str, safe_serialization: bool = True) -> None:  # type: ignore[override]
        """Write a folder in the published layout, any LoRA layers merged. Weights are always safetensors."""
        write_model(self.checkpoint, merged_state(self.model), Path(output_path))

    @classmethod
    def load(cls, model_name_or_path: str, **others: Any) -> PackedModule:  # type: ignore[override]
        """Read what `save` wrote. sentence-transformers passes hub options along, which a folder does not need."""
        return cls(read_checkpoint(Path(os.fspath(model_name_or_path))))


def cross_encoder(module: PackedModule, device: str | None = None) -> CrossEncoder:
    """The module as a CrossEncoder: for every loss, trainer and evaluator of sentence-transformers."""
    return CrossEncoder(modules=[module], device=device)
