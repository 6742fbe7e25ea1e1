"""One reader for each format that the packages' prose comes in: a file becomes sections."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lazyload import rd_pages

Section = tuple[str, list[str]]  # a title, paragraphs
HEADING = "\x01"  # stands before a paragraph that is a heading


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix in (".gz", ".dz") else data).decode("utf-8", "replace")


def sections(marked: str, title: str = "") -> Iterator[Section]:
    """Sections of a text of paragraphs between blank lines, some of them headings."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", marked):
        if block.strip().startswith(HEADING):
            yield title, blocks
            title, blocks = " ".join(block.replace(HEADING, " ").split()), []
        elif len(block.split()) >= (3 if block.rstrip().endswith((".", "!", "?", ":")) else 8):
            blocks.append(block)
    yield title, blocks


def bare(markup: str) -> str:
    """HTML, Mallard and DocBook without their tags; headings are marked, listings dropped."""
    dropped = r"<(script|style|head|nav|footer|pre|programlisting|screen|info|code\s[^>]*mime)\b.*?</\1>|<!--.*?-->"
    text = re.sub(dropped, "\n\n", markup, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"<(h[1-6]|title)\b[^>]*>(.*?)</\1>", rf"\n\n{HEADING}\2\n\n", text, flags=re.DOTALL)
    text = re.sub(r"</?(p|div|li|dd|dt|td|th|tr|table|ul|ol|dl|section|para|item|entry|br|hr)\b[^>]*>", "\n\n", text)
    text = re.sub(r"<[^>]*>", "", text)
    text = re.sub(r"&k([a-z]+);", lambda name: f"K{name[1].title()}", text)  # KDE's documents name programs so
    return unescape(re.sub(r"&kde;", "KDE", text)).replace("¶", "")


def markup(path: Path) -> Iterator[Section]:
    yield from sections(bare(text_of(path)))


def plain(path: Path) -> Iterator[Section]:
    """Text and reStructuredText: a heading is underlined, what is indented after `::` is a listing."""
    text = re.sub(r"(?m)^(\S.{2,})\n([=\-~^*#\"'])\2{2,}$", rf"\n{HEADING}\1\n", text_of(path))
    text = re.sub(r"::\n\s*\n(?:[ \t]+.*\n|\s*\n)+", ".\n\n", text)
    text = re.sub(r"(?m)^\.\. .*\n(?:[ \t]+:.*\n)*", "\n", text)
    yield from sections(re.sub(r":\w+:`([^`<]*)[^`]*`|``?([^`]*)``?", r"\1\2", text), path.name.split(".")[0])


def manual(path: Path) -> Iterator[Section]:
    """A manual page in the man macros."""
    text = re.sub(r"(?ms)^\.(?:nf|EX)$.*?^\.(?:fi|EE)$|^\.[\\']?\\?\".*?$", "", text_of(path))
    text = re.sub(r'(?m)^\.(?:SH|SS) "?(.*?)"?$', rf"\n{HEADING}{path.name.split('.')[0]} \1\n", text)
    text = re.sub(r"(?m)^\.(?:PP|TP|IP|P|LP|HP|RS|RE|br|sp).*$", "\n", text)
    text = re.sub(r"(?m)^\.(?:[BIR]{1,2}|SM|SB) (.*)$", lambda line: line[1].replace('"', ""), text)
    text = re.sub(r"(?m)^[.'].*$", "", text)
    text = re.sub(r"\\f(?:\[\w*\]|\(..|.)|\\[&/|^:c]|\\s[+-]?\d", "", text)
    yield from sections(re.sub(r"\\\((aq|cq)|\\\[aq\]", "'", text).replace("\\-", "-").replace("\\e", "\\"))


def pod(path: Path) -> Iterator[Section]:
    text = re.sub(r"(?m)^=(?:head\d|item) (.*)$", rf"\n{HEADING}\1\n", text_of(path))
    text = re.sub(r"(?m)^=.*$|^[ \t]+\S.*$", "", text)
    yield from sections(re.sub(r"[A-Z]<+ ?([^<>|]*)(?:\|[^<>]*)?>+", r"\1", text), path.stem)


def dictionary(path: Path) -> Iterator[Section]:
    """dictd's format: an index of headwords, places and lengths, both in base 64."""
    digits = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
    data = gzip.decompress(path.read_bytes())
    headwords: dict[tuple[int, int], list[str]] = {}
    for line in path.with_name(path.name.replace(".dict.dz", ".index")).read_text(encoding="utf-8").splitlines():
        word, *numbers = line.split("\t")[:3]
        start, length = (sum(digits[c] * 64**i for i, c in enumerate(reversed(number))) for number in numbers)
        if not word.startswith("00"):
            headwords.setdefault((start, length), []).append(word)
    for (start, length), words in headwords.items():
        entry = data[start : start + length].decode("utf-8", "replace")
        entry = re.sub(r"\[1913 Webster\]|\[PJC\]|\[\w+ \d{4}\]|[{}]|<[^>]*>| ?\\[^\\]+\\( \([^)]*\))?", "", entry)
        headword = next((word for word in words if entry.lower().startswith(word.lower())), words[0])
        yield headword, re.split(r"\n\s*\n", entry)


