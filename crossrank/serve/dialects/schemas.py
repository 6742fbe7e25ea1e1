"""Pieces of JSON Schema that the dialects' documentation shares."""

from __future__ import annotations

from typing import Any

__all__ = ["COUNT", "DOCUMENTS", "FLAG", "INDEX", "NUMBER", "OBJECT", "STRING", "STRINGS", "array", "body", "maybe"]

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
INDEX: Schema = {"type": "integer", "minimum": 0}
COUNT: Schema = {"type": ["integer", "null"], "minimum": 0, "description": "How many come back; null and 0: all."}
STRINGS: Schema = {"type": "array", "items": STRING, "minItems": 1}
DOCUMENTS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"oneOf": [STRING, {"type": "object", "properties": {"text": STRING}, "required": ["text"]}]},
    "description": "Strings, or objects with a text; other fields of an object come back as sent.",
}


def maybe(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(**properties: Schema) -> Schema:
    """A list of objects that have all of these."""
    return {"type": "array", "items": body(list(properties), **properties)}


def body(required: list[str], **properties: Schema) -> Schema:
    """An object with these fields."""
    return {"type": "object", "required": required, "properties": properties}
