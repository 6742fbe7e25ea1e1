"""The training sources of mini-en: every one becomes queries, documents and which documents answer which query.

A source is small on purpose (a few hundred to a few thousand texts): on a CPU the number of *pairs* that can be trained
is the limit, and a pool this size still holds plenty of hard negatives for BM25 and the bi-encoder to find.
"""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """`positives[i]` are the positions in `documents` that answer `queries[i]`; `given[i]` are judged negatives."""

    name: str
    queries: list[str]
    documents: list[str]
    positives: list[list[int]]
    given: list[list[int]]


@dataclass(frozen=True)
class Row:
    """One labelled query before its texts have numbers."""

    query: str
    positives: list[str]
    negatives: list[str]


# name of the file, most queries to use, most documents to keep. The caps are what 40k documents can be split into.
FILES = {
    "medquad": (1600, 2400),
    "scitldr": (1900, 1900),
    "metatool": (900, 500),
    "wikisql_tables": (1400, 2200),
    "text2sql_small": (500, 400),
    "tldr": (500, 1000),
    "docs_questions_en": (3000, 3800),
    "codenn_so": (3000, 3600),
    "awsdocs_titles": (400, 700),
    "squad_train_sentences": (1800, 2200),
    "selqa": (500, 1200),
    "strategyqa_facts": (500, 800),
    "nq_open_oracle": (1600, 1800),
    "multispanqa": (400, 500),
    "covid_qa": (900, 900),
    "epqa": (400, 1200),
    "hetpqa_semipqa": (400, 800),
    "wikitablequestions": (500, 500),
    "fetaqa": (600, 800),
    "fairytaleqa": (300, 500),
    "gitbugs": (1000, 1400),
}
JOIN = ("{a} {b}", "{a} Also, {b}", "{a} Moreover, {b}", "{a} In addition, {b}", "{a} I would also like to know: {b}")


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def rows_of(folder: Path, name: str) -> list[Row]:
    """The English rows of one file; a page title, where there is one, goes before the text as it does when serving."""
    rows = []
    for item in read(folder, name):
        if item.get("lang", "en") != "en":
            continue
        title = (
            f"{item['title']} " if item.get("title") and name in ("nq_open_oracle", "epqa", "hetpqa_semipqa") else ""
        )
        positives = item.get("positives") or [item["positive"]]
        negatives = item.get("negatives", [])[:6]
        rows.append(Row(item["query"], [title + text for text in positives], [title + text for text in negatives]))
    return rows


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", re.sub(r"\s+", " ", text).strip(), maxsplit=1)[0]


def words_of(identifier: str) -> str:
    """`listTagsForResource` and `list_tags_for_resource` both become `list tags for resource`."""
    return re.sub(r"[_\W]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", identifier)).lower().strip()


def functions(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """Docstring -> function, from the standard library and every installed package.

    The docstring stays inside half of the functions, as it does in code that people search.
    """
    roots = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
    files = sorted({file for root in roots for file in root.rglob("*.py") if "/test" not in str(file)})
    rng.shuffle(files)
    rows: list[Row] = []
    for file in files:
        if len(rows) >= 6000 * times:
            break
        try:
            source = file.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (UnicodeDecodeError, SyntaxError, ValueError):
            continue  # test data of some packages is broken on purpose
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)]
        for node in rng.sample(found, min(6, len(found))):
            doc = ast.get_docstring(node) or ""
            said = first_sentence(doc.split("\n\n")[0]).rstrip(".")
            code = ast.get_source_segment(source, node) or ""
            if not 3 <= len(said.split()) <= 18 or not 80 <= len(code) <= 2500:
                continue
            if rng.random() < 0.5:
                lines = code.split("\n")
                start, end = node.body[0].lineno - node.lineno, (node.body[0].end_lineno or 0) - node.lineno
                code = "\n".join(lines[:start] + lines[end + 1 :])
            kind = rng.random()
            if kind < 0.15:
                said = f"python {words_of(node.name)}" if len(node.name) > 8 else said
            elif kind < 0.35:
                said = f"python {said.lower()}"
            elif kind < 0.5:
                said = f"how to {said[0].lower() + said[1:]} in python"
            rows.append(Row(said, [code], []))
    return rows


