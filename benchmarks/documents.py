"""Makes documents.jsonl: a hundred passages of Python's own documentation, as every CPython carries it.

    python -m benchmarks.documents

The passages come from the language reference in pydoc_data.topics and from docstrings of the standard library, both
under the Python Software Foundation License Version 2 (https://docs.python.org/3/license.html). Lengths in wordpieces
of the bundled model are drawn so that their quantiles are LENGTHS: mostly short passages, a few that fill the model.
"""

from __future__ import annotations

import importlib
import inspect
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from crossrank import Reranker

HERE = Path(__file__).parent
MODULES = """argparse asyncio bisect collections contextlib csv dataclasses datetime decimal difflib email fractions
functools gzip hashlib heapq http.client inspect io itertools json logging math multiprocessing os pathlib pickle queue
random re sched shutil signal socket sqlite3 statistics string subprocess tarfile tempfile textwrap threading time
traceback unittest urllib.parse uuid weakref zipfile""".split()
LENGTHS = (15, 32, 55, 90, 130, 180, 250, 340, 485)
SEED = 7


def passages() -> Iterator[tuple[str, str]]:
    """(where it is from, text): whole topics, runs of their paragraphs, and docstrings."""
    for name, text in topics.items():
        paragraphs = text.strip().split("\n\n")
        yield f"reference: {name}", text.strip()
        for start in range(len(paragraphs)):
            for count in (1, 2, 4, 8):
                yield f"reference: {name}", "\n\n".join(paragraphs[start : start + count])
    for module in map(importlib.import_module, MODULES):
        for name, member in [("", module), *sorted(vars(module).items())]:
            local = member is module or getattr(member, "__module__", None) == module.__name__
            if not name.startswith("_") and local and (text := inspect.getdoc(member)):
                yield f"docstring: {module.__name__}{name and '.'}{name}", text


def main() -> None:
    encode = Reranker.load().checkpoint.tokenizer.encode
    found = list(passages())
    random.Random(SEED).shuffle(found)
    lengths = np.array([len(ids) for ids in encode([text for _, text in found])])
    wanted = np.interp(np.linspace(0, 1, 100), np.linspace(0, 1, len(LENGTHS)), LENGTHS).round().astype(int)
    used: set[str] = set()
    rows = []
    for length in wanted:
        # One passage of a source: overlapping runs of paragraphs would be near copies.
        near = (i for i in np.argsort(np.abs(lengths - length), kind="stable") if found[i][0] not in used)
        source, text = found[next(near)]
        used.add(source)
        rows.append({"text": text, "source": source})
    random.Random(SEED).shuffle(rows)
    (HERE / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    counts = [len(ids) for ids in encode([row["text"] for row in rows])]
    print(
        f"{len(rows)} passages of Python {sys.version.split()[0]}: {min(counts)} to {max(counts)} wordpieces, "
        f"mean {np.mean(counts):.0f}, median {np.median(counts):.0f}"
    )


if __name__ == "__main__":
    main()
