"""Smaller models out of a teacher's weights, to be trained on the teacher's scores: a better start than chance.

    layers      some of the teacher's, `spread` over its depth unless they are named
    narrower    narrowing.py: fewer heads, less width and fewer neurons, the most important kept
    JinaBERT    alibi.py: a BERT model with ALiBi in place of positions, for pairs of 8,192 tokens

A student with all layers picked is its teacher, score for score. Narrower and JinaBERT students are beginnings: they
rank poorly until they are trained.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrank.checkpoint import read_checkpoint, read_config, read_tensors
from crossrank.errors import CheckpointError, InputError
from crossrank.models import architecture
from crossrank.models.naming import WORDS
from crossrank.train.alibi import jina_config, to_jinabert
from crossrank.train.narrowing import narrowed

__all__ = ["Built", "Plan", "build_student", "spread"]

LAYER = re.compile(r"((?:.*\.)?layers?\.)(\d+)(\..+)")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model",
)  # fmt: skip
TOKENIZER_GIVES = ["input_ids", "token_type_ids", "attention_mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a student keeps of its teacher; what is None stays as it is.

    layers: how many, or which, from 0. width: hidden_size, a multiple of the teacher's width of a head. inner:
    intermediate_size; None narrows it as the width. jinabert: ALiBi in place of positions. max_length: tokens a pair
    may have, for a JinaBERT student. new_head: the seed of a fresh classifier, for an encoder that has none.
    """

    layers: int | tuple[int, ...] | None = None
    width: int | None = None
    inner: int | None = None
    jinabert: bool = False
    max_length: int = 8192
    new_head: int | None = None


@dataclass(frozen=True, slots=True)
class Built:
    """A student's folder. layers: which of the teacher's it has. parameters: its own, and the teacher's."""

    folder: Path
    layers: tuple[int, ...]
    width: int
    heads: int
    inner: int
    max_length: int
    parameters: int
    teacher_parameters: int


def build_student(teacher: Path, into: Path, plan: Plan) -> Built:
    """Write a student of the model in the folder `teacher` to the new folder `into`, in a published layout.

    InputError for a plan that the teacher cannot fill, a new head where there is one, or a folder that is there;
    CheckpointError for a teacher that is damaged, has no classifier (and no `new_head` was asked for), or is of an
    architecture that has no such student.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise InputError(f"{into} is there already and not empty; a new folder would do")
    config, tensors, module = _read(teacher, plan.new_head)
    before = sum(tensor.numel() for tensor in tensors.values())
    total = config["num_hidden_layers"]
    if module.__name__ == "crossrank.models.dual" and plan != Plan():
        raise CheckpointError(
            f"{teacher} is of {config['model_type']!r}, of which no part is left out; students with fewer layers, less "
            "width or ALiBi are built of plain cross-encoders, and can learn from its scores"
        )
    layers = _layers(plan.layers, total)
    if plan.layers is not None:
        config, tensors = _picked(config, tensors, layers)
    if plan.width is not None or plan.inner is not None:
        config, tensors = narrowed(config, tensors, module, width=plan.width, inner=plan.inner)
    if plan.jinabert:
        if module.__name__ != "crossrank.models.bert":
            raise InputError(f"a JinaBERT student is built of a BERT model; {teacher} has {config.get('model_type')!r}")
        tensors = to_jinabert(tensors, config["layer_norm_eps"])
        config = jina_config(config, plan.max_length)
    _write(into, teacher, config, tensors, plan)
    return Built(
        folder=into,
        layers=layers,
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        inner=config["intermediate_size"],
        max_length=read_checkpoint(into).max_length,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        teacher_parameters=before,
    )


def spread(total: int, count: int) -> tuple[int, ...]:
    """`count` of `total` layers, as far apart as they can be, the first and the last among them.

    So chosen, students needed the least training in Shleifer and Rush (2020), https://arxiv.org/abs/2010.13002; for 6
    of 12 it is their choice. One layer alone is the first.
    """
    if not 1 <= count <= total:
        raise InputError(f"a student of a teacher with {total} layers has 1 to {total}, not {count}")
    return tuple(round(place * (total - 1) / max(1, count - 1)) for place in range(count))


def _layers(asked: int | Sequence[int] | None, total: int) -> tuple[int, ...]:
    if asked is None:
        return tuple(range(total))
    if isinstance(asked, int):
        return spread(total, asked)
    strange = [layer for layer in asked if not 0 <= layer < total]
    if strange or not asked or len(set(asked)) < len(asked):
        raise InputError(f"layers should be distinct numbers from 0 to {total - 1}, not {', '.join(map(str, asked))}")
    return tuple(asked)


def _read(folder: Path, new_head: int | None) -> tuple[dict[str, Any], dict[str, Tensor], ModuleType]:
    config = read_config(folder)
    _, tensors = read_tensors(folder)
    if not any(name.startswith(("classifier.", "cross.out.")) for name in tensors):
        if new_head is None:
            raise CheckpointError(f"{folder} is an encoder without a classifier; a new head, untrained, can be added")
        tensors = _with_head(tensors, config, new_head)
    elif new_head is not None:
        raise InputError(f"{folder} has a classifier; a new head is added to an encoder without one")
    names = frozenset(tensors)
    module = architecture(config, names)
    rows = next(len(tensor) for name, tensor in tensors.items() if name.endswith(WORDS))
    settings = module.Config.read({**config, "vocab_size": rows}, names)
    # Sizes as they are, and what would else follow from them: a JinaBERT's slopes from the number of its layers.
    read = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "query_key_norm"}
    return {**config, **read}, tensors, module


def _with_head(tensors: Mapping[str, Tensor], config: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """BERT's encoder with a random classifier, and a random pooler if it has none; heads for other tasks go."""
    if config.get("model_type") != "bert":
        raise InputError(f"a new head is added to BERT models; this one is {config.get('model_type')!r}")
    kept = {
        f"bert.{name.removeprefix('bert.')}": tensor for name, tensor in tensors.items() if not name.startswith("cls.")
    }
    width, chance = config["hidden_size"], torch.Generator().manual_seed(seed)
    deviation = config.get("initializer_range", 0.02)

    def linear(stem: str, rows: int) -> dict[str, Tensor]:
        weight = torch.randn(rows, width, generator=chance) * deviation
        return {f"{stem}.weight": weight, f"{stem}.bias": torch.zeros(rows)}

    return linear("bert.pooler.dense", width) | kept | linear("classifier", 1)


