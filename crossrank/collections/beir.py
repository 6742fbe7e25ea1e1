"""BEIR folders: corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossrank.collections import Collection
from crossrank.errors import InputError
from crossrank.lines import BadLines, json_objects, numbered
from crossrank.rendering import render_document

__all__ = ["is_beir", "new_id", "read_beir", "read_qrels_tsv"]

QRELS = ("qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv")


def is_beir(folder: Path) -> bool:
    return (folder / "corpus.jsonl").is_file() and (folder / "queries.jsonl").is_file()


def read_beir(folder: Path) -> Collection:
    """A folder as BEIR lays it out; the test judgements before the dev ones.

    `candidates` on a query, a list of document ids, names the documents that it came with.
    """
    qrels = next((folder / name for name in QRELS if (folder / name).is_file()), None)
    if qrels is None:
        raise InputError(f"{folder} has no judgements: none of {', '.join(QRELS)}")
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    candidates: dict[str, tuple[str, ...]] = {}

    def document(row: dict[str, Any]) -> None:
        text = render_document({"title": row.get("title"), "text": row["text"]})
        documents[new_id(documents, row["_id"])] = text

    def query(row: dict[str, Any]) -> None:
        if not isinstance(row["text"], str):
            raise TypeError(f'"text" should be a string, not {type(row["text"]).__name__}')
        key = new_id(queries, row["_id"])
        queries[key] = row["text"]
        if row.get("candidates"):
            candidates[key] = tuple(map(str, row["candidates"]))

    json_objects(folder / "corpus.jsonl", document)
    json_objects(folder / "queries.jsonl", query)
    return Collection(folder.resolve().name, str(folder), documents, queries, read_qrels_tsv(qrels), candidates)


def read_qrels_tsv(path: Path) -> dict[str, dict[str, int]]:
    """query, document and gain separated by tabs, under a line of headings or none."""
    qrels: dict[str, dict[str, int]] = {}
    bad = BadLines(path)
    for number, line in numbered(path):
        fields = line.split("\t")
        if number == 1 and fields[:2] == ["query-id", "corpus-id"]:
            continue
        if len(fields) != 3:
            bad.add(number, f"expected query, document and gain between tabs, and there are {len(fields)} fields")
            continue
        try:
            qrels.setdefault(fields[0], {})[fields[1]] = int(fields[2])
        except ValueError:
            bad.add(number, f"the gain should be a whole number, not {fields[2]!r}")
    bad.stop()
    return qrels


def new_id(known: Mapping[str, str], key: object) -> str:
    """An id as a string; ValueError where it is known already."""
    if str(key) in known:
        raise ValueError(f"the id {key!r} is there twice")
    return str(key)
