"""The scripts under recipes/, imported as they import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@contextmanager
def modules_of(name: str) -> Iterator[Callable[[str], ModuleType]]:
    """`imported("train")` imports a module of recipes/NAME, and only here: several recipes have a train.py."""
    names = {path.stem for path in RECIPES.glob("*/*.py")}
    hidden = {each: sys.modules.pop(each) for each in names if each in sys.modules}
    path = list(sys.path)
    sys.path.insert(0, str(RECIPES / name))
    try:
        yield importlib.import_module
    finally:
        sys.path[:] = path
        for each in names:
            sys.modules.pop(each, None)
        sys.modules.update(hidden)


def run(module: ModuleType, patch: pytest.MonkeyPatch, *arguments: object) -> None:
    """A script with these arguments."""
    patch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
    module.main()
