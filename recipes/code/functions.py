"""Python functions of packages, each with a question that its own words no longer answer.

    python functions.py --packages work/wheels --out work/code --avoid DATA/cosqa DATA/cosqa_dev

--packages is a folder of wheels, which are read and never installed. --out gets pieces of a source, en_code_0.json.gz
and on, as texts.py writes them: what choose.py compares with each other must fit in memory. A function whose code or
docstring is in a corpus of --avoid is left out.

The question is the docstring's first sentence, the function's name as words, or either without its common words, as
people type it into a search box. What it was taken from is not in the code that answers it, so that a model cannot
get by on words; a function of the same name elsewhere answers too.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("dual", "mini-en")]
import texts
from sources import Source, first_sentence, words_of

LONGEST = 2500  # characters of a file's function that is kept
A_FILE, A_PACKAGE = 12, 1500  # most functions of each
PIECE = 6000  # functions of a source
COMMON = set(
    "a an the of to in on for from by with and or as is are be been this that these those it its if into at given "
    "using which when whether all any based specified provided helper function method class object instance return "
    "returns".split()
)
TITLES = ("{}", "{}", "python {}", "{} python", "{} in python", "how to {} in python", "how to {}", "python how to {}")


@dataclass(frozen=True)
class Function:
    """A function and what is said of it. body: without the docstring; masked: with it, under another name."""

    name: str
    said: str
    body: str
    whole: str

    @property
    def words(self) -> str:
        return words_of(self.name)

    @property
    def masked(self) -> str:
        return masked(self.whole)


def squeezed(text: str) -> str:
    """Letters and digits alone, for telling copies."""
    return re.sub(r"[\W_]+", "", text).lower()


def masked(code: str) -> str:
    """A function under a name that says nothing."""
    name = re.match(r"\s*(?:async )?def (\w+)", code)
    return re.sub(rf"\b{name[1]}\b", "function", code) if name else code


def functions(source: str) -> Iterator[Function]:
    """The functions of one file that say in a docstring what they do."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = source.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("__") or len(node.body) < 2:
            continue
        doc = ast.get_docstring(node) or ""
        said = first_sentence(doc.split("\n\n")[0]).rstrip(".")
        if not 3 <= len(said.split()) <= 20 or not said.isascii():
            continue
        begin = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        written = lines[node.lineno - 1 : node.end_lineno]
        indent = len(written[0]) - len(written[0].lstrip())
        written = [line[indent:] if not line[:indent].strip() else line for line in written]
        start, end = node.body[0].lineno - node.lineno, (node.body[0].end_lineno or 0) - node.lineno
        if begin != node.lineno and "overload" in "".join(lines[begin - 1 : node.lineno]):
            continue
        body = "\n".join(written[:start] + written[end + 1 :])
        whole = "\n".join(written)
        if 80 <= len(whole) <= LONGEST and len(body) > len(written[0]) + 30:
            yield Function(node.name.strip("_"), said, body, whole)


def of_wheel(wheel: Path, rng: random.Random) -> list[Function]:
    """A sample of the functions in a wheel."""
    found: list[Function] = []
    with zipfile.ZipFile(wheel) as files:
        names = [name for name in sorted(files.namelist()) if name.endswith(".py") and "test" not in name]
        rng.shuffle(names)
        for name in names[:4000]:
            if files.getinfo(name).file_size > 400_000:
                continue
            here = list(functions(files.read(name).decode("utf-8", "replace")))
            found += rng.sample(here, min(A_FILE, len(here)))
    return rng.sample(found, min(A_PACKAGE, len(found)))


def typed(text: str, rng: random.Random) -> str:
    """As somebody would type it who looks for code."""
    kept = [word for word in re.findall(r"[\w'+#.-]+", text.lower()) if word not in COMMON] or text.lower().split()
    return rng.choice(TITLES).format(" ".join(kept))


def asked(function: Function, rng: random.Random) -> tuple[str, str]:
    """A question and the code that answers it."""
    named = len(function.words.split()) >= 2 and len(function.words) >= 9
    kind = rng.random()
    if named and kind < 0.35:
        return rng.choice(TITLES).format(function.words), function.masked
    if kind < 0.65:
        return typed(function.said, rng), function.body
    said = function.said[0].lower() + function.said[1:] if rng.random() < 0.5 else function.said
    return rng.choice(TITLES).format(said) if rng.random() < 0.5 else said, function.body


def source_of(name: str, kept: list[Function], rng: random.Random) -> Source:
    """Each function once; of some that share a name with others, the others' code as answers too."""
    documents: dict[str, int] = {}
    same = defaultdict(list)
    rows = []
    for function in kept:
        query, answer = asked(function, rng)
        number = documents.setdefault(answer, len(documents))
        rows.append((function, query, number))
        if len(function.words.split()) >= 2:
            same[function.words].append(number)
    positives = [sorted({number, *same[function.words][:4]}) for function, _, number in rows]
    return Source(name, [query for _, query, _ in rows], list(documents), positives, [[] for _ in rows])


def read_avoided(folders: list[Path]) -> tuple[set[str], set[str]]:
    """The squeezed code and docstrings of the corpora."""
    codes, docs = set(), set()
    for folder in folders:
        with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                codes.add(squeezed(masked(text))[:300])
                doc = re.search(r'"""(.*?)"""', text, re.DOTALL)
                if doc:
                    docs.add(squeezed(first_sentence(doc[1].strip().split("\n\n")[0])))
    return codes, docs


def of_packages(packages: Path, avoid: list[Path]) -> list[Function]:
    """Every wheel's functions, each once, none of them in a collection of `avoid`."""
    codes, docs = read_avoided(avoid)
    seen: set[str] = set()
    kept: list[Function] = []
    dropped = 0
    for wheel in sorted(packages.glob("*.whl")):
        before = len(kept)
        for function in of_wheel(wheel, random.Random(wheel.name)):
            marks = {squeezed(function.said) + squeezed(function.name), squeezed(function.body)}
            if squeezed(function.said) in docs or squeezed(function.masked)[:300] in codes:
                dropped += 1
            elif not marks & seen:
                seen |= marks
                kept.append(function)
        print(f"{wheel.name}: {len(kept) - before} functions", flush=True)
    print(f"{len(kept)} functions; {dropped} are in a collection and were left out")
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder of wheels")
    parser.add_argument("--avoid", type=Path, nargs="*", default=[], help="collections in BEIR's layout")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(3)
    kept = of_packages(options.packages, options.avoid)
    rng.shuffle(kept)
    for piece, start in enumerate(range(0, len(kept) - PIECE // 2, PIECE)):
        source = source_of(f"en_code_{piece}", kept[start : start + PIECE], rng)
        texts.write(source, options.out)


if __name__ == "__main__":
    main()
