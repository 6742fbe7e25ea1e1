"""Every source of training text as a pool of queries and documents, one NAME.json.gz each.

    python texts.py --data DIR --out work/texts                     English: mini-en's sources, as en_NAME
    python texts.py --data DIR --pairs work/pairs --out work/texts  and mini-multilingual's pairs
    python texts.py --data DIR --times 12 --passages work/passages --most 14000 --out work/wide
                                                                    larger, and with text that has no questions

A pool is small on purpose (a few thousand texts): on a CPU the number of pairs that can be trained is the limit, and a
pool this size still holds plenty of hard negatives for BM25 and the bi-encoders to find. Sources that are there are
left alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mini-en"))
import sources

CAPS = {"cross": (900, 1100), "multi": (450, 600)}  # most queries, most documents of a source


def pool(path: Path) -> sources.Source:
    """A file of pairs as a pool; a text that only distracts is the answer to a query that is not used."""
    name = path.name.removesuffix(".jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(name).shuffle(rows)
    queries, documents = CAPS[name.partition("_")[0]]
    numbers: dict[str, int] = {}
    for row in rows[:queries]:
        for text in (row["positive"], *row["negatives"]):
            numbers.setdefault(text, len(numbers))
    used = rows[:queries]
    for row in rows[queries:]:
        if len(numbers) < documents:
            numbers.setdefault(row["positive"], len(numbers))
    return sources.Source(
        name,
        [row["query"] for row in used],
        list(numbers),
        [[numbers[row["positive"]]] for row in used],
        [[numbers[text] for text in row["negatives"]] for row in used],
    )


def capped(source: sources.Source, most: int) -> sources.Source:
    """At most so many documents, and queries by as much again as a seventh."""
    share = min(1.0, most / len(source.documents), most * 8 / 7 / len(source.queries))
    return source if share == 1 else thinned(source, share)


def thinned(source: sources.Source, share: float) -> sources.Source:
    """The first `share` of a source's queries, with their documents and as large a share of the others'."""
    count, most = max(40, int(share * len(source.queries))), max(60, int(share * len(source.documents)))
    positives, given = source.positives[:count], source.given[:count]
    kept = dict.fromkeys(number for each in (*positives, *given) for number in each)
    for number in range(len(source.documents)):
        if len(kept) >= most:
            break
        kept.setdefault(number)
    place = {number: new for new, number in enumerate(kept)}
    renamed = [[[place[number] for number in each] for each in lists] for lists in (positives, given)]
    documents = [source.documents[number] for number in kept]
    return sources.Source(source.name, source.queries[:count], documents, *renamed)


def passages(path: Path) -> sources.Source:
    """A file of passages as a pool: a title, a sentence or half of a passage asks for it.

    What else in the pool would answer is not known, so that these answers are nothing to learn as labels.
    """
    name = path.name.removesuffix(".jsonl.gz")
    rng = random.Random(name)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rng.shuffle(rows)
    queries, documents = [], []
    for row in rows:
        sentences = re.split(r"(?<=[.!?])\s+", row["text"])
        way = rng.random()
        if way < 0.4 and len(row["title"].split()) > 1:
            query, document = row["title"], row["text"]
        elif way < 0.6 and len(sentences) > 3:
            middle = len(sentences) // 2
            query, document = " ".join(sentences[:middle]), " ".join(sentences[middle:])
        else:
            query, document = rng.choice(sentences), row["text"]
            if len(sentences) > 2 and rng.random() < 0.7:
                document = document.replace(query, "").strip()
            if row["title"] and row["title"] not in document and rng.random() < 0.5:
                document = f"{row['title']}. {document}"
        if 2 <= len(query.split()) <= 100 and len(document.split()) > 8:
            queries.append(query[:1000])
            documents.append(document[:1200])
    return sources.Source(f"text_{name}", queries, documents, [[i] for i in range(len(queries))], [[] for _ in queries])


def write(source: sources.Source, folder: Path) -> None:
    target = folder / f"{source.name}.json.gz"
    partial = target.with_suffix(".partial")
    with gzip.open(partial, "wt", encoding="utf-8") as file:
        json.dump(asdict(source), file, ensure_ascii=False)
    partial.rename(target)
    print(f"{source.name}: {len(source.queries)} queries, {len(source.documents)} documents", flush=True)


def read(folder: Path, name: str) -> sources.Source:
    with gzip.open(folder / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return sources.Source(**json.load(file))


def names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training files (*.jsonl.gz)")
    parser.add_argument("--pairs", type=Path, help="folder that ../mini-multilingual/sources.py wrote")
    parser.add_argument(
        "--only", nargs="*", default=sources.NAMES, metavar="NAME", help="mini-en's sources; default: all"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of mini-en's sources; default: all of them")
    parser.add_argument("--times", type=int, default=1, help="how many times as large mini-en's sources may be")
    parser.add_argument("--passages", type=Path, help="folder that ../passages/passages.py wrote; here as text_NAME")
    parser.add_argument(
        "--most", type=int, default=10**9, help="documents of one of mini-en's sources; half as many of one of passages"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for one .json.gz a source")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        if not (options.out / f"en_{name}.json.gz").exists():
            source = sources.load(options.data, name, options.times)
            source = source if options.share == 1 else thinned(source, options.share)
            source = capped(source, options.most)
            write(sources.Source(**(asdict(source) | {"name": f"en_{name}"})), options.out)
    for path in sorted(options.pairs.glob("*.jsonl.gz")) if options.pairs else ():
        if not (options.out / path.name.replace(".jsonl", ".json")).exists():
            write(pool(path), options.out)
    for path in sorted(options.passages.glob("*.jsonl.gz")) if options.passages else ():
        if not (options.out / f"text_{path.name.replace('.jsonl', '.json')}").exists():
            write(capped(passages(path), options.most // 2), options.out)


if __name__ == "__main__":
    main()
