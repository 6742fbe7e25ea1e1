"""The run card: what was measured, on what, by which versions, on which machine, by which command."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from crossrank.evaluate.run import Options, Table
from crossrank.evaluate.systems import System

__all__ = ["run_card"]

PACKAGES = ("crossrank", "torch", "tokenizers", "bm25s", "ir-measures", "pytrec-eval-terrier", "numpy")
PEERS = {"biencoder": "sentence-transformers", "crossencoder": "sentence-transformers", "flashrank": "flashrank"}


def run_card(
    tables: Sequence[Table], systems: Sequence[System], options: Options, command: Sequence[str]
) -> dict[str, Any]:
    """A JSON object. The data's and the models' hashes are SHA-256 of their content."""
    packages = {*PACKAGES, *(PEERS[str(s.card["kind"])] for s in systems if s.card["kind"] in PEERS)}
    return {
        "command": shlex.join(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": {key: value for key, value in asdict(options).items() if key != "work"},
        "systems": {system.name: system.card for system in systems},
        "collections": {
            table.collection.name: {
                "source": table.collection.source,
                "sha256": table.collection.digest,
                "documents": len(table.collection.documents),
                "queries": len(table.queries),
                "usable_queries": len(table.collection.usable),
                "gap": asdict(table.gap),
            }
            for table in tables
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in sorted(packages)}},
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
    }


def _version(package: str) -> str | None:
    """The installed version; a checkout that was never installed still knows its own."""
    if package == "crossrank":
        import crossrank

        return crossrank.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