def operations(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """Cloud operations -> function schema, from the service models that botocore carries, in two common JSON forms.

    Query and description say the same sentence, so most schemas lose it: names and parameters must then do.
    """
    import botocore

    rows = []
    for path in sorted(Path(botocore.__file__).parent.glob("data/*/*/service-2.json*")):
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
        with opened as lines:
            model = json.load(lines)
        for name in rng.sample(sorted(model["operations"]), min(10 * times, len(model["operations"]))):
            operation = model["operations"][name]
            text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", operation.get("documentation", ""))).strip()
            said = first_sentence(text)
            if not 4 <= len(said.split()) <= 30:
                continue
            shape = model["shapes"].get(operation.get("input", {}).get("shape", ""), {})
            members = list(shape.get("members", {}).items())[:8]
            described = [
                (
                    key,
                    model["shapes"][value["shape"]]["type"],
                    first_sentence(re.sub(r"<[^>]+>", "", value.get("documentation", "")))[:120],
                )
                for key, value in members
            ]
            rest = text[len(said) :].strip()[:300]
            description = said if rng.random() < 0.3 else rest
            service = model["metadata"].get("serviceId", "")
            if rng.random() < 0.5:
                properties = {key: {"type": kind, "description": about} for key, kind, about in described}
                parameters = {"type": "dict", "required": shape.get("required", [])[:8], "properties": properties}
                schema: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
            else:
                listed = [{"name": key, "type": kind.upper(), "description": about} for key, kind, about in described]
                schema = {"category_name": "Cloud", "tool_name": service, "api_name": name}
                schema |= {"api_description": description, "required_parameters": listed, "optional_parameters": []}
            if rng.random() < 0.3:
                said = f"I need to {words_of(name)} in {service}"
            elif rng.random() < 0.5:
                said = f"{said} ({service})"
            rows.append(Row(said, [f"{name} {json.dumps(schema)}"], []))
    return rows


def tools(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """MetaTool's queries, and joined queries that need two or three tools, for which every one of them is right."""
    single = [
        Row(row.query, [f"{json.loads(text)['name']} {text}" for text in row.positives], [])
        for row in rows_of(folder, "metatool")
    ]
    return single + joined(single, 4000 * times, rng)


def joined(single: list[Row], count: int, rng: random.Random) -> list[Row]:
    rows = []
    for _ in range(count):
        parts = rng.sample(single, rng.choice((2, 2, 3)))
        query = parts[0].query
        for part in parts[1:]:
            query = rng.choice(JOIN).format(a=query, b=part.query)
        rows.append(Row(query, sorted({text for part in parts for text in part.positives}), []))
    return rows


def titles(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """Claims: the first sentence of a passage finds the rest of it."""
    rows = []
    for name in ("scitldr", "medquad", "covid_qa", "awsdocs_titles"):
        for row in rows_of(folder, name):
            head = first_sentence(row.positives[0])
            rest = row.positives[0][len(head) :].strip()
            if 6 <= len(head.split()) <= 30 and len(rest) > 200:
                rows.append(Row(head, [rest], []))
    return rows


def halves(folder: Path, rng: random.Random, times: int) -> list[Row]:
    """Long requests: the first half of a passage finds the second."""
    rows = []
    for name in ("scitldr", "medquad", "covid_qa", "awsdocs_titles", "docs_questions_en", "fairytaleqa"):
        seen = set()
        for row in rows_of(folder, name):
            sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"\s+", " ", row.positives[0]).strip())
            if row.positives[0] in seen or len(sentences) < 4:
                continue
            seen.add(row.positives[0])
            middle = len(sentences) // 2
            head, rest = " ".join(sentences[:middle]), " ".join(sentences[middle:])
            if 25 <= len(head.split()) <= 110 and len(rest.split()) >= 20:
                opening = rng.choice(("", "", "I am interested in ", "Please find articles about: ", f"{row.query} "))
                rows.append(Row(opening + head, [rest], []))
    return rows


MADE: dict[str, tuple[Callable[[Path, random.Random, int], list[Row]], int, int]] = {
    "metatool": (tools, 2200, 400),
    "functions": (functions, 4000, 4400),
    "operations": (operations, 2500, 3400),
    "operations_joined": (
        lambda folder, rng, times: joined(operations(folder, rng, times), 800 * times, rng),
        500,
        1400,
    ),
    "first_sentences": (titles, 1800, 2400),
    "halves": (halves, 2400, 3000),
}


def build(name: str, rows: list[Row], queries: int, documents: int, rng: random.Random) -> Source:
    """Number the texts of a random sample of rows; positives of the rows not used fill the pool as distractors."""
    rng.shuffle(rows)
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text[:2500], len(numbers))

    used = [row for row in rows if 2 <= len(row.query.split()) <= 150][:queries]
    texts, positives, given = [], [], []
    for row in used:
        if len(numbers) >= documents:
            break
        texts.append(row.query)
        positives.append([number(text) for text in row.positives])
        given.append([number(text) for text in row.negatives])
    for row in rows[len(texts) :]:
        if len(numbers) >= documents:
            break
        number(row.positives[0])
    return Source(name, texts, list(numbers), positives, given)


def load(folder: Path, name: str, times: int = 1) -> Source:
    """One source by name, always the same for the same input files; `times` as large as its caps let it be."""
    rng = random.Random(name)
    make, queries, documents = MADE.get(name) or (None, *FILES[name])
    rows = make(folder, rng, times) if make else rows_of(folder, name)
    return build(name, rows, times * queries, times * documents, rng)


NAMES = sorted({*FILES, *MADE})
