"""The fields of a request body, read with tolerance: nulls, booleans and numbers as strings, documents of many shapes.

A Body remembers which fields were asked for, so that a strict server can name the ones that nobody knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from crossrank.errors import InputError
from crossrank.inputs import Text, read_side
from crossrank.serve.problems import Problem, field_problem

__all__ = ["Body", "parse", "read_text"]

WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# Far beyond any count that can be meant; a longer number is no count but an attack on int().
LARGEST = 1 << 53
# A number of no more digits is finite as a float, which is how most readers of JSON take it.
MOST_DIGITS = 308
IMAGES = ("image", "image_url", "url", "bytes")


def parse(raw: bytes) -> dict[str, Any]:
    """A JSON object, or a Problem that says what it was instead. RecursionError for one nested too deeply."""
    try:
        value = json.loads(raw, parse_float=_finite, parse_int=_whole, parse_constant=_no_constant)
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise Problem("json", f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Problem("json", f"the body should be a JSON object, not {type(value).__name__}")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    # A document is sent back as it came, and no JSON can carry infinity.
    if math.isinf(number):
        raise Problem("validation", f"the number {digits[:20]} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        _finite(digits)
    return int(digits)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


class Body:
    """The fields of one JSON object. Every getter takes null for absent. most: elements of a list, refused unread."""

    def __init__(self, values: Mapping[str, Any], most: int | None = None) -> None:
        self.values = values
        self.most = most
        self.seen: set[str] = set()

    def get(self, name: str) -> Any:
        """The field as it stands, None where it is absent or null."""
        self.seen.add(name)
        return self.values.get(name)

    def need(self, name: str) -> Any:
        """The field as it stands; a Problem where it is absent or null."""
        value = self.get(name)
        if value is None:
            raise field_problem(name, "is required", None)
        return value

    def known(self, *names: str) -> None:
        """Fields of the dialect that change nothing here."""
        self.seen.update(names)

    def string(self, name: str, default: str | None = None) -> str | None:
        """A string."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise field_problem(name, f"should be a string, not {type(value).__name__}", value)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A boolean, or a word for one in any case."""
        value = self.get(name)
        if value is None:
            return default
        read = value if isinstance(value, bool) else WORDS.get(str(value).strip().lower())
        if read is None:
            raise field_problem(name, "should be true or false", value)
        return read

    def count(self, name: str) -> int | None:
        """A number of things: null, 0 and more than anyone has mean all of them. Strings of digits are read."""
        value = self.get(name)
        if value is not None and self._number(name, value) > LARGEST:
            return None
        number = self.whole(name)
        if number is not None and number < 0:
            raise field_problem(name, "should be 1 or more, or null for all", value)
        return number or None

    def whole(self, name: str) -> int | None:
        """A whole number."""
        value = self.get(name)
        if value is None:
            return None
        number = self.real(name, 0.0)
        if number != int(number):
            raise field_problem(name, "should be a whole number", value)
        return int(number)

    def real(self, name: str, default: float) -> float:
        """A number, and none that is far beyond what can be meant."""
        value = self.get(name)
        if value is None:
            return default
        number = self._number(name, value)
        if abs(number) > LARGEST:
            raise field_problem(name, "is too large a number", value)
        return number

    def _number(self, name: str, value: object) -> float:
        """Infinity for a number that no float can hold."""
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise ValueError
            if isinstance(value, int) and abs(value) > LARGEST:
                return math.inf if value > 0 else -math.inf
            number = float(value)
            if math.isnan(number):
                raise ValueError
        except ValueError as error:
            raise field_problem(name, f"should be a number, not {type(value).__name__}", value) from error
        return number

    def listed(self, name: str) -> list[Any]:
        """A list with something in it."""
        value = self.need(name)
        if not isinstance(value, list):
            raise field_problem(name, f"should be a list, not {type(value).__name__}", value)
        if not value:
            raise field_problem(name, "the list must not be empty", None, kind="empty")
        # Reading each of millions would hold up everyone else.
        if self.most is not None and len(value) > self.most:
            raise Problem("documents", f"{len(value)} {name}; this server takes {self.most} at once")
        return value

    def text(self, name: str) -> Text:
        """A query: a string, or an object that holds one."""
        return read_text(self.need(name), name)

    def texts(self, name: str, fields: Iterable[str] | None = None) -> tuple[list[Text], list[object]]:
        """Documents: their texts, and themselves as sent."""
        sent = self.listed(name)
        chosen = list(fields) if fields is not None else None
        return [read_text(one, f"{name}[{index}]", chosen) for index, one in enumerate(sent)], sent

    def strictly(self) -> None:
        """Refuse fields that no getter has asked for."""
        extra = sorted(set(self.values) - self.seen)
        if extra:
            raise field_problem(extra[0], "is not a field of this request", self.values[extra[0]])


def read_text(value: object, where: str, fields: list[str] | None = None) -> Text:
    """The text of a query or a document.

    A string; an object with a string under "text"; an object with "content", a string or a list of text parts; with
    `fields`, those fields of an object, one a line as "name: value". Pictures are refused: the models here read text.
    """
    if isinstance(value, Mapping):
        if fields is not None:
            lines = [f"{name}: {value[name]}" for name in fields if value.get(name) is not None]
            if not lines:
                raise field_problem(where, f"has none of the rank_fields {', '.join(fields)}", value)
            return Text("\n".join(lines))
        if isinstance(value.get("text"), str):
            return Text(value["text"])
        if "content" in value:
            return _content(value["content"], where)
        if any(value.get(name) is not None for name in IMAGES):
            raise field_problem(where, "is a picture, and this model reads text only", value)
    try:
        return read_side(value, where)
    except InputError as error:
        raise field_problem(where, str(error).partition(": ")[2], value) from error


def _content(content: object, where: str) -> Text:
    if isinstance(content, str):
        return Text(content)
    if not isinstance(content, list):
        raise field_problem(f"{where}.content", "should be a string or a list of parts", content)
    parts = []
    for part in content:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise field_problem(f"{where}.content", "holds a part that is not text; this model reads text only", part)
        parts.append(part["text"])
    return Text("\n".join(parts))