def wordnet(path: Path) -> Iterator[Section]:
    """All senses of a word, from data.POS and index.POS."""
    rows = {line[:8]: line for line in path.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()}
    for line in path.with_name(path.name.replace("data", "index")).read_text(encoding="utf-8").splitlines():
        word, *fields = line.split()
        senses = [rows[field] for field in fields if len(field) == 8 and field in rows]
        if senses and not line.startswith(" "):
            name = word.replace("_", " ")
            glosses = [row.partition("| ")[2].strip().replace('"', "") for row in senses]
            yield name, [f"{name}: {gloss}." for gloss in glosses]


def descriptions(path: Path) -> Iterator[Section]:
    """Debian's long descriptions of packages."""
    for block in text_of(path).split("\n\n"):
        name = block.partition("\n")[0].removeprefix("Package: ")
        title, _, body = block.partition("\nDescription-en: ")[2].partition("\n")
        yield f"{name}: {title}", re.split(r"\n \.\n", body)


def json_texts(path: Path) -> Iterator[Section]:
    """Every object's description, under its name or the key that it is found at."""

    root = json.loads(text_of(path))
    whole = root.get("title") or root.get("metadata", {}).get("serviceFullName") if isinstance(root, dict) else None

    def walk(node: Any, key: str) -> Iterator[Section]:
        if isinstance(node, list):
            for each in node:
                yield from walk(each, key)
        elif isinstance(node, dict):
            name = next((node[k] for k in ("title", "name", "id") if isinstance(node.get(k), str)), key)
            for k in ("description", "documentation", "desc", "text"):
                texts = node.get(k)
                texts = [each for each in texts if isinstance(each, str)] if isinstance(texts, list) else [texts]
                if texts and isinstance(texts[0], str):
                    title = f"{whole}: {name}" if whole and name != whole else name
                    yield title, [block for text in texts for block in bare(text).split("\n\n")]
            for k, each in node.items():
                yield from walk(each, k)

    yield from walk(root, path.stem)


def quoted(path: Path) -> Iterator[Section]:
    """Stories and help inside a game's data: what stands in marks for translation, or in backquotes."""
    text = text_of(path).replace("\\\n", "").replace("?nodd:", "")
    found = re.findall(r'_ ?\(?\s*"((?:[^"\\]|\\.)+)"|`([^`]+)`', text)
    texts = ["".join(pair).replace("\\n", "\n").replace('\\"', '"') for pair in found]
    blocks = [block for text in texts for block in re.split(r"\n\s*\n", re.sub(r"<[^>]*>", "", text))]
    yield re.sub(r"^\d+|[_-]", " ", path.stem).strip(), [block for block in blocks if len(block.split()) >= 4]


def between_signs(path: Path) -> Iterator[Section]:
    """Texts between lines of %, in crawl's database with a name as their first line."""
    for entry in re.split(r"(?m)^%+$", re.sub(r"(?m)^#.*$", "", text_of(path))):
        name, _, rest = entry.strip().partition("\n\n")
        named = len(name.split()) < 6 and bool(rest)
        yield (name, rest.split("\n\n")) if named else ("", [entry])


def metamath(path: Path) -> Iterator[Section]:
    """The comment before each statement of set.mm: what the theorem says, in words."""
    for comment, label in re.findall(r"\$\( ([^$]*?) \$\)\s+(\S+) \$[ap]", text_of(path)):
        yield label, [re.sub(r"`[^`]*`|\(Contributed by.*?\)|\(Proof .*?\)|[~_]", "", comment, flags=re.DOTALL)]


def ontology(path: Path) -> Iterator[Section]:
    """Terms of an OBO file with their definitions and comments."""
    for term in text_of(path).split("[Term]\n")[1:]:
        name = re.search(r"(?m)^name: (.*)$", term)
        said = re.findall(r'(?m)^(?:def: "((?:[^"\\]|\\.)*)"|comment: (.*)$)', term)
        kinds = re.findall(r"(?m)^is_a: \S+ ! (.*)$", term)
        blocks = ["".join(pair).replace('\\"', '"') for pair in said] + [f"A kind of {', '.join(kinds)}."] * bool(kinds)
        yield (name[1] if name else ""), [f"{name[1]}: {blocks[0]}", *blocks[1:]] if name and said else []


def diagnoses(path: Path) -> Iterator[Section]:
    """ICD-10-CM: a diagnosis, what it includes and excludes, and the diagnoses below it."""
    kinds = {"inclusionTerm": "Includes", "includes": "Includes", "excludes1": "Excludes", "excludes2": "Not included"}
    for node in ElementTree.parse(path).iter("diag"):
        said = [f"{node.findtext('desc')}."]
        for tag, kind in kinds.items():
            notes = [note.text or "" for note in node.findall(f"{tag}/note")]
            said += [f"{kind}: {'; '.join(notes)}."] * bool(notes)
        said += [f"{each.findtext('desc')}." for each in node.findall("diag")]
        yield node.findtext("desc", ""), [" ".join(said)]


def scripture(path: Path) -> Iterator[Section]:
    """A SWORD module: deflated books, and an index of their places and lengths."""
    data, index = path.read_bytes(), path.with_suffix(".bzs").read_bytes()
    for start, length, _ in struct.iter_unpack("<3i", index):
        if length:
            text = zlib.decompressobj().decompress(data[start : start + length]).decode("utf-8", "replace")
            chapters = re.split(r"<chapter\b[^>]*>", re.sub(r"<note.*?</note>", "", text, flags=re.DOTALL))
            yield "", [" ".join(bare(chapter).split()) for chapter in chapters]


def rd(path: Path) -> Iterator[Section]:
    """Help pages of an R package, as R keeps them."""
    yield from rd_pages(path)
