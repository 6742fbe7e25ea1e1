"""Texts that Debian carries in many languages, aligned: descriptions of packages, LibreOffice's help, GNOME's help."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

from tongues import tongue

LEAST, MOST = 60, 2000  # characters of a text
HEADING = re.compile(r'<h[1-4] id="(hd_id\w+)"[^>]*>(.*?)</h[1-4]>', re.DOTALL)
MALLARD = "{http://projectmallard.org/1.0/}"


@dataclass(frozen=True)
class Passage:
    """A title and the text below it."""

    title: str
    text: str


Aligned = dict[str, dict[str, Passage]]  # what is the same in every language -> language -> the text in it


def debian(packages: Path) -> Aligned:
    """Short -> long description of Debian's packages, by the checksum of the English one."""
    aligned: Aligned = {}
    for path in sorted((packages / "lists").glob("*_main_i18n_Translation-*")):
        code = path.name.rpartition("-")[2].replace("%5f", "_")
        language = tongue(code)
        if language is None:
            continue
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            _, _, rest = block.partition("\nDescription-md5: ")
            checksum, _, said = rest.partition(f"\nDescription-{code}: ")
            title, _, body = said.partition("\n")
            text = re.sub(r"\s+", " ", re.sub(r"(?m)^ \.$", "", body)).strip()
            if title and LEAST <= len(text) and "<trans>" not in said:
                aligned.setdefault(checksum, {}).setdefault(language, Passage(title.strip(), text[:MOST]))
    return translated(aligned)


def libreoffice(packages: Path) -> Aligned:
    """Heading -> section of LibreOffice's help, by file and the heading's id."""
    aligned: Aligned = {}
    for folder in sorted((packages / "tree/usr/share/libreoffice/help").iterdir()):
        language = tongue(folder.name)
        if language is None:
            continue
        for path in sorted(folder.glob("text/**/*.html")):
            page = path.read_text(encoding="utf-8").partition('id="DisplayArea"')[2].partition("<footer")[0]
            parts = HEADING.split(page)[1:]
            for name, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
                passage = Passage(spoken(title), spoken(body)[:MOST])
                if len(passage.text) >= LEAST and passage.title:
                    key = f"{path.relative_to(folder)} {name}"
                    aligned.setdefault(key, {}).setdefault(language, passage)
    return translated(distinct(aligned))


def gnome(packages: Path) -> Aligned:
    """Title -> page of GNOME's help, by file."""
    aligned: Aligned = {}
    for folder in sorted((packages / "tree/usr/share/help").iterdir()):
        language = tongue("en" if folder.name == "C" else folder.name)
        if language is None:
            continue
        for path in sorted(folder.glob("**/*.page")):
            page = ElementTree.parse(path).getroot()
            title = page.find(f"{MALLARD}title")
            texts = [each for each in page if each.tag not in (f"{MALLARD}title", f"{MALLARD}info")]
            described = page.find(f"{MALLARD}info/{MALLARD}desc")
            whole = [described, *texts] if described is not None else texts
            text = " ".join(" ".join("".join(each.itertext()).split()) for each in whole)
            if title is not None and len(text) >= LEAST:
                passage = Passage(" ".join("".join(title.itertext()).split()), text[:MOST])
                aligned.setdefault(str(path.relative_to(folder)), {}).setdefault(language, passage)
    return translated(distinct(aligned))


def spoken(html: str) -> str:
    """The words of a piece of HTML."""
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(bare).split())


def distinct(aligned: Aligned) -> Aligned:
    """Without titles that several texts of a language have: nobody could say which of them answers."""
    seen = Counter((language, each.title) for versions in aligned.values() for language, each in versions.items())
    return {
        key: {language: each for language, each in versions.items() if seen[language, each.title] == 1}
        for key, versions in aligned.items()
    }


def translated(aligned: Aligned) -> Aligned:
    """Without texts that stand in English, wholly or for the most part, under another language."""
    return {
        key: {
            language: each
            for language, each in versions.items()
            if language == "en" or "en" not in versions or not english(each, versions["en"])
        }
        for key, versions in aligned.items()
    }


def english(passage: Passage, original: Passage) -> bool:
    """Whether the title, or a half of the words, is that of the English text."""
    found = set(passage.text.lower().split())
    return passage.title == original.title or 2 * len(found & set(original.text.lower().split())) > len(found)
