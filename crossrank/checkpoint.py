"""A folder of published files -> model, tokenizer, template. Every tensor is accounted for; nothing in it is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from crossrank.errors import CheckpointError
from crossrank.models import architecture
from crossrank.models.naming import WORDS
from crossrank.nibbles import NIBBLES, unpacked
from crossrank.template import Template
from crossrank.tokens import Tokenizer

__all__ = ["Checkpoint", "read_checkpoint", "read_config", "read_stored", "read_tensors"]

ALIGNMENT = 64  # bytes: what torch's CPU allocator gives


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model ready to score, in float32 on the CPU, and where each part of it came from.

    architecture: the file under crossrank/models. settings: what of config.json the forward pass uses.
    stored: the dtypes of the tensors on disk. weights: the files they were read from. usual_length: tokens of a pair
    that its tokenizer_config.json asks for; max_length, where it asks for none or more.
    """

    folder: Path
    architecture: str
    settings: dict[str, Any]
    config: dict[str, Any]
    model: nn.Module
    tokenizer: Tokenizer
    template: Template
    parameters: int
    stored: tuple[str, ...]
    weights: tuple[str, ...]
    usual_length: int

    @property
    def max_length(self) -> int:
        """How many tokens a pair may have, special tokens included."""
        return int(self.model.max_length)  # type: ignore[arg-type]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Load a folder in the published layout: config.json, tokenizer.json and weights.

    Sizes of the vocabulary come from the tensors, so trimmed vocabularies load. Raises CheckpointError when anything is
    missing, extra, misshapen, or of a kind that is not computed here.
    """
    config = read_config(folder)
    weights, tensors = read_tensors(folder)
    names = frozenset(tensors)
    module = architecture(config, names)
    rows = [t.shape[0] for name, t in tensors.items() if name.endswith(WORDS) and t.ndim == 2]
    settings = module.Config.read({**config, "vocab_size": rows[0]} if rows else config, names)
    if settings.hidden_size % settings.num_attention_heads:
        raise CheckpointError(
            f"config.json: num_attention_heads {settings.num_attention_heads} does not divide "
            f"hidden_size {settings.hidden_size}"
        )
    with torch.device("meta"):
        model: nn.Module = module.build(settings)
    parameters = _fill(model, module.adopt(tensors), folder)
    tokenizer = Tokenizer.read(folder / "tokenizer.json")
    if tokenizer.size > settings.vocab_size:
        raise CheckpointError(
            f"{folder}: tokenizer.json has ids up to {tokenizer.size - 1}, "
            f"the embedding only {settings.vocab_size} rows"
        )
    template = module.template(tokenizer)
    told = _tokenizer_config(folder)
    return Checkpoint(
        folder=folder,
        architecture=module.__name__.rpartition(".")[2],
        settings=asdict(settings),
        config=config,
        model=model.eval(),
        tokenizer=tokenizer,
        template=replace(template, types=template.types and _wants_types(folder, told)),
        parameters=parameters,
        stored=tuple(sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()})),
        weights=weights,
        usual_length=_usual_length(folder, told, int(model.max_length)),  # type: ignore[arg-type]
    )


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return _read_object(path) if path.is_file() else {}


def _usual_length(folder: Path, told: Mapping[str, Any], max_length: int) -> int:
    """model_max_length, which transformers writes as 10^30 where nobody chose it."""
    asked = told.get("model_max_length")
    if asked is None:
        return max_length
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked >= 16:
        path = folder / "tokenizer_config.json"
        raise CheckpointError(f"{path}: model_max_length should be a number of tokens, 16 or more, not {asked!r}")
    return int(min(asked, max_length))


def _wants_types(folder: Path, told: Mapping[str, Any]) -> bool:
    """False where the model's inputs are named and token types are none of them: transformers drops them then."""
    names = told.get("model_input_names", ["token_type_ids"])
    if not isinstance(names, list):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: model_input_names should be a list, not {names!r}")
    return "token_type_ids" in names


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder, as it stands."""
    path = folder / "config.json"
    try:
        found, there = folder.is_dir(), path.is_file()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise CheckpointError(f"{folder} is not a folder; a model is one with config.json, tokenizer.json and weights")
    if not there:
        raise CheckpointError(f"{folder} lacks config.json; a model is a folder with it, tokenizer.json and weights")
    return _read_object(path)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(read, dict):
        raise CheckpointError(f"{path} should hold an object, not a {type(read).__name__}")
    return read


def read_tensors(folder: Path) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """As read_stored, but every matrix whole that is stored in 4 bits a weight."""
    files, stored = read_stored(folder)
    return files, unpacked(stored)


def read_stored(folder: Path) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The weights of a folder and the files they are in: safetensors before .bin, one file or shards with an index."""
    for stem, read in (("model.safetensors", _read_safetensors), ("pytorch_model.bin", _read_pickle)):
        if (folder / stem).is_file():
            return (stem,), _plain(folder / stem, read(folder / stem))
        index = folder / f"{stem}.index.json"
        if index.is_file():
            return _read_shards(index, read)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "nothing"
    raise CheckpointError(
        f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards; it has {found}"
    )


