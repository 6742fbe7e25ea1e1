"""English prose of many subjects, unlabelled: passages of 30 to 180 words, one gzipped JSONL a source.

    python passages.py --packages work/packages --out work/passages [NAME ...]

fetch.sh fills the folder of --packages. Every format becomes sections (a title and its paragraphs), every section
becomes passages: short paragraphs joined, long ones split between sentences.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from readers import (
    Section,
    bare,
    between_signs,
    descriptions,
    diagnoses,
    dictionary,
    json_texts,
    manual,
    markup,
    metamath,
    ontology,
    plain,
    pod,
    quoted,
    rd,
    scripture,
    wordnet,
)

Reader = Callable[[Path], Iterator[Section]]
LEAST, MOST, CAP = 30, 180, 40_000  # words of a passage, passages of a source
COMMON = set("the of and to in a is that for it as with be by on or are this from an not which at you can".split())
UNWANTED = re.compile(
    r"WITHOUT (ANY )?WARRANT|GNU (Lesser |Free |Affero )?(General Public|Documentation) Licen|[Cc]opyright (\(|©|[12])"
    r"|Permission is hereby|All rights reserved|\S+@\S+\.\S+|dummy package|transitional package"
)
UNTITLED = re.compile(
    r"author|acknowledg|contributor|credits|licen[sc]|change ?log|copyright|references|see also", re.I
)


@dataclass(frozen=True)
class Source:
    """globs: files of the unpacked packages; skip: paths without the source's prose, or in another language."""

    packages: str
    licence: str
    reader: Reader
    globs: tuple[str, ...]
    skip: str = "$^"


OTHER = r"[/_.-](da|de|de-DE|es|es-ES|fr|fr-FR|it|it-IT|ja|ko|nb|nb-NO|nl|pl|pt|pt-BR|ro|ru|sv|tr|uk|zh\S*)[/_.]"
DOCS = "usr/share/doc/**/*.html"
SOURCES = {
    "gcide": Source("dict-gcide", "GPL-3+", dictionary, ("usr/share/dictd/*.dict.dz",)),
    "foldoc": Source("dict-foldoc", "GFDL", dictionary, ("usr/share/dictd/*.dict.dz",)),
    "dictionaries": Source(
        "dict-jargon dict-vera dict-elements dict-devil",
        "public domain, GPL; vera GFDL-1.1+",
        dictionary,
        ("usr/**/*.dict.dz",),
    ),
    "wordnet": Source("wordnet-base", "WordNet 3.0 (MIT-like)", wordnet, ("usr/share/wordnet/data.*",)),
    "debian": Source("lists", "as the packages, mostly GPL", descriptions, ("*_main_i18n_Translation-en",)),
    "r": Source("r-*", "GPL-2+, LGPL", rd, ("usr/lib/R/**/help/*.rdb",)),
    "ontologies": Source("emboss-data", "CC-BY-3.0, Apache-2.0, GPL-3+", ontology, ("usr/share/EMBOSS/**/*.obo",)),
    "icd10": Source("simple_icd_10_cm", "public domain (CMS, CDC)", diagnoses, ("data/*.xml",)),
    "stellarium": Source("stellarium-data", "GPL-2+", markup, ("usr/**/*.en.utf8", "usr/**/*.en.html")),
    "gnome": Source("*", "CC-BY-SA-3.0", markup, ("usr/share/help/C/**/*.page", "usr/share/help/C/**/index.docbook")),
    "libreoffice": Source("libreoffice-help-en-us", "MPL-2.0", markup, ("usr/**/text/**/*.html",)),
    "gnucash": Source("gnucash-docs", "GFDL-1.1+, no invariant sections", markup, (DOCS,), OTHER),
    "gimp": Source("gimp-help-en", "GFDL-1.2+", markup, ("usr/share/gimp/**/*.html",)),
    "kde": Source("*", "GFDL-1.2+, GPL-2+", markup, ("usr/share/doc/HTML/en/**/*.docbook",)),
    "anarchism": Source("anarchism", "GPL-2", markup, (DOCS,), OTHER),
    "medicine": Source("gnumed-doc", "GPL-2+, CC-BY-SA-3.0", markup, (DOCS,)),
    "religion": Source(
        "sword-text-kjv sword-text-web sword-comm-mhcc sword-comm-tdavid", "public domain", scripture, ("usr/**/*.bzz",)
    ),
    "handbooks": Source(
        "debian-handbook debian-faq debian-history debian-policy developers-reference doc-debian debian-edu-doc-en"
        " installation-guide-amd64",
        "GPL-2+, CC-BY-SA-3.0",
        markup,
        (DOCS,),
        OTHER,
    ),
    "arts": Source(
        "inkscape-tutorials kicad-doc-en lilypond-doc-html csound-doc gnumeric-doc",
        "GPL-2+, GFDL-1.2+",
        markup,
        (DOCS, "usr/share/help/C/**/*.xml"),
        OTHER,
    ),
    "manpages": Source("manpages manpages-dev", "GPL, BSD, MIT", manual, ("usr/share/man/man*/*.gz",)),
    "perl": Source("perl-doc", "GPL-1+ or Artistic", pod, ("usr/share/perl/**/pod/*.pod",), "delta|hist|gpl|artistic"),
    "linux": Source("linux-doc-6.1", "GPL-2", plain, ("usr/share/doc/**/*.rst*",), "translations"),
    "servers": Source(
        "postgresql-doc-15 apache2-doc sqlite3-doc postfix-doc git-doc nodejs-doc rust-doc wireshark-doc",
        "PostgreSQL, Apache-2.0, public domain, IPL, GPL-2, MIT",
        markup,
        (DOCS,),
        OTHER + "|/src/|release|licen|/std_arch/|core_arch|implementors|RelNotes",
    ),
    "python": Source("python3.11-doc python-django-doc", "PSF-2, BSD-3", markup, (DOCS,), OTHER + "|whatsnew|releases"),
    "editors": Source("vim-runtime lintian", "Vim, GPL-2+", plain, ("usr/**/doc/*.txt", "usr/**/*.tag"), "version"),
    "science": Source(
        "python-scipy-doc python-astropy-doc python-sklearn-doc python-statsmodels-doc python-pandas-doc"
        " python-biopython-doc python-sympy-doc python-skimage-doc python-dask-doc python-xarray-doc python-ase-doc"
        " python-nibabel-doc python-skbio-doc",
        "BSD-3, MIT, LGPL-2.1+, Biopython",
        markup,
        (DOCS,),
        OTHER + "|whatsnew|release|_modules|changelog|search|_sources",
    ),
    "mathematics": Source(
        "octave-doc maxima-doc gap-doc singular-doc scilab-doc pari-doc sagemath-doc pspp",
        "GPL-2+, GPL-3+",
        markup,
        ("usr/share/**/*.html",),
        OTHER + "|_mj|_source|_8|/class|/struct|_modules",
    ),
    "simulation": Source("lammps-doc grass-doc abinit-doc", "GPL-2, GPL-3+", markup, (DOCS,), OTHER),
    "metamath": Source("metamath-databases", "CC0", metamath, ("usr/share/**/*.mm*",)),
    "fortunes": Source(
        "fortunes",
        "public domain, BSD",
        between_signs,
        ("usr/share/games/fortunes/*",),
        r"\.(dat|u8)$|ethnic|men-women|knghtbrd|debian",
    ),
    "crawl": Source("crawl-common", "GPL-2+", between_signs, ("usr/**/descript/*.txt",), "/../"),
    "cataclysm": Source("cataclysm-dda-data", "CC-BY-SA-3.0", json_texts, ("usr/share/**/*.json",)),
    "wesnoth": Source("wesnoth-1.16-*", "GPL-2+", quoted, ("usr/share/**/*.cfg",)),
    "endless_sky": Source("endless-sky-data", "GPL-3+, CC-BY-SA-4.0", quoted, ("usr/share/**/data/**/*.txt",)),
    "freeciv": Source("freeciv-data", "GPL-2+", quoted, ("usr/share/**/*.ruleset", "usr/share/**/helpdata.txt")),
    "google": Source("googleapiclient", "Apache-2.0", json_texts, ("discovery_cache/documents/*.json",)),
    "aws": Source("botocore", "Apache-2.0", json_texts, ("data/*/*/service-2.json*",)),
}


