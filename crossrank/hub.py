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
    try:
        for folder in (Path(name).expanduser(), BUNDLED / name):
            if name and folder.is_dir():
                return folder
    except (OSError, RuntimeError) as error:  # a name too long for a path, a folder closed to us, nobody's home
        reason = getattr(error, "strerror", None) or error
        raise ModelNotFound(f"{name[:80]!r} cannot be looked for as a folder: {reason}") from error
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
    try:
        folder = _fetched(name, WEIGHTS)
        if not any(folder.glob("*.safetensors")):
            folder = _fetched(name, PICKLED)
    except Exception as error:  # as below
        reason = (str(error).strip().splitlines() or ["no more is known"])[0]
        raise ModelNotFound(
            f"{name!r} is not a folder here and could not be had from the hub ({type(error).__name__}: {reason}). "
            f"Where there is a network: `hf download {name} --local-dir model`; "
            "then copy that folder here and give its path"
        ) from error
    return folder


def _fetched(name: str, weights: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*weights, *SIDE_FILES]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    # huggingface_hub looks into its cache where there is no connection, but not where a proxy refuses, a line drops or
    # a portal answers in the hub's place; what it raises then depends on its release and on how it read that answer.
    except Exception as error:
        try:
            return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        except Exception:
            raise error from None
