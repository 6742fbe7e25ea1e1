"""One file per architecture, forward only. Each has four names:

    Config     a frozen dataclass, fields spelled as in config.json, and `Config.read(settings)`: anything in
               config.json that would change the arithmetic and is not computed here is a CheckpointError
    build      `build(config)`: the module, with `blocks` (what may be quantized), `max_length` (tokens a pair may
               have) and `forward(batch: Packed) -> Float[Tensor, " pairs"]` (logits; the last layer only where it is
               scored)
    adopt      a checkpoint's tensors under our names; a tensor it does not know keeps its name and is then refused
    template   the tokenizer's frame round a pair

No base class: checkpoint.py asks a file for these names and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from crossrank.errors import CheckpointError

__all__ = ["MODEL_TYPES", "architecture"]

MODEL_TYPES = {
    "bert": "bert",
    "xlm-roberta": "roberta",
    "roberta": "roberta",
    "modernbert": "modernbert",
    "crossrank-dual": "dual",
}


def architecture(config: Mapping[str, Any], names: frozenset[str]) -> ModuleType:
    """The file that computes a checkpoint: by its tensors' names where its config misleads, else by its model_type.

    Jina's v1 rerankers call themselves "bert" and v2's config has no model_type, so their tensors decide.
    """
    if any(".mlp.gated_layers." in name or ".mlp.up_gated_layer." in name for name in names):
        return import_module("crossrank.models.jinabert")
    if any(".mixer.Wqkv." in name for name in names):
        return import_module("crossrank.models.roberta")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        known = ", ".join([*MODEL_TYPES, "jina-reranker-v1 and v2 by their tensors"])
        raise CheckpointError(f"no architecture for model_type {model_type!r}; this version computes {known}")
    return import_module(f"crossrank.models.{MODEL_TYPES[model_type]}")