def _picked(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], layers: Sequence[int]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The layers named, in the order named, numbered anew."""
    sizes: dict[str, Any] = {"num_hidden_layers": len(layers)}
    if "layer_types" in config:
        if layers[0]:
            raise InputError(f"a ModernBERT's first layer has no norm before it and stays the first; found {layers[0]}")
        sizes["layer_types"] = [config["layer_types"][layer] for layer in layers]
    picked = {}
    for name, tensor in tensors.items():
        match = LAYER.fullmatch(name)
        if not match:
            picked[name] = tensor
            continue
        stem, number, rest = match.groups()
        if int(number) in layers:
            picked[f"{stem}{layers.index(int(number))}{rest}"] = tensor
    return {**config, **sizes}, picked


def _write(into: Path, teacher: Path, config: dict[str, Any], tensors: Mapping[str, Tensor], plan: Plan) -> None:
    """The whole folder at once, after a look whether it loads."""
    half = into.with_name(f".{into.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        for name in TOKENIZER_FILES:
            if (teacher / name).is_file():
                shutil.copyfile(teacher / name, half / name)
        _tell_tokenizer(half / "tokenizer_config.json", plan)
        (half / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        save_file(own, half / "model.safetensors", metadata={"format": "pt"})
        (half / "model.safetensors").chmod(0o644)  # safetensors writes files that only their owner reads
        read_checkpoint(half)
        if into.is_dir():
            into.rmdir()
        os.replace(half, into)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _tell_tokenizer(path: Path, plan: Plan) -> None:
    """tokenizer_config.json: a JinaBERT's length, and that there are token types, which the published ones do not say.

    Where nothing is said, crossrank has token types, and transformers' tokenizers that are of no model's class have
    none: a new head that was trained here would be another one there.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if plan.jinabert:
        known |= {"model_max_length": plan.max_length, "model_input_names": TOKENIZER_GIVES}
    elif plan.new_head is not None and "model_input_names" not in known:
        known["model_input_names"] = TOKENIZER_GIVES
    else:
        return
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
