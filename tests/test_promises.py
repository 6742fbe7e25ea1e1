"""What the design promises of the code as a whole, each kept by a test that reads it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crossrank

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crossrank"
WINGS = ("evaluate", "serve", "train")
SOURCES = sorted(PACKAGE.rglob("*.py"))
CODE = ("crossrank", "tests", "recipes", "benchmarks", "examples")
EVERY_SOURCE = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Every crossrank module that a file imports, wherever in the file and however it is spelled."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                above = package[: len(package) - level + 1] if level else ()
                base = ".".join([*above, *([source] if source else [])])
                yield base
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if re.fullmatch(r"crossrank(\.\w+)+", text):
                yield text  # importlib.import_module("crossrank.serve.app")


def wing(dotted: str) -> str | None:
    """The wing that a dotted module name lies in."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "crossrank" and parts[1] in WINGS else None


def test_imports_are_found_however_they_are_spelled(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "crossrank" / "models" / "sample.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import crossrank.serve\n"
        "def late():\n"
        "    from ..evaluate import measures\n"
        "    from crossrank import train\n"
        "    import_module('crossrank.serve.app')\n"
    )
    assert {wing(target) for target in imported(file)} - {None} == set(WINGS)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_one_way(path):
    """The core imports no wing, wings import the core only, and only the command line imports the command line."""
    here = module(path)
    if here.startswith("crossrank.cli") or here == "crossrank.__main__":
        return
    for target in imported(path):
        assert wing(target) in (None, wing(here)), f"{name(path)} imports {target}"
        assert not target.startswith("crossrank.cli"), f"{name(path)} imports {target}"


@pytest.mark.parametrize("path", EVERY_SOURCE, ids=name)
def test_no_file_is_longer_than_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_absent_on_purpose_stays_absent(path):
    assert path.stem not in {"utils", "common", "helpers", "misc"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(args=ast.arguments(kwarg=ast.arg(arg=tunnel))) if tunnel.startswith("kw"):
                pytest.fail(f"{name(path)}: {node.name} takes **{tunnel}")
            case ast.Global(names=names):
                pytest.fail(f"{name(path)}: global {', '.join(names)}")
            case ast.ClassDef(name=title) if re.search(r"(Manager|Handler|Factory|Helper|Base)$", title):
                pytest.fail(f"{name(path)}: class {title}")
            case ast.Call(func=ast.Name(id="eval" | "exec" as call)):
                pytest.fail(f"{name(path)}: {call}()")
            case ast.keyword(arg="trust_remote_code") | ast.alias(name="pickle"):
                pytest.fail(f"{name(path)} can run a stranger's code")


@pytest.mark.parametrize("path", [path for path in SOURCES if wing(module(path)) is None], ids=name)
def test_every_name_in_all_resolves(path):
    loaded = importlib.import_module(module(path))
    for exported in getattr(loaded, "__all__", ()):
        assert getattr(loaded, exported) is not None


def test_the_public_names_are_the_documented_ones():
    assert {"Hit", "Limits", "Ranking", "Reranker"} <= set(crossrank.__all__)
    assert {"CheckpointError", "CrossrankError", "InputError", "MissingExtra", "ModelError"} <= set(crossrank.__all__)
    assert set(crossrank.__all__) <= set(dir(crossrank))


def test_importing_crossrank_imports_nothing_heavy():
    assert heavy("import crossrank") == ""


@pytest.mark.parametrize("command", [[], ["rank"], ["score"], ["show"], ["mine"], ["teach"], ["student"]], ids=str)
def test_help_imports_nothing_heavy(command):
    """Help that first imports torch takes seconds; how many depends on the machine, the import does not."""
    call = f"import sys; sys.argv = ['crossrank', *{command}, '--help']\nfrom crossrank.cli import main\n"
    assert heavy(f"{call}try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code") == ""


def heavy(code: str) -> str:
    """The heavy packages that a fresh interpreter has imported after running `code`, as text."""
    packages = ("fastapi", "huggingface_hub", "jaxtyping", "numpy", "tokenizers", "torch", "transformers")
    report = f"\nimport sys\nprint(*[p for p in {packages} if p in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize("path", [*(p for p in EVERY_SOURCE if p != Path(__file__)), *DOCUMENTS], ids=name)
def test_the_text_speaks_of_the_product_only(path):
    """No unfinished business, no path of one person's machine, no hint of how the work was organised."""
    text = path.read_text(encoding="utf-8")
    for pattern in (
        r"\b(TODO|FIXME|XXX|HACK)\b",
        r"(?<![\w.])/(work|opt|root|home|tmp)/\w",
        r"\.\./shared",
        r"\b(this session|issue tracker|ticket|issue #?\d+)\b",
        r"\b(blazing|seamless|cutting-edge|state-of-the-art)\b",
    ):
        found = re.search(pattern, text, re.IGNORECASE)
        assert found is None, f"{name(path)} says {found[0]!r}"
