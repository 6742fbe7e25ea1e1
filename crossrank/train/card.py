"""The run card: how a model folder came about. It lies in the folder, as training.json."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import crossrank
from crossrank.errors import InputError
from crossrank.train.recipe import Recipe

__all__ = ["FILE", "better_than", "digest", "read_card", "run_card"]

FILE = "training.json"
PACKAGES = ("accelerate", "datasets", "peft", "sentence-transformers", "tokenizers", "torch", "transformers")


def run_card(
    recipe: Recipe,
    *,
    command: Sequence[str],
    base: Mapping[str, str],
    files: Mapping[str, str],
    dev: str,
    scores: Mapping[str, Mapping[str, float]],
    seconds: float,
    processes: int,
) -> dict[str, Any]:
    """A JSON object. base: the name and SHA-256 of its folder. files: SHA-256 of each data file.

    dev: SHA-256 of what was measured. scores: nDCG@10 by stage and set.
    """
    return {
        "command": shlex.join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "recipe": asdict(recipe),
        "base": dict(base),
        "data": dict(files),
        "dev": dev,
        "scores": {stage: dict(values) for stage, values in scores.items()},
        "score": scores[recipe.stage[-1].name].get("mean"),
        "versions": {
            "python": platform.python_version(),
            "crossrank": crossrank.__version__,
            **{name: version(name) for name in PACKAGES},
        },
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "processes": processes,
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
    }


def read_card(folder: Path) -> dict[str, Any] | None:
    """The run card of a model folder; None if it has none."""
    path = folder / FILE
    if not path.is_file():
        return None
    card = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(card, dict):
        raise InputError(f"{path} should hold an object, not a {type(card).__name__}")
    return card


def better_than(card: Mapping[str, Any] | None, score: float | None, dev: str) -> str | None:
    """Why a model with this card should not be overwritten by one with `score` on `dev`; None if it may be."""
    if card is None:
        return "it has no training.json, so nobody knows how good it is"
    old = card.get("score")
    if old is None or score is None or card.get("dev") != dev:
        return "it was not measured on the same dev sets, so nobody knows which is better"
    return f"it scores {old:.4f}, and this run {score:.4f}" if old >= score else None


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over files, in order."""
    sha = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()
