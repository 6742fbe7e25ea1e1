"""Documents that are no plain text -> the text that a model reads: titles, tables and functions, in one way.

    {"text": "...", "title": "..."}                           the title, if any, on a line of its own, then the text
    {"table" or "name": "...", "columns": [...]}              CREATE TABLE name (column TYPE, ...);
    any other object, such as a function's schema             JSON on one line

The last two are how Jina's reranker v2 was given tables and functions. What a model is trained on and what it is
measured on are written by this file alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["render", "render_document"]


def render(title: str, text: object) -> str:
    """A document as a model reads it. Tables and functions that come as objects are written as their schemas.

    A table, {"table" or "name": ..., "columns": [...]}, becomes a CREATE TABLE statement, and any other object JSON,
    which is how Jina's reranker v2 was given tables and functions.
    """
    if isinstance(text, Mapping):
        text = _create_table(text) if isinstance(text.get("columns"), list) else json.dumps(text, ensure_ascii=False)
    return f"{title}\n{text}" if title.strip() else str(text)


def render_document(value: object) -> str:
    """A document as data files hold it: a string, an object with its words under "text", or a schema.

    TypeError when it is none of these, or its title is no string.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"a document should be a string or an object, not {_kind(value)}")
    if "text" not in value:
        return render("", value)
    title, text = value.get("title") or "", value["text"]
    if not isinstance(title, str):
        raise TypeError(f'"title" should be a string, not {_kind(title)}')
    if not isinstance(text, (str, Mapping)):
        raise TypeError(f'"text" should be a string or an object, not {_kind(text)}')
    return render(title, text)


def _create_table(table: Mapping[str, Any]) -> str:
    def column(value: object) -> str:
        if isinstance(value, Mapping):
            return f"{value.get('name', '')} {value.get('type', 'TEXT')}"
        return str(value)

    name = table.get("table") or table.get("name") or "table"
    return f"CREATE TABLE {name} ({', '.join(map(column, table['columns']))});"


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
