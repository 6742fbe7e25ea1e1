"""A name -> a local folder: a path, a model that a package brings, or "org/name" on the Hugging Face hub.

mini-en and tiny-en ship with the package. Another package can bring a model, as ours brings mini-multilingual: under
the entry points "crossrank.models" it names the model, and the module in which its folder lies. From the hub come
weights, config and tokenizer only; no code is ever taken from it.
"""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path

from crossrank.errors import ModelNotFound

__all__ = ["BUNDLED", "DEFAULT", "find"]

BUNDLED = Path(__file__).parent / "bundled"
DEFAULT = "mini-en"
COMPANIONS = {"mini-multilingual": "crossrank-mini-multilingual"}  # our models that are packages of their own
WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
PICKLED = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
SIDE_FILES = ["config.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json"]


def find(name: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a model; None is the one that ships with the package. ModelNotFound says how to get it."""
    name = DEFAULT if name is None else os.fspath(name)
    for folder in (Path(name).expanduser(), BUNDLED / name):
        if name and folder.is_dir():
            return folder
    installed = _installed()
    if name in installed:
        return installed[name]
    if name in COMPANIONS:
        raise ModelNotFound(f"model {name!r} is a package of its own, which is not installed: {COMPANIONS[name]}")
    if not _looks_like_hub_name(name):
        here = ", ".join(bundled_names())
        raise ModelNotFound(
            f"no model {name!r}: neither a folder here, nor one of those that are installed ({here}), "
            'nor a hub name like "org/model"'
        )
    return _download(name)


def bundled_names() -> list[str]:
    """The models of ours that are here: those that ship with the package, and companion packages'."""
    return sorted({path.parent.name for path in BUNDLED.glob("*/config.json")} | set(_installed()))


def _installed() -> dict[str, Path]:
    """Companion packages' models and their folders. Their modules are looked up, not imported."""
    folders = {}
    for entry in entry_points(group="crossrank.models"):
        spec = importlib.util.find_spec(entry.module)
        if spec is not None and spec.submodule_search_locations:
            folders[entry.name] = Path(spec.submodule_search_locations[0], entry.name)
    return folders


def _looks_like_hub_name(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*WEIGHTS, *SIDE_FILES]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*PICKLED, *SIDE_FILES]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelNotFound(
            f"{name!r} is not a folder here and could not be had from the hub ({reason}). Where there is a network: "
            f"`hf download {name} --local-dir model`; then copy that folder here and give its path"
        ) from error
    return folder
