"""TREC's formats: topics, qrels, documents in tags, and runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from crossrank.collections import Collection
from crossrank.collections.beir import new_id, read_qrels_tsv
from crossrank.errors import InputError
from crossrank.lines import BadLines, json_objects, numbered
from crossrank.rendering import render_document

__all__ = ["is_trec", "read_qrels", "read_topics", "read_trec", "read_trec_documents"]

TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
NUMBER = re.compile(r"<num>\s*(?:Number:)?\s*([^\s<]+)", re.IGNORECASE)
TITLE = re.compile(r"<title>\s*(?:Topic:)?\s*([^<]*)", re.IGNORECASE)
DOCUMENT = re.compile(r"<doc>(.*?)</doc>", re.DOTALL | re.IGNORECASE)
DOCNO = re.compile(r"<docno>\s*(.*?)\s*</docno>", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"<[^>]*>")


def is_trec(folder: Path) -> bool:
    return all(_files(folder, stem) for stem in ("corpus", "topics", "qrels"))


def _files(folder: Path, stem: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{stem}*") if path.is_file())


def read_trec(folder: Path) -> Collection:
    """A folder with corpus*, topics* and qrels*, each one file or several.

    Documents: JSONL with an id and text, two columns between tabs, or <DOC> elements. Topics: two columns, or <top>
    elements, of which the title is the query.
    """
    documents: dict[str, str] = {}
    for path in _files(folder, "corpus"):
        more = read_trec_documents(path)
        if twice := documents.keys() & more.keys():
            raise InputError(f"{path}: the id {min(twice)!r} is in another file of the corpus too")
        documents |= more
    queries: dict[str, str] = {}
    for path in _files(folder, "topics"):
        queries |= read_topics(path)
    qrels: dict[str, dict[str, int]] = {}
    for path in _files(folder, "qrels"):
        for query, gains in read_qrels(path).items():
            qrels.setdefault(query, {}).update(gains)
    return Collection(folder.resolve().name, str(folder), documents, queries, qrels)


def read_topics(path: Path) -> dict[str, str]:
    """Query id -> text, from two columns between tabs, or from <top> elements with <num> and <title>."""
    lines = list(numbered(path))
    text = "\n".join(line for _, line in lines)
    if "<top>" not in text.lower():
        return _columns(path, lines, "query")
    queries = {}
    for order, body in enumerate(TOPIC.findall(text), 1):
        number, title = NUMBER.search(body), TITLE.search(body)
        if number is None or title is None:
            raise InputError(f"{path}: its topic {order} lacks {'<num>' if number is None else '<title>'}")
        queries[number.group(1)] = " ".join(title.group(1).split())
    opened = text.lower().count("<top>")
    if len(queries) != opened:
        raise InputError(
            f"{path} opens <top> {opened} times, and has {len(queries)} whole topics with numbers of their own"
        )
    return queries


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """query, iteration, document and gain between spaces; or BEIR's three columns between tabs."""
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return read_qrels_tsv(path)
    qrels: dict[str, dict[str, int]] = {}
    bad = BadLines(path)
    for number, line in numbered(path):
        fields = line.split()
        if len(fields) != 4:
            bad.add(number, f"expected query, iteration, document and gain, and there are {len(fields)} fields")
            continue
        try:
            qrels.setdefault(fields[0], {})[fields[2]] = int(fields[3])
        except ValueError:
            bad.add(number, f"the gain should be a whole number, not {fields[3]!r}")
    bad.stop()
    return qrels


def read_trec_documents(path: Path) -> dict[str, str]:
    """Document id -> text of one file of a corpus."""
    if ".jsonl" in path.suffixes:
        documents: dict[str, str] = {}

        def take(row: dict[str, Any]) -> None:
            key = next((row[name] for name in ("_id", "docid", "id", "docno") if name in row), None)
            if key is None:
                raise ValueError('no id: none of "_id", "docid", "id", "docno"')
            text = row["text"] if "text" in row else row["contents"]
            documents[new_id(documents, key)] = render_document({"title": row.get("title"), "text": text})

        json_objects(path, take)
        return documents
    lines = list(numbered(path))
    text = "\n".join(line for _, line in lines)
    if "<docno>" not in text.lower():
        return _columns(path, lines, "document")
    documents = {}
    for order, body in enumerate(DOCUMENT.findall(text), 1):
        found = DOCNO.search(body)
        if found is None:
            raise InputError(f"{path}: its document {order} lacks <DOCNO>")
        documents[found.group(1)] = " ".join(TAG.sub(" ", body.replace(found.group(0), " ")).split())
    return documents


def _columns(path: Path, lines: list[tuple[int, str]], what: str) -> dict[str, str]:
    values: dict[str, str] = {}
    bad = BadLines(path)
    for number, line in lines:
        key, tab, text = line.partition("\t")
        if not tab:
            bad.add(number, f"expected a {what} id, a tab and its text")
        elif key in values:
            bad.add(number, f"the id {key!r} is there twice")
        values[key] = text
    bad.stop()
    return values
