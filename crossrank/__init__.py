"""Rerank documents for a query: `Reranker.load().rank(query, documents)`. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossrank.errors import CheckpointError as CheckpointError
    from crossrank.errors import CrossrankError as CrossrankError
    from crossrank.errors import DeviceError as DeviceError
    from crossrank.errors import InputError as InputError
    from crossrank.errors import MissingExtra as MissingExtra
    from crossrank.errors import ModelError as ModelError
    from crossrank.errors import ModelNotFound as ModelNotFound
    from crossrank.inputs import Pair as Pair
    from crossrank.inputs import Text as Text
    from crossrank.ranking import Hit as Hit
    from crossrank.ranking import Ranking as Ranking
    from crossrank.ranking import Usage as Usage
    from crossrank.reranker import Reranker as Reranker
    from crossrank.windows import Limits as Limits

__version__ = "0.1.0"

# torch takes seconds to import, and `crossrank --help` passes through here: so a name is imported when it is asked for.
HOMES = {
    "CheckpointError": "errors",
    "CrossrankError": "errors",
    "DeviceError": "errors",
    "InputError": "errors",
    "MissingExtra": "errors",
    "ModelError": "errors",
    "ModelNotFound": "errors",
    "Pair": "inputs",
    "Text": "inputs",
    "Hit": "ranking",
    "Ranking": "ranking",
    "Usage": "ranking",
    "Reranker": "reranker",
    "Limits": "windows",
}

__all__ = list(HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'crossrank' has no attribute {name!r}")
    return getattr(import_module(f"crossrank.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
