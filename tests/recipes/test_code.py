"""Teaching mini-en what functions do, on a wheel of functions that were made up."""

from __future__ import annotations

import gzip
import json
import random
import zipfile

import numpy as np
import pytest
import torch

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.hub import find
from tests.recipes.conftest import PLACES, THINGS
from tests.recipes.running import modules_of, run

RECIPE = "code"
FUNCTION = '''
def sell_{thing}_in_{place}(amount, price):
    """Sell {thing} at the harbour of {place}.

    The price is by weight.
    """
    {place}_{thing} = weigh("{thing}", amount) * price
    return {place}_{thing}.rounded("{place}")
'''


@pytest.fixture(scope="module")
def prepared(recipe, english_data, tmp_path_factory):
    """A wheel, its functions as pools, and another source with its states and candidates."""
    work = tmp_path_factory.mktemp("work")
    (work / "wheels").mkdir()
    with zipfile.ZipFile(work / "wheels" / "harbours-1-py3-none-any.whl", "w") as wheel:
        for place in map(str.lower, PLACES):
            written = "\n".join(FUNCTION.format(thing=thing, place=place) for thing in THINGS)
            wheel.writestr(f"harbours/{place}.py", written)
        wheel.writestr("harbours/broken.py", "def half(:")
    (work / "seen").mkdir()
    known = {"_id": "1", "text": 'def f(a):\n    """Sell salt at the harbour of Jena."""\n    return a'}
    (work / "seen" / "corpus.jsonl").write_text(json.dumps(known) + "\n", encoding="utf-8")
    model = ("--model", find("mini-en"))
    texts, states = ("--texts", work / "texts"), ("--states", work / "states")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe("functions"), "PIECE", 60)
        made = ("--packages", work / "wheels", "--avoid", work / "seen", "--out", work / "code")
        run(recipe("functions"), patch, *made)
        with modules_of("dual") as imported:
            run(imported("texts"), patch, "--data", english_data, "--only", "tldr", "--out", work / "texts")
            run(imported("states"), patch, *model, *texts, "--out", work / "states")
            run(imported("choose"), patch, *model, *texts, *states, "--out", work / "candidates")
    return work


def test_every_function_is_asked_for_by_what_its_code_no_longer_says(recipe, prepared):
    with modules_of("dual") as imported:
        sources = [imported("texts").read(prepared / "code", f"en_code_{piece}") for piece in (0, 1)]
    queries, documents = (
        [text for source in sources for text in getattr(source, name)] for name in ("queries", "documents")
    )
    assert len(queries) == 119, "one of a hundred and twenty is in the collection"
    assert not any("salt" in query.lower() and "jena" in query.lower() for query in queries)
    assert all(("def function(" in text) != ('"""' not in text) for text in documents)
    for source in sources:
        for query, (number,) in zip(source.queries, source.positives, strict=True):
            name = [word for word in THINGS if word in query.lower()] + [
                w for w in PLACES if w.lower() in query.lower()
            ]
            assert all(word.lower() in source.documents[number] for word in name)


def test_functions_of_one_name_answer_for_each_other(recipe):
    functions = recipe("functions")
    pair = [
        functions.Function("is_even", "Tell even numbers", "def is_even(n):\n  return n % 2 == 0", "def function"),
        functions.Function("is_even", "Whether two divides", "def is_even(x):\n  return not x & 1", "def function(x)"),
        functions.Function("area", "The area of a circle", "def area(r):\n  return r * r * 3.14", "def function(r)"),
    ]
    source = functions.source_of("en_code_0", pair, random.Random(0))
    assert source.positives[0] == source.positives[1] == [0, 1]
    assert source.positives[2] == [2]


def test_whole_functions_meet_questions_that_nobody_held_out(recipe, prepared, tmp_path, monkeypatch):
    asked = [(f"how many {thing} in {place}?", ("python", "csharp", "sql")[len(place) % 3]) for thing in THINGS
             for place in PLACES]  # fmt: skip
    rows = [{"query": query, "positive": f"count({query!r})", "code": code} for query, code in asked]
    with gzip.open(tmp_path / "codenn_so.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    data = ("--data", tmp_path, "--texts", tmp_path / "texts", "--out", tmp_path / "code")
    with modules_of("dual") as imported:
        texts, lists = imported("texts"), imported("lists")
        run(texts, monkeypatch, "--data", tmp_path, "--only", "codenn_so", "--out", tmp_path / "texts")
        held_out = set(texts.read(tmp_path / "texts", "en_codenn_so").queries[: lists.HELD_OUT])
    run(recipe("questions"), monkeypatch, *data)
    whole = recipe("whole")
    monkeypatch.setattr(whole, "PIECE", 60)
    run(whole, monkeypatch, *data, "--packages", prepared / "wheels", "--avoid", prepared / "seen")
    answered = texts.read(tmp_path / "code", "en_so")
    assert not held_out & set(answered.queries)
    pieces = [texts.read(tmp_path / "code", f"en_whole_{number}") for number in (0, 1)]
    names = {word.lower() for word in (*THINGS, *PLACES)}
    withheld = {frozenset(names & set(query.lower().rstrip("?").split())) for query in held_out}
    for piece in pieces:
        assert all(text.startswith("def sell_") and '"""Sell ' in text for text in piece.documents)
        assert not any(piece.positives), "which answers are right is not known"
        about = {frozenset(names & set(query.split())) for query in piece.queries if "many" in query}
        assert about
        assert not withheld & about
    assert len({text for piece in pieces for text in piece.documents}) == 119


def test_sides_learn_code_and_keep_the_rest(recipe, prepared, monkeypatch, capsys):
    sides = recipe("sides")
    for name, value in {"GROUP": 6, "GROUPS": 2, "AMONG": 40, "KEPT": 4, "DEV": 20}.items():
        monkeypatch.setattr(sides, name, value)
    options = ("--model", find("mini-en"), "--code", prepared / "code", "--states", prepared / "states")
    options = (*options, "--candidates", prepared / "candidates", "--out", prepared / "run")
    run(sides, monkeypatch, *options, "--minutes", 0.05)
    run(sides, monkeypatch, *options, "--minutes", 0.07)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("functions ")]
    assert len(told) == 5, (
        "judged before the first step, and of each run after it and as it is kept; the second goes on"
    )
    first, *_, last = (float(line.split()[1].rstrip(";")) for line in told)
    assert last >= first
    old, new = (read_checkpoint(folder).model.state_dict() for folder in (find("mini-en"), prepared / "run" / "model"))
    changed = {name for name, tensor in old.items() if not torch.equal(tensor.half(), new[name].half())}
    assert changed
    assert all(name.startswith(("blocks.", "head.late.")) for name in changed)
    assert not any(name.startswith(("blocks.6.", "blocks.7.")) for name in changed), "cross layers stay"
    documents = ["Ships carry salt to Bergen.", "It rained all day."]
    folders = find("mini-en"), prepared / "run" / "model"
    before, after = (
        [hit.score for hit in Reranker.load(folder).rank("who brings salt", documents)] for folder in folders
    )
    assert np.abs(np.subtract(before, after)).max() < 0.2
