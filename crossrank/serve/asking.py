"""What every dialect reads a request into, and what it writes a response from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crossrank.inputs import Text
from crossrank.ranking import Hit, Ranking

__all__ = ["Answer", "Ask", "Defaults", "Group", "Timing"]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator chose for fields that a request leaves out. return_documents: on the routes of Jina's shape."""

    return_documents: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """A query, the texts that are scored against it, and the documents that come back: those very values, as sent.

    field: what the request calls the documents.
    """

    query: Text
    texts: list[Text]
    documents: list[object]
    field: str = "documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, whatever its dialect. Most have one group; pairs with queries of their own have one group each.

    truncate: False refuses a request whose text does not fit in one piece. document_tokens: cut documents to so many.
    priority: lower is sooner. options: what the dialect needs again when it writes.
    """

    model: str | None
    groups: list[Group]
    top_n: int | None = None
    return_documents: bool = False
    raw_scores: bool = False
    truncate: bool = True
    document_tokens: int | None = None
    priority: int = 0
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Documents in all groups."""
        return sum(len(group.texts) for group in self.groups)

    def characters(self, query: int | None = None, document: int | None = None) -> int:
        """What goes through the model: each document with its query, of either at most so many characters."""
        total = 0
        for group in self.groups:
            total += len(group.query.text[:query]) * len(group.texts)
            total += sum(len(text.text[:document]) for text in group.texts)
        return total


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds in each stage. compute: in batches that held a part of this request."""

    tokenize: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rankings, one a group, with what a response may say of them. model: the name it is served under.

    search_units: Cohere's, a query with up to 100 documents, where one counts once for each 500 tokens.
    """

    id: str
    created: int
    model: str
    ask: Ask
    rankings: list[Ranking]
    timing: Timing
    search_units: int
    warnings: tuple[str, ...] = ()

    @property
    def ranking(self) -> Ranking:
        """The first group's ranking, which in a rerank request is the only one."""
        return self.rankings[0]

    @property
    def tokens(self) -> int:
        """Every token that went through the model."""
        return sum(ranking.usage.total_tokens for ranking in self.rankings)

    def score(self, hit: Hit) -> float:
        """The score in the scale that was asked for."""
        return hit.logit if self.ask.raw_scores else hit.score

    def in_order(self) -> list[float]:
        """Every score in the order of the request."""
        scores = []
        for ranking in self.rankings:
            scores += [self.score(hit) for hit in sorted(ranking, key=lambda hit: hit.index)]
        return scores