def _read_shards(index: Path, read: Any) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    try:
        place: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = tuple(sorted(set(place.values())))
    except OSError as error:
        raise CheckpointError(f"{index} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f'{index} should be JSON with a "weight_map" of tensor names to files') from error
    outside = [file for file in files if not isinstance(file, str) or Path(file).name != file]
    if outside:
        raise CheckpointError(f"{index} names a file outside its folder: {outside[0]!r}")
    absent = [file for file in files if not (index.parent / file).is_file()]
    if absent:
        raise CheckpointError(f"{index.parent} lacks {len(absent)} of {len(files)} shards, first {absent[0]!r}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _plain(index.parent / file, read(index.parent / file))
    lost = [name for name in place if name not in tensors]
    if lost:
        raise CheckpointError(f"{index} promises {len(lost)} tensors that no shard holds, first {lost[0]!r}")
    return files, tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or incomplete ({path.stat().st_size:,} bytes): {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged zip, a truncated stream and a refused class each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as plain weights: {reason}") from error
    flat = isinstance(tensors, dict) and all(isinstance(t, Tensor) for t in tensors.values())
    if not flat or not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(f"{path} should hold a flat dictionary of names and tensors")
    return tensors


def _plain(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file; CheckpointError where one is none that could be weights."""
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided:
            met = "is sparse"
        elif tensor.device.type != "cpu":
            met = "has a shape and no content"
        elif tensor.ndim == 0:
            met = "is a lone number"
        # Quantized weights mean nothing without their scales; 4-bit blocks are ours, and position ids a buffer.
        elif not tensor.is_floating_point() and not name.endswith((NIBBLES, ".position_ids")):
            met = f"holds {str(tensor.dtype).removeprefix('torch.')}"
        else:
            continue
        raise CheckpointError(f"{path}: {name} {met}; weights are arrays of floating-point numbers")
    return tensors


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> int:
    """Give the model its tensors in float32 and return how many parameters it has; refuse any that does not fit."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()}
    if "head.out.weight" in tensors and tensors["head.out.weight"].shape[0] != 1:
        raise CheckpointError(
            f"{folder}: its classifier has {tensors['head.out.weight'].shape[0]} outputs; a reranker has one"
        )
    missing = [name for name in wanted if name not in tensors]
    if missing:
        hint = "; this looks like an encoder without a classifier" if all(n.startswith("head") for n in missing) else ""
        raise CheckpointError(f"{folder} lacks {len(missing)} tensors, first {missing[0]!r} (our name){hint}")
    extra = [name for name in tensors if name not in wanted]
    if extra:
        raise CheckpointError(
            f"{folder} has {len(extra)} tensors that this architecture does not use, first {extra[0]!r}"
        )
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            found = list(tensors[name].shape)
            raise CheckpointError(f"{folder}: {name} (our name) has shape {found}, not {list(shape)}")
    model.load_state_dict({name: _aligned(name, tensor.float()) for name, tensor in tensors.items()}, assign=True)
    return sum(parameter.numel() for parameter in model.parameters())


def _aligned(name: str, tensor: Tensor) -> Tensor:
    """The tensor at an address such as torch itself would choose.

    A file's header decides where its tensors begin, and CPU matrix products round by that: the same weights in another
    file would give other last bits. Embeddings are only looked up, and stay where the file is mapped.
    """
    return tensor if name.startswith("embeddings.") or tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()
