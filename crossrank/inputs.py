"""People's words become pairs: the only place that reads the shapes people send."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossrank.errors import InputError

__all__ = ["Input", "Pair", "Text", "read_documents", "read_pair", "read_side"]

SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """One side of a pair, in words. A lone surrogate, which no tokenizer can encode, is read as U+FFFD."""

    text: str

    def __post_init__(self) -> None:
        if SURROGATE.search(self.text):
            object.__setattr__(self, "text", SURROGATE.sub("\ufffd", self.text))


@dataclass(frozen=True, slots=True)
class Pair:
    """What one score is about: a query and a document."""

    query: Text
    document: Text


Input = str | Mapping[str, object] | Text


def read_side(value: object, where: str = "input") -> Text:
    """Read a query or a document: a string, an object with a string under "text", or a Text.

    `where` names the item in the InputError that anything else raises.
    """
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Text):
        return value
    if isinstance(value, Mapping):
        if isinstance(value.get("text"), str):
            return Text(value["text"])
        found = ", ".join(map(repr, list(value)[:5])) or "no keys"
        raise InputError(f'{where}: an object must hold a string under "text"; this one has {found}')
    raise InputError(f'{where}: expected a string or {{"text": ...}}, not {type(value).__name__}')


def read_documents(values: object) -> list[Text]:
    """Read a list of documents; a single string, which is also a sequence, is refused."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise InputError(f"documents: expected a list of strings or objects, not {type(values).__name__}")
    return [read_side(value, f"documents[{index}]") for index, value in enumerate(values)]


def read_pair(value: object, where: str = "pair") -> Pair:
    """Read (query, document), [query, document], {"query": ..., "document": ...} or a Pair."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, Mapping):
        absent = [key for key in ("query", "document") if key not in value]
        if absent:
            raise InputError(f'{where}: expected "query" and "document"; {" and ".join(absent)} missing')
        return Pair(read_side(value["query"], f"{where}.query"), read_side(value["document"], f"{where}.document"))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and len(value) == 2:
        return Pair(read_side(value[0], f"{where}.query"), read_side(value[1], f"{where}.document"))
    count = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    raise InputError(f"{where}: expected (query, document), not {type(value).__name__}{count}")
