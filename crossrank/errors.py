"""What can go wrong, drawn once. Each error carries the HTTP status and the exit code that a door should answer with.

    CrossrankError                       500   1
    ├── InputError                       422   3    a query, document, pair or option that cannot be scored
    ├── ModelError                       500   4
    │   ├── ModelNotFound                404   4    neither a folder, a bundled name nor a hub name that can be had
    │   ├── CheckpointError              500   4    a folder whose config or tensors we cannot compute exactly
    │   └── DeviceError                  500   4    this device or dtype cannot run here
    └── MissingExtra                     501   5    a wing whose optional packages are not installed

Exit codes of the command line: 0 done · 1 done, but some input lines were bad or a check failed · 2 wrong usage ·
3, 4, 5 as above · 130 interrupted · 141 the reader of standard output went away.
"""

from __future__ import annotations

import importlib.util

__all__ = [
    "CheckpointError",
    "CrossrankError",
    "DeviceError",
    "InputError",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "need",
]


class CrossrankError(Exception):
    """The root of every error that crossrank raises on purpose."""

    status = 500
    exit_code = 1


class InputError(CrossrankError):
    """What the caller sent cannot be scored; the message names the item."""

    status = 422
    exit_code = 3


class ModelError(CrossrankError):
    """The model, not the input, is the problem."""

    exit_code = 4


class ModelNotFound(ModelError):
    """No model has this name here."""

    status = 404


class CheckpointError(ModelError):
    """A model folder is incomplete, damaged, or of an architecture or setting that is not computed here."""


class DeviceError(ModelError):
    """The device or the precision asked for is not available on this machine."""


class MissingExtra(CrossrankError):
    """A wing needs packages that come with an extra."""

    status = 501
    exit_code = 5


def need(*modules: str, extra: str) -> None:
    """Raise MissingExtra unless every top-level module in `modules` can be imported."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"crossrank[{extra}] needs {', '.join(missing)}: pip install 'crossrank[{extra}]'")
