"""Every source of training text as a pool of queries and documents, one NAME.json.gz each.

    python texts.py --data DIR --out work/texts                     English: mini-en's sources, as en_NAME
    python texts.py --data DIR --pairs work/pairs --out work/texts  and mini-multilingual's pairs

A pool is small on purpose (a few thousand texts): on a CPU the number of pairs that can be trained is the limit, and a
pool this size still holds plenty of hard negatives for BM25 and the bi-encoders to find. Sources that are there are
left alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
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
    parser.add_argument("--out", type=Path, required=True, help="folder for one .json.gz a source")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        if not (options.out / f"en_{name}.json.gz").exists():
            source = sources.load(options.data, name)
            source = source if options.share == 1 else thinned(source, options.share)
            write(sources.Source(**(asdict(source) | {"name": f"en_{name}"})), options.out)
    for path in sorted(options.pairs.glob("*.jsonl.gz")) if options.pairs else ():
        if not (options.out / path.name.replace(".jsonl", ".json")).exists():
            write(pool(path), options.out)


if __name__ == "__main__":
    main()
