"""The modules of mini-en's recipe, which this one shares: its English sources, its choice of candidates, its losses."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / "mini-en"


def mini_en(name: str) -> ModuleType:
    """`mini-en/NAME.py`; while it is imported, names that both folders have, such as `sources`, are its own."""
    shared = [path.stem for path in FOLDER.glob("*.py")]
    ours = {each: sys.modules.pop(each) for each in shared if each in sys.modules}
    sys.path.insert(0, str(FOLDER))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
        for each in shared:
            sys.modules.pop(each, None)
        sys.modules.update(ours)
