"""A trained model -> a folder in the layout of the checkpoint it began as. A folder appears whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrank.checkpoint import Checkpoint, read_tensors

__all__ = ["SIDE_FILES", "between", "install", "published", "write_model"]

# What a folder may hold beside config and weights that is true of the trained model too.
SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "config_sentence_transformers.json",
)


def write_model(checkpoint: Checkpoint, state: Mapping[str, Tensor], folder: Path, *, dtype: str = "float32") -> None:
    """Write `state`, a model's tensors under our names, as the checkpoint's folder would hold them.

    dtype: "float32", or "float16" or "bfloat16" for half the size and rounded weights. The checkpoint's folder must
    still be there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in SIDE_FILES:
        if (checkpoint.folder / name).is_file() and checkpoint.folder.resolve() != folder.resolve():
            shutil.copyfile(checkpoint.folder / name, folder / name)
    config = {key: value for key, value in checkpoint.config.items() if key != "torch_dtype"} | {"dtype": dtype}
    if "id2label" not in config:
        # transformers would otherwise expect its default, a classifier of two outputs.
        config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    kind: torch.dtype = getattr(torch, dtype)
    tensors = {name: t.detach().to("cpu", kind).contiguous() for name, t in published(checkpoint, state).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes files that only their owner reads


def published(checkpoint: Checkpoint, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names of the checkpoint's own files.

    An architecture's `adopt` renames tensors, parts them and stacks them by rows, and is not written down in reverse.
    So the rows of the checkpoint are numbered and adopted: the numbers then say where each row went.
    """
    adopt = import_module(f"crossrank.models.{checkpoint.architecture}").adopt
    _, stored = read_tensors(checkpoint.folder)
    numbers, start = {}, 0
    for name, tensor in stored.items():
        numbers[name] = torch.arange(start, start + tensor.shape[0])
        start += tensor.shape[0]
    owner = torch.full((start,), -1)
    row = torch.zeros(start, dtype=torch.long)
    names = list(state)
    for name, adopted in adopt(numbers).items():
        owner[adopted] = names.index(name)
        row[adopted] = torch.arange(len(adopted))
    home = {}
    for name, ours in numbers.items():
        owners = owner[ours]
        if (owners >= 0).all():  # else a buffer that holds no weights
            parts = [state[names[i]].cpu()[row[ours][owners == i]] for i in owners.unique_consecutive().tolist()]
            home[name] = torch.cat(parts)
    return home


def between(before: Mapping[str, Tensor], after: Mapping[str, Tensor], part: float) -> dict[str, Tensor]:
    """The weights that lie `part` of the way from those before training to those after it.

    They may rank better on other text than either: Wortsman et al. (2022), https://arxiv.org/abs/2109.01903.
    """
    return {name: before[name].to(tensor).lerp(tensor, part) for name, tensor in after.items()}


def install(partial: Path, final: Path) -> None:
    """Put a finished folder in its place, an older one there aside until it is done."""
    old = final.with_name(f"{final.name}.old")
    if old.exists():
        shutil.rmtree(old)
    if final.exists():
        os.replace(final, old)
    os.replace(partial, final)
    if old.exists():
        shutil.rmtree(old)
