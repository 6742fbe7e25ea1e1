"""The training text of mini-multilingual: labelled pairs, one gzipped JSONL a source, in the order of its stages.

    python sources.py --data DIR --packages DIR --out work/pairs

English pairs (stage 1) are mini-en's own sources and are not written here; the files are `cross_*` (stage 2: query in
one language, document in another) and `multi_XX` (stage 3: both in language XX). Stage 4, hard negatives, is mined
from all of them by candidates.py. DIR of --data is described in ../README.md; fetch.sh fills DIR of --packages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packages import Aligned, Passage, debian, gnome, libreoffice
from tongues import LANGUAGES, tongue

Rng = random.Random
DOCUMENT = 2000  # characters of a document that are kept


@dataclass(frozen=True)
class Pair:
    """A query and what answers it, with the languages of both. negatives: judged ones."""

    query: str
    positive: str
    query_language: str
    document_language: str
    negatives: list[str] = field(default_factory=list)


# Labelled pairs within a language, and the language where a file does not say it. Most pairs of each and language.
MULTILINGUAL = {
    "jaquad_train": ("ja", 1500),
    "jsquad": ("ja", 800),
    "tquad_train": ("tr", 1200),
    "tr_squad_enelpi": ("tr", 600),
    "iapp_thai_train": ("th", 1500),
    "cmrc2018_trial": ("zh", 1000),
    "facqa_id": ("id", 1200),
    "heq_val_test": ("he", 1200),
    "norquad_val": ("no", 472),
    "swefaq": ("sv", 218),
    "gesetze_de": ("de", 300),
    "omosqa": (None, 500),
    "covid_faq": (None, 300),
    "docs_questions_multi": (None, 1500),
    "freecodecamp_guide": (None, 400),
}
TLDR, STSB, PACKAGED = 250, 150, 700  # most pairs of a language from tldr, stsb, and each of the Debian packages
CROSS = 6000  # most pairs of a source across languages
MULTI = 2500  # most pairs of a language


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def plain(text: str) -> str:
    """JSQuAD's mark between title and passage is no text."""
    return text.replace(" [SEP] ", "\n").strip()[:DOCUMENT]


def labelled(folder: Path, rng: Rng) -> Iterator[Pair]:
    """The files of MULTILINGUAL and stsb's near-paraphrases."""
    for name, (known, most) in MULTILINGUAL.items():
        rows = list(read(folder, name))
        rng.shuffle(rows)
        taken: Counter[str] = Counter()
        for row in rows:
            language = known or tongue(row["lang"])
            if language is None or language == "en" or taken[language] == most:
                continue
            taken[language] += 1
            negatives = [plain(text) for text in row.get("negatives", [])[:4]]
            yield Pair(row["query"], plain(row["positive"]), language, language, negatives)
    rows = [row for row in read(folder, "stsb_multi") if row["score"] >= 4.2 and row["lang"] != "en"]
    rng.shuffle(rows)
    taken = Counter()
    for row in rows:
        if row["a"] != row["b"] and taken[row["lang"]] < STSB:
            taken[row["lang"]] += 1
            yield Pair(row["a"], row["b"], row["lang"], row["lang"])


def tldr(folder: Path) -> Aligned:
    """What to do -> the command, aligned by page and place where a page has as many examples in two languages."""
    pages: dict[str, dict[str, list[Passage]]] = {}
    for row in read(folder, "tldr"):
        if language := tongue(row["lang"]):
            pages.setdefault(row["page"], {}).setdefault(language, []).append(Passage(row["query"], row["positive"]))
    aligned: Aligned = {}
    for page, versions in pages.items():
        for language, examples in versions.items():
            for place, example in enumerate(examples):
                aligned.setdefault(f"{page} {place} of {len(examples)}", {})[language] = example
    return aligned


