"""The scripts under recipes/, imported as they import each other, and what several of their tests start from."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from crossrank.hub import find

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
THINGS = "bread gravel copper barley ink cedar wool granite salt honey linen clay".split()
PLACES = "Aberdeen Bergen Cadiz Delft Essen Faro Genoa Haarlem Izmir Jena".split()


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


@pytest.fixture(scope="module")
def recipe(request):
    """recipe("train"): a module of the recipe that the test module names as RECIPE."""
    with modules_of(request.module.RECIPE) as imported:
        yield imported


@pytest.fixture
def called(recipe, monkeypatch):
    """called("train", "--out", folder) runs a script of the recipe."""
    return lambda name, *arguments: run(recipe(name), monkeypatch, *arguments)


@pytest.fixture(scope="session")
def english_base(tmp_path_factory) -> Path:
    """A bi-encoder of all-MiniLM-L6-v2's shape, without the package that carries it: mini-en's own encoder."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("base")
    transformers.BertModel.from_pretrained(find("mini-en"), dtype="float32").save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((find("mini-en") / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="session")
def english_candidates(english_base, tmp_path_factory) -> Path:
    """What recipes/mini-en/candidates.py makes of two small sources."""
    folder = tmp_path_factory.mktemp("english")
    facts = [(f"where is {thing} sold in {place}", f"In {place}, {thing} is sold at the harbour.") for thing in THINGS
             for place in PLACES]  # fmt: skip
    for name, rows in {"tldr": facts, "strategyqa_facts": [(f"{q}?", f"Note. {a}") for q, a in facts]}.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps({"query": query, "positive": answer}) + "\n" for query, answer in rows)
    options = ("--data", folder, "--out", folder, "--base", english_base, "--only", "tldr", "strategyqa_facts")
    with modules_of("mini-en") as imported, pytest.MonkeyPatch.context() as patch:
        run(imported("candidates"), patch, *options)
    return folder
