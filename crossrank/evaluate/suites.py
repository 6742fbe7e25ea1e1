"""Suites: the collections that people compare rerankers on, each suite a small file under suites/.

title       its name in full
about       what it is, and what is particular about it
measure     what the literature compares by; `also` has further measures
first_stage bm25 (default) or candidates
where       where its data comes from, and how to lay it out
[[collection]]
  name      in tables
  folder    under the data folder; `folder#PREFIX` takes the ids that begin with PREFIX
  irds      the ir_datasets id, used where the folder is not there and ir_datasets is installed
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossrank.errors import InputError

__all__ = ["Member", "Suite", "find_members", "read_suite", "suite_names"]

FOLDER = Path(__file__).parent / "suites"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One collection of a suite."""

    name: str
    folder: str
    irds: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite as its file states it."""

    name: str
    title: str
    about: str
    measure: str
    where: str
    collections: tuple[Member, ...]
    also: tuple[str, ...] = ()
    first_stage: str = "bm25"


def suite_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_suite(name: str) -> Suite:
    """A suite by its name. InputError names the near match, or the key that is wrong in its file."""
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        near = get_close_matches(name, suite_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(suite_names())}"
        raise InputError(f"no suite {name!r}; {hint}")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    members = tuple(Member(**_known(Member, row, path)) for row in content.pop("collection", []))
    content = _known(Suite, content, path)
    content["also"] = tuple(content.get("also", ()))
    return Suite(name=name, collections=members, **content)


def find_members(suite: Suite, data: Path, *, skip_missing: bool = False) -> list[str]:
    """The specs of a suite's collections: folders under `data`, else ir_datasets ids where that is installed.

    What is neither is an InputError that says what to get and where to put it; with `skip_missing` it is left out,
    unless nothing is left.
    """
    networked = find_spec("ir_datasets") is not None
    found, missing = [], []
    for member in suite.collections:
        folder, sharp, prefix = member.folder.partition("#")
        if (data / folder).is_dir():
            found.append(f"{data / folder}{sharp}{prefix}")
        elif networked and member.irds:
            found.append(f"irds:{member.irds}")
        else:
            missing.append(member)
    if missing and not (skip_missing and found):
        raise InputError(_what_to_get(suite, missing, data))
    return found


def _what_to_get(suite: Suite, missing: Sequence[Member], data: Path) -> str:
    def line(member: Member) -> str:
        irds = f", or with a network: pip install ir_datasets (id {member.irds})" if member.irds else ""
        return f"  {data / member.folder.partition('#')[0]}{irds}"

    rows = dict.fromkeys(map(line, missing))
    return (
        f"suite {suite.name} lacks {len(missing)} of its {len(suite.collections)} collections. {suite.where.strip()}\n"
        "Each is a BEIR folder (corpus.jsonl, queries.jsonl, qrels.tsv or qrels/test.tsv):\n" + "\n".join(rows) + "\n"
        "--data FOLDER, or CROSSRANK_DATA, says where the folders are; --skip-missing goes on with those that are there"
    )


def _known(kind: type, row: dict[str, Any], path: Path) -> dict[str, Any]:
    names = {field.name for field in fields(kind)} - {"collections"}
    for key in row:
        if key not in names:
            near = get_close_matches(key, names, n=1)
            raise InputError(f"{path}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return dict(row)
