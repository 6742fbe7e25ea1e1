"""A collection: documents, queries and judgements, from a BEIR folder, a TREC folder or an ir_datasets id.

For measuring a model, and for watching one that is trained: both read the same files in the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crossrank.errors import InputError, MissingExtra, need
from crossrank.rendering import render

__all__ = ["Collection", "Gap", "chosen_queries", "open_collection"]

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Gap:
    """What a collection holds but an evaluation cannot use; each is counted, and said.

    empty: queries without text. unjudged: queries without a judgement. hopeless: queries whose judgements name no
    relevant document. strangers: judgements of queries or documents that the collection has not got; a relevant
    document among them still counts against recall, as it does in trec_eval.
    """

    empty: int
    unjudged: int
    hopeless: int
    strangers: int

    def __str__(self) -> str:
        parts = [
            (self.empty, "empty queries left out"),
            (self.unjudged, "unjudged queries left out"),
            (self.hopeless, "queries without a relevant document left out"),
            (self.strangers, "judgements of queries or documents that are not there"),
        ]
        return ", ".join(f"{count:,} {what}" for count, what in parts if count)


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Texts and judgements by id. A document's text is its title and its body, one line each.

    qrels: query -> document -> gain; a gain of 1 or more is relevant. candidates: the documents that a query came
    with, where the collection says so. digest: SHA-256 of all of it.
    """

    name: str
    source: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        sha = hashlib.sha256()
        for part in (self.documents, self.queries, self.candidates, self.qrels):
            for item in part.items():
                sha.update(json.dumps(item).encode())
            sha.update(b"\n")
        return sha.hexdigest()

    @property
    def usable(self) -> list[str]:
        """Queries with text and at least one relevant document, in the collection's order."""
        return [query for query, text in self.queries.items() if text.strip() and self.relevant(query)]

    def relevant(self, query: str) -> set[str]:
        return {document for document, gain in self.qrels.get(query, {}).items() if gain > 0}

    def gap(self) -> Gap:
        written = [query for query, text in self.queries.items() if text.strip()]
        judged = [query for query in written if self.qrels.get(query)]
        return Gap(
            empty=len(self.queries) - len(written),
            unjudged=len(written) - len(judged),
            hopeless=sum(not self.relevant(query) for query in judged),
            strangers=sum(
                query not in self.queries or document not in self.documents
                for query, gains in self.qrels.items()
                for document in gains
            ),
        )

    def only(self, prefix: str) -> Collection:
        """The queries and documents whose ids begin with `prefix`: one language of a collection of many, say."""
        if not prefix:
            return self
        documents = {key: text for key, text in self.documents.items() if key.startswith(prefix)}
        queries = {key: text for key, text in self.queries.items() if key.startswith(prefix)}
        if not documents or not queries:
            raise InputError(
                f"{self.name}#{prefix}: {len(documents)} documents and {len(queries)} queries have ids that begin so"
            )
        return Collection(
            name=f"{self.name}#{prefix}",
            source=f"{self.source}#{prefix}",
            documents=documents,
            queries=queries,
            qrels={query: gains for query, gains in self.qrels.items() if query in queries},
            candidates={query: found for query, found in self.candidates.items() if query in queries},
        )


def chosen_queries(collection: Collection, limit: int | None, seed: int = 0) -> list[str]:
    """The usable queries, or a sample of `limit` of them, in the collection's order.

    The sample is by hash, so a smaller limit takes a part of what a larger one takes, and the order of the file, which
    often follows a topic, does not choose.
    """
    queries = collection.usable
    if limit is None or limit >= len(queries):
        return queries
    drawn = sorted(queries, key=lambda query: hashlib.sha256(f"{seed}:{query}".encode()).digest())[:limit]
    kept = set(drawn)
    return [query for query in queries if query in kept]


def open_collection(spec: str) -> Collection:
    """`FOLDER`, `FOLDER#PREFIX` or `irds:ID` -> Collection. InputError names what is not there or cannot be read."""
    from crossrank.collections.beir import is_beir, read_beir
    from crossrank.collections.trec import is_trec, read_trec

    if spec.startswith("irds:"):
        return _read_ir_dataset(spec.removeprefix("irds:"))
    path, _, prefix = spec.partition("#")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"collection {spec!r}: no folder {path!r} here, no suite of that name, and no irds:ID")
    if is_beir(folder):
        return _whole(read_beir(folder)).only(prefix)
    if is_trec(folder):
        return _whole(read_trec(folder)).only(prefix)
    found = ", ".join(sorted(each.name for each in folder.iterdir())[:12]) or "nothing"
    raise InputError(
        f"collection {spec!r}: a BEIR folder has corpus.jsonl, queries.jsonl and qrels.tsv or qrels/test.tsv, "
        f"a TREC folder corpus*, topics* and qrels*; this one has {found}"
    )


def _whole(collection: Collection) -> Collection:
    """Refuse a collection that nothing could be measured on."""
    for what, part in (("document", collection.documents), ("query", collection.queries)):
        if not part:
            raise InputError(f"collection {collection.source} has no {what}")
    if not collection.usable:
        raise InputError(f"collection {collection.source}: no query has both text and a relevant document")
    return collection


def _read_ir_dataset(name: str) -> Collection:
    try:
        need("ir_datasets", extra="evaluate")
    except MissingExtra as error:
        raise MissingExtra(f"irds:{name} needs ir_datasets and a network: pip install ir_datasets") from error
    import ir_datasets  # type: ignore[import-not-found,unused-ignore]

    try:
        dataset = ir_datasets.load(name)
    except KeyError as error:
        raise InputError(f"irds:{name}: ir_datasets knows no such id; its site, ir-datasets.com, lists them") from error
    if not (dataset.has_docs() and dataset.has_queries() and dataset.has_qrels()):
        raise InputError(f"irds:{name} lacks documents, queries or judgements; most ids need a part such as /test")
    qrels: dict[str, dict[str, int]] = {}
    for qrel in dataset.qrels_iter():
        qrels.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    documents = {}
    for document in dataset.docs_iter():
        title = getattr(document, "title", "")
        body = getattr(document, "text", None)
        documents[document.doc_id] = render(title or "", document.default_text() if body is None else body)
    queries = {query.query_id: query.default_text() for query in dataset.queries_iter()}
    return _whole(Collection(name.replace("/", "-"), f"irds:{name}", documents, queries, qrels))