def passages(title: str, blocks: list[str]) -> Iterator[str]:
    """Neighbouring paragraphs of a section joined up to a third of the length, long ones split between sentences."""
    made: list[list[str]] = [[]]
    for block in blocks:
        for part in [block] if len(block.split()) <= MOST else re.split(r"(?<=[.!?;])\s+", block):
            words = part.split()
            if len(made[-1]) + len(words) > MOST or (len(made[-1]) >= MOST // 3 and part is block):
                made.append([])
            made[-1] += words
    if len(made) > 1 and len(made[-1]) < LEAST and len(made[-2]) + len(made[-1]) <= MOST:
        last = made.pop()
        made[-1] += last
    if not UNTITLED.search(title):
        yield from (" ".join(words) for words in made)


def opening(text: str) -> str:
    """Passages that begin alike but for numbers say much the same: one of them is enough."""
    return " ".join(re.findall(r"[^\W\d]+", text.lower())[:15])


def prose(text: str) -> bool:
    """Of a passage's length, English, mostly letters, and not a licence."""
    words = re.findall(r"[a-z]+", text.lower())
    return (
        LEAST <= len(text.split()) <= MOST
        and sum(c.isalpha() for c in text) >= 0.6 * len(text)
        and len(words) >= 0.6 * len(text.split())
        and sum(word in COMMON for word in words) >= 0.12 * len(words)
        and not UNWANTED.search(text)
    )


def files(source: Source, packages: Path) -> Iterator[Path]:
    skip = re.compile(source.skip)
    for package in source.packages.split():
        for root in sorted(root for parent in ("", "tree", "python") for root in (packages / parent).glob(package)):
            for path in sorted({path for each in source.globs for path in root.glob(each)}):
                if path.is_file() and not skip.search(str(path.relative_to(packages))):
                    yield path


def collect(source: Source, packages: Path) -> list[tuple[str, str]]:
    """Title and text of every passage, the first of those that begin alike."""
    found: dict[str, tuple[str, str]] = {}
    for path in files(source, packages):
        try:
            for title, blocks in source.reader(path):
                for text in filter(prose, passages(title, blocks)):
                    found.setdefault(opening(text), (" ".join(bare(title).split())[:200], text))
        except (ValueError, OSError, zlib.error) as error:  # broken, or not of the format after all
            print(f"{path}: {error}")
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="sources to write, all of them without a name")
    parser.add_argument("--packages", type=Path, required=True, help="folder that fetch.sh filled")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .jsonl.gz a source")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or SOURCES:
        rows = collect(SOURCES[name], options.packages)
        rows = random.Random(name).sample(rows, min(CAP, len(rows)))
        with gzip.open(options.out / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps({"title": a, "text": b}, ensure_ascii=False) + "\n" for a, b in rows)
        words = sum(len(text.split()) for _, text in rows)
        print(f"{name:14s} {len(rows):6d} passages {words:9d} words  {SOURCES[name].licence}", flush=True)


if __name__ == "__main__":
    main()