def ntrex(folder: Path) -> Aligned:
    """A sentence of a news text -> the four sentences that it is one of, aligned by line."""
    aligned: Aligned = {}
    for row in read(folder, "ntrex"):
        language = tongue(row["lang"])
        if language is None:
            continue
        lines = [line.strip() for line in row["sentences"]]
        for start in range(0, len(lines) - 3, 4):
            passage = Passage(lines[start + start // 4 % 4], " ".join(lines[start : start + 4]))
            aligned.setdefault(str(start), {}).setdefault(language, passage)
    return aligned


def tatoeba(folder: Path, rng: Rng) -> list[Pair]:
    """A sentence -> its translation, from English and into it."""
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read(folder, "tatoeba_laser"):
        if language := tongue(row["lang"]):
            rows.setdefault(language, []).append(row)
    pairs = []
    for language, members in rows.items():
        for place, row in enumerate(rng.sample(members, min(len(members), 120))):
            if place % 2:
                pairs.append(Pair(row["en"], row["x"], "en", language))
            else:
                pairs.append(Pair(row["x"], row["en"], language, "en"))
    return pairs


def afriqa(folder: Path, rng: Rng) -> list[Pair]:
    """Questions in eight African languages -> Wikipedia in English or French."""
    return [
        Pair(row["query"], plain(row["positive"]), row["lang"], row["doc_lang"])
        for row in read(folder, "afriqa_train_dev")
    ]


def titled(folder: Path, rng: Rng) -> list[Pair]:
    """English titles and questions -> the same page in another language."""
    pairs = []
    for name, key in (("freecodecamp_guide", "title_en"), ("docs_questions_multi", "query_en")):
        for row in read(folder, name):
            language = tongue(row["lang"])
            if row.get(key) and language not in (None, "en") and row[key] != row["query"]:
                pairs.append(Pair(row[key], plain(row["positive"]), "en", language))
    return pairs


def across(aligned: Aligned, rng: Rng) -> list[Pair]:
    """Pairs of aligned texts: queries in one to four of a text's languages, the document in another.

    Each text has a document in one language only, so that no translation of a right answer is taken for a wrong one.
    Rare languages are drawn more often than common ones, and English is on one side of a half of the pairs.
    """
    several = {key: versions for key, versions in aligned.items() if len(versions) > 1}
    count = Counter(language for versions in several.values() for language in versions)
    queries = max(1, min(4, CROSS // max(1, len(several))))
    pairs = []
    for key in sorted(several):
        versions = several[key]
        others = [language for language in versions if language != "en"]
        first = rng.choices(others, [count[language] ** -0.7 for language in others])[0]
        if "en" in versions and rng.random() < 0.25:
            answered, asking = "en", [first, *(language for language in others if language != first)]
        else:
            answered, asking = first, [language for language in versions if language != first]
            rng.shuffle(asking)
            if "en" in versions and rng.random() < 0.33:
                asking = ["en", *(language for language in asking if language != "en")]
        for asked in asking[:queries]:
            pairs.append(Pair(versions[asked].title, versions[answered].text[:DOCUMENT], asked, answered))
    rng.shuffle(pairs)
    return spread(pairs, CROSS)


def spread(pairs: list[Pair], most: int) -> list[Pair]:
    """At most so many, one pair of languages after the other, so that those with few keep what they have."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.query_language, pair.document_language), []).append(pair)
    kept: list[Pair] = []
    round_ = 0
    while len(kept) < most and any(len(group) > round_ for group in groups.values()):
        kept += [group[round_] for group in groups.values() if len(group) > round_]
        round_ += 1
    return kept[:most]


def within(aligned: Aligned, most: int, rng: Rng) -> Iterator[Pair]:
    """Title -> text, both in the same language; English is mini-en's."""
    keys = sorted(aligned)
    rng.shuffle(keys)
    taken: Counter[str] = Counter()
    for key in keys:
        for language, passage in aligned[key].items():
            if language != "en" and taken[language] < most:
                taken[language] += 1
                yield Pair(passage.title, passage.text[:DOCUMENT], language, language)


def usable(pair: Pair) -> bool:
    """Neither empty nor endless, and not an answer that only repeats its question."""
    return 4 <= len(pair.query) <= 600 and len(pair.positive) >= 8 and pair.query != pair.positive


def sources(data: Path, packages: Path) -> dict[str, list[Pair]]:
    """Every source of stages 2 and 3 by name, always the same for the same input files."""
    aligned: dict[str, Aligned] = {
        "debian": debian(packages),
        "libreoffice": libreoffice(packages),
        "gnome": gnome(packages),
        "tldr": tldr(data),
        "ntrex": ntrex(data),
    }
    made = {f"cross_{name}": across(texts, Rng(name)) for name, texts in aligned.items()}
    listed: dict[str, Callable[[Path, Rng], list[Pair]]] = {"tatoeba": tatoeba, "afriqa": afriqa, "titled": titled}
    for name, make in listed.items():
        made[f"cross_{name}"] = spread(make(data, Rng(name)), CROSS)
    rng = Rng("multi")
    together = list(labelled(data, rng))
    together += within(aligned["tldr"], TLDR, rng)
    for name in ("debian", "libreoffice", "gnome"):
        together += within(aligned[name], PACKAGED, rng)
    rng.shuffle(together)
    for language in LANGUAGES:
        pairs = [pair for pair in together if pair.document_language == language and usable(pair)][:MULTI]
        if len(pairs) >= 40:
            made[f"multi_{language}"] = pairs
    return {name: [pair for pair in pairs if usable(pair)] for name, pairs in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training files (*.jsonl.gz)")
    parser.add_argument("--packages", type=Path, required=True, help="folder that fetch.sh filled")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .jsonl.gz a source")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for name, pairs in sources(options.data, options.packages).items():
        with gzip.open(options.out / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs)
        kinds = Counter((pair.query_language, pair.document_language) for pair in pairs)
        asked.update(pair.query_language for pair in pairs)
        answered.update(pair.document_language for pair in pairs)
        print(f"{name:18s} {len(pairs):6d} pairs, {len(kinds):4d} pairs of languages")
    print("language: queries, documents")
    print("  ".join(f"{each} {asked[each]} {answered[each]}" for each in sorted(asked | answered)))


if __name__ == "__main__":
    main()
