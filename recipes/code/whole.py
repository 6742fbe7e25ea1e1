"""Whole functions, as a search finds them in a repository, under questions that nobody has answered there.

    python whole.py --packages work/wheels --avoid DATA/cosqa_dev --data DIR --texts work/texts --out work/code

functions.py hides from each question what it was made of; here functions keep their names and docstrings. The
questions are Stack Overflow's and what other functions do, as people type either. Which answers are right is not known:
there is only a teacher to learn from. --out gets en_whole_0.json.gz and on. Questions that en_codenn_so in --texts
holds out are left out.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import functions
import sources
import texts
from lists import HELD_OUT

PIECES, PIECE = 2, 6000  # and functions of each
OTHERS, SAID = 1500, 2500  # questions of a piece: about C# and SQL, and what functions elsewhere do


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder of wheels")
    parser.add_argument("--avoid", type=Path, nargs="*", default=[], help="collections in BEIR's layout")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training files (*.jsonl.gz)")
    parser.add_argument("--texts", type=Path, required=True, help="folder that ../dual/texts.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(4)
    held_out = set(texts.read(options.texts, "en_codenn_so").queries[:HELD_OUT])
    rows = [row for row in sources.read(options.data, "codenn_so") if row["query"] not in held_out]
    python = [row["query"] for row in rows if row["code"] == "python"]
    others = [row["query"] for row in rows if row["code"] != "python"]
    kept = functions.of_packages(options.packages, options.avoid)
    rng.shuffle(kept)
    pieces = [kept[start : start + PIECE] for start in range(0, len(kept), PIECE)]
    for number, piece in enumerate(pieces[:PIECES]):
        said = [function.said for function in pieces[number - 1]]
        asked = [*python, *rng.sample(others, min(OTHERS, len(others))), *rng.sample(said, min(SAID, len(said)))]
        queries = list(dict.fromkeys(functions.typed(text, rng) for text in asked))
        rng.shuffle(queries)
        documents = list(dict.fromkeys(function.whole for function in piece))
        none: list[list[int]] = [[] for _ in queries]
        texts.write(sources.Source(f"en_whole_{number}", queries, documents, none, none), options.out)


if __name__ == "__main__":
    main()
