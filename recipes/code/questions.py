"""Stack Overflow's questions about code as one more source beside functions.py's, en_so.json.gz.

    python questions.py --data DIR --texts work/texts --out work/code

DIR has codenn_so.jsonl.gz. Those about Python are in it twice. Questions that en_codenn_so in --texts holds out are
left out.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("dual", "mini-en")]
import sources
import texts
from lists import HELD_OUT

OTHERS = 9000  # most questions about C# and SQL
LONGEST = 2500  # characters of an answer that are kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training files (*.jsonl.gz)")
    parser.add_argument("--texts", type=Path, required=True, help="folder that texts.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    held_out = set(texts.read(options.texts, "en_codenn_so").queries[:HELD_OUT])
    rows = [row for row in sources.read(options.data, "codenn_so") if row["query"] not in held_out]
    python = [row for row in rows if row["code"] == "python"]
    others = [row for row in rows if row["code"] != "python"]
    random.Random(2).shuffle(others)
    used = [*python, *python, *others[:OTHERS]]
    documents = [row["positive"][:LONGEST] for row in used]
    numbered = [[number] for number in range(len(used))]
    made = sources.Source("en_so", [row["query"] for row in used], documents, numbered, [[] for _ in used])
    texts.write(made, options.out)
    print(f"{len(used)} questions, {len(python)} of them about Python, twice")


if __name__ == "__main__":
    main()
