"""Teaching mini-en and tiny-en what several bi-encoders make of text, on facts that one of them reads."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crossrank import Reranker
from crossrank.batch import Filled, pack
from crossrank.checkpoint import read_checkpoint
from crossrank.hub import find
from crossrank.models.dual import overlap
from tests.recipes.running import modules_of, run

RECIPE = "ensemble"


@pytest.fixture(scope="module")
def prepared(recipe, english_base, english_data, tmp_path_factory):
    """Two labelled sources, one of them kept from training, and one of passages; their vectors, and the library."""
    work = tmp_path_factory.mktemp("work")
    (work / "passages").mkdir()
    with gzip.open(work / "passages/harbours.jsonl.gz", "wt", encoding="utf-8") as out:
        for number in range(60):
            text = f"Harbour {number} has {number + 2} quays. Ships of {number} flags lie there. Salt is sold on it."
            out.write(json.dumps({"title": f"Harbour {number} of the north", "text": f"{text} {text.upper()}"}) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        with modules_of("dual") as imported:
            options = (
                "--data",
                english_data,
                "--only",
                "tldr",
                "strategyqa_facts",
                "--times",
                2,
                "--out",
                work / "wide",
            )
            run(imported("texts"), patch, *options, "--passages", work / "passages")
        for name, prompts in (("plain", ("", "")), ("prompted", ("query: ", "passage: "))):
            options = ("--base", english_base, "--texts", work / "wide", "--out", work / name)
            run(recipe("vectors"), patch, "--prompts", *prompts, *options)
        options = ("--vectors", work / "plain", work / "prompted", "--unseen", "en_tldr", "--out", work / "library.pt")
        run(recipe("library"), patch, "--model", find("mini-en"), "--texts", work / "wide", *options)
    return work


@pytest.fixture
def short(recipe, monkeypatch):
    """Counts are fitted to, and models judged on, a few lists."""
    for name, lists in (("BLENDED", 4), ("SETTLED", 1)):
        monkeypatch.setattr(recipe("sides"), name, lists)
    monkeypatch.setattr(recipe("library"), "JUDGED", 2)


@pytest.fixture
def library(recipe, prepared):
    return recipe("library").load(prepared / "library.pt", torch.device("cpu"))


def test_vectors_are_the_bi_encoders_own(prepared, english_base):
    transformers = pytest.importorskip("transformers")
    with modules_of("dual") as imported:
        source = imported("texts").read(prepared / "wide", "en_tldr")
    model = transformers.AutoModel.from_pretrained(english_base, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(english_base)
    for ours, text in zip(np.load(prepared / "prompted/en_tldr.npy"), source.queries[:5], strict=False):
        with torch.inference_mode():
            mean = model(**tokenizer(f"query: {text}", return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        assert ours.astype(np.float32) @ mean > 0.999 * np.linalg.norm(mean)


def test_a_library_knows_answers_of_labelled_sources_alone(library):
    names = {shelf.name: shelf for shelf in library.shelves}
    assert set(names) == {"en_strategyqa_facts", "en_tldr", "text_harbours"}
    assert names["en_tldr"].held_out == len(names["en_tldr"]) == 120
    for shelf in library.shelves:
        queries = slice(shelf.first, shelf.documents)
        assert library.label[queries].any(1).all() == shelf.labelled
        assert (library.columns[queries] >= shelf.documents).all()
        assert (library.columns[queries] < shelf.end).all()
        for row, shown in zip(library.columns[queries], library.shown[queries], strict=True):
            assert len(set(row[shown])) == shown.sum(), "a candidate is shown once"


def test_the_best_of_the_teachers_and_of_words_are_candidates(library):
    shelf = next(shelf for shelf in library.shelves if shelf.name == "en_tldr")
    query = torch.tensor([shelf.first])
    best = library.dense(query, torch.arange(shelf.documents, shelf.end))[0].topk(5).indices + shelf.documents
    assert set(best.tolist()) <= set(library.columns[shelf.first].tolist())


def test_opinions_of_a_step_are_the_engines_own(recipe, library):
    sides = recipe("sides")
    model = read_checkpoint(find("mini-en")).model.float()
    queries = np.array([shelf.first + 7 for shelf in library.shelves])
    step = sides.step_of(library, queries, np.tile(np.arange(6), (len(queries), 1)), most=11)
    with torch.inference_mode():
        judged = sides.judge(model, library, step)
        alone = library.packed(np.concatenate([queries, step.documents.reshape(-1)]), 11)
        rows = np.split(alone.tokens.numpy().astype(np.int32), np.cumsum(alone.lengths)[:-1])
        pairs = [
            Filled(tokens=np.concatenate([rows[i], rows[len(queries) + 6 * i + k]]), split=len(rows[i]))
            for i in range(len(queries))
            for k in range(6)
        ]
        batch = pack(pairs)
        below, top = model.apart(batch)
        shared = overlap(batch, model.head.pieces.weight[:, 0])
        opinions, query = model.head.matching(top, batch, shared)
        matching = (opinions * model.head.counts(query, shared)).sum(1)
        logits = model.together(below, top, batch)
    assert torch.allclose(judged.opinions.flatten(0, 1), opinions, atol=0.02), "a step is computed in bfloat16"
    whole = (judged.matching + judged.cross).flatten() + model.head.cross.out.bias
    assert torch.allclose(whole, logits, atol=0.5)
    assert torch.allclose(judged.matching.flatten(), matching, atol=0.25)


def test_sides_learn_and_words_stay(short, called, prepared, tmp_path, capsys):
    options = ("--model", find("mini-en"), "--library", prepared / "library.pt", "--out", tmp_path / "run")
    called("sides", *options, "--minutes", 0.02, "--queries", 6)
    told = capsys.readouterr().out
    assert told.count("sources not seen: ") == told.count("held out: ") == 3
    before, after = (read_checkpoint(folder).model.state_dict() for folder in (find("mini-en"), tmp_path / "run/model"))
    moved = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert not [name for name in moved if name.startswith("embeddings.")]
    assert not {"head.pieces.weight", "head.mix.weight", "head.mix.bias"} & moved
    assert {"blocks.0.up.weight", "blocks.5.down.weight", "blocks.7.up.weight", "head.cross.out.bias"} <= moved
    reranker = Reranker.load(tmp_path / "run/model", device="cpu")
    scores = reranker.score(
        [("where is salt sold in Delft", "In Delft, salt is sold."), ("salt in Delft", "It rained.")]
    )
    assert scores[0] > scores[1]


def test_tiny_en_reads_pairs_of_whole_strides(recipe, library):
    tiny, sides = recipe("tiny"), recipe("sides")
    shelf = next(shelf for shelf in library.shelves if shelf.name == "text_harbours")
    step = sides.step_of(library, np.arange(shelf.first, shelf.first + 3), np.tile(np.arange(5), (3, 1)), most=224)
    batch, places = tiny.pairs_of(library, step)
    assert {length % tiny.STRIDE for length in batch.lengths} == {0}
    assert list(batch.lengths) == sorted(batch.lengths, reverse=True)
    first = batch.tokens[batch.bounds[places[0]] : batch.bounds[places[0] + 1]].tolist()
    query, document = (library.text(number).tolist() for number in (step.queries[0], step.documents[0, 0]))
    opening, closing = first[0], library.closing
    framed = [opening, *query, closing, *document, closing]
    assert first == [*framed[: len(first) - 1], closing]
    assert len(framed) - len(first) < tiny.STRIDE


def test_tiny_en_learns_from_mini_en_and_the_ensemble(short, called, prepared, tmp_path, capsys):
    options = ("--student", find("tiny-en"), "--model", find("mini-en"), "--library", prepared / "library.pt")
    called("tiny", *options, "--out", tmp_path / "run", "--minutes", 0.02, "--queries", 4)
    assert capsys.readouterr().out.count("held out: tiny-en, mini-en") == 2
    folders = SimpleNamespace(before=find("tiny-en"), after=tmp_path / "run/model")
    before, after = (read_checkpoint(folder).model.state_dict() for folder in (folders.before, folders.after))
    assert torch.equal(before["embeddings.words.weight"].half(), after["embeddings.words.weight"].half())
    assert not torch.equal(before["blocks.3.down.weight"].half(), after["blocks.3.down.weight"].half())
