"""Help pages out of the lazy-load files (.rdb) of R packages, without R: its serialisation, and Rd's tree as prose."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WANTED = ("\\description", "\\details", "\\format", "\\value", "\\note", "\\arguments", "\\section")
HIDDEN = ("COMMENT", "\\preformatted", "\\eqn", "\\deqn", "\\if", "\\ifelse", "\\out", "\\Sexpr", "\\tabular")


@dataclass
class Node:
    """A vector of R with its Rd_tag."""

    value: Any
    tag: str


class Stream:
    """R's binary serialisation (XDR), as far as help pages need it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 14
        self.references: list[Any] = []
        if self.data[2:6] == b"\0\0\0\3":  # from version 3 on the native encoding is named
            self.place += 4 + struct.unpack_from(">i", data, 14)[0]

    def number(self) -> int:
        self.place += 4
        return int(struct.unpack_from(">i", self.data, self.place - 4)[0])

    def refer(self, value: Any) -> Any:
        self.references.append(value)
        return value

    def item(self) -> Any:
        flags = self.number()
        kind, attributes, tagged = flags & 255, flags & 512, flags & 1024
        if kind in (2, 5, 6):  # pairs
            return self.pairs(attributes, tagged)
        if kind == 1:
            return self.refer(self.item())
        if kind == 255:
            return self.references[(flags >> 8 or self.number()) - 1]
        if kind in (247, 249, 250):  # names of environments
            self.number()
            return self.refer([self.item() for _ in range(self.number())])
        if kind == 4:
            self.refer(None)
            self.number()
            return [self.item() for _ in range(4)]
        if kind == 238:
            return [self.item() for _ in range(3)]
        value: Any = None
        if kind == 9:
            length = max(0, self.number())
            self.place += length
            return self.data[self.place - length : self.place].decode("utf-8", "replace")
        if kind in (10, 13, 14, 24):
            size = self.number() * {14: 8, 24: 1}.get(kind, 4)
            self.place += size
        elif kind in (16, 19, 20):
            value = [self.item() for _ in range(self.number())]
        elif kind < 238:
            raise ValueError(f"R's type {kind}")
        tag = self.item().get("Rd_tag") if attributes else None
        return Node(value, tag.value[0] if tag else "")

    def pairs(self, attributes: int, tagged: int) -> dict[str, Any]:
        if attributes:
            self.item()
        name = self.item() if tagged else ""
        found = {name: self.item()}
        rest = self.item()
        return found | rest if isinstance(rest, dict) else found


def words(node: Any) -> str:
    """The text of a part of a page."""
    if not isinstance(node, Node) or node.tag in HIDDEN or node.value is None:
        return node if isinstance(node, str) else ""
    if node.tag == "\\item" and len(node.value) == 2:
        return "\n\n" + ": ".join(words(each).strip() for each in node.value)
    return ("\n\n" if node.tag == "\\item" else "") + "".join(words(each) for each in node.value)


def rd_pages(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Title and paragraphs of every section of every page in a file."""
    data = path.read_bytes()
    while len(data) > 4:
        inflated = zlib.decompressobj()
        page = Stream(inflated.decompress(data[4:])).item()
        data = inflated.unused_data
        if not isinstance(page, Node) or not isinstance(page.value, list):
            continue
        parts = [part for part in page.value if isinstance(part, Node)]
        title = next((" ".join(words(part).split()) for part in parts if part.tag == "\\title"), "")
        for part in parts:
            if part.tag in WANTED:
                yield title, re.split(r"\n\s*\n", words(part))
