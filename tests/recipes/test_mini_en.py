"""The recipe of mini-en on a hundred and twenty facts: pools, states, candidates, training, a folder that loads."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from crossrank import Reranker
from crossrank.checkpoint import read_checkpoint
from crossrank.hub import find
from crossrank.train.recipe import read_recipe
from crossrank.train.stages import Run, train
from tests.recipes.running import RECIPES, modules_of, run

RECIPE = "dual"


@pytest.fixture(scope="module")
def prepared(recipe, english_base, english_data, tmp_path_factory):
    """work/texts, work/start, work/states and work/candidates of two sources."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:

        def call(name, *arguments):
            patch.setattr("sys.argv", [f"{name}.py", *map(str, arguments)])
            recipe(name).main()

        call("texts", "--data", english_data, "--only", "tldr", "strategyqa_facts", "--out", work / "texts")
        call("start", "--base", english_base, "--texts", work / "texts", "--out", work / "start")
        states = ("--model", work / "start", "--texts", work / "texts", "--out", work / "states")
        call("states", *states)
        call("choose", *states[:4], "--states", work / "states", "--out", work / "candidates")
    return work


def test_the_start_scores_by_cosine_and_words(prepared):
    reranker = Reranker.load(prepared / "start", device="cpu")
    assert reranker.checkpoint.architecture == "dual"
    documents = ["In Delft, salt is sold at the harbour.", "In Delft, bread is sold at the harbour.", "It rained."]
    assert [hit.index for hit in reranker.rank("where is salt sold in Delft", documents)] == [0, 1, 2]


def test_candidates_hold_the_answer_first_and_what_is_thought_of_each(prepared):
    arrays = dict(np.load(prepared / "candidates" / "en_tldr.npz"))
    assert arrays["documents"].shape == (120, 24)
    assert arrays["label"][:, 0].all()
    assert arrays["opinions"].shape == (120, 24, 3)
    assert ((arrays["opinions"][:, 0] > arrays["opinions"][:, 1:].mean(1)).mean(0) > 0.9).all()


def test_scores_from_kept_states_are_the_engines_own(recipe, prepared):
    lists, train = recipe("lists"), recipe("train")
    pools = lists.open_pools(prepared / "states", prepared / "candidates")
    sampled = lists.sample(pools, [1.0, 1.0], random.Random(0))
    assert sampled.label.shape == (lists.QUERIES, lists.GROUP)
    assert sampled.label.any(1).all()
    model = read_checkpoint(prepared / "start").model
    with torch.inference_mode():
        counts = torch.nn.functional.softplus(model.head.mix.bias)
        apart = train.teacher_of(sampled, {pool.name: counts for pool in pools}) - lists.scores_of(model, sampled)
        assert apart.std() < 1e-4, "before training, cosine, words and tokens are all there is"
        kept, computed = lists.scores_of(model, sampled), model(sampled.batch).view(sampled.label.shape)
    assert torch.allclose(kept, computed, atol=2e-2), "states are kept in fp16"


def test_what_opinions_count_is_fitted_to_the_labels(called, prepared, capsys):
    called("blend", *(f"--{name}={prepared / folder}" for name, folder in PREPARED))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    start, own, by_query, _ = (float(value) for value in lines[-1].split()[4:])
    assert own >= start - 0.01
    assert by_query >= start - 0.01


PREPARED = [("model", "start"), ("states", "states"), ("candidates", "candidates")]


def test_training_ends_in_a_model_that_loads_and_is_not_done_twice(called, prepared, tmp_path, capsys):
    options = ("--model", prepared / "start", "--states", prepared / "states")
    options += ("--candidates", prepared / "candidates", "--out", tmp_path / "run", "--pairs", 180)
    called("train", *options)
    assert "held out: model, matching alone, cosine: en" in capsys.readouterr().out
    called("train", *options)
    assert "step" not in capsys.readouterr().out
    before, after = (
        read_checkpoint(folder).model.state_dict() for folder in (prepared / "start", tmp_path / "run/model")
    )
    moved = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert not [name for name in moved if name.startswith(("embeddings.", "blocks.0.", "blocks.5."))]
    assert {"marks.weight", "blocks.7.down.weight", "head.mix.weight", "head.late.weight"} <= moved
    scores = Reranker.load(tmp_path / "run/model", device="cpu").score(
        [("salt in Delft", "In Delft, salt."), ("a", "b")]
    )
    assert scores[0] > scores[1]


def test_tiny_en_learns_what_it_says_of_a_pair(prepared, monkeypatch, tmp_path, capsys):
    student = find("tiny-en")
    options = ("--student", student, "--teacher", prepared / "start", "--states", prepared / "states")
    options += ("--candidates", prepared / "candidates", "--out", tmp_path / "run", "--pairs", 60)
    for _ in range(2):
        with modules_of("tiny-en") as imported:
            run(imported("again"), monkeypatch, *options)
    assert capsys.readouterr().out.count("held out: tiny-en, its teacher: ") == 3, "the second run had nothing to do"
    before, after = (read_checkpoint(folder) for folder in (student, tmp_path / "run/model"))
    moved = {name for name, tensor in after.model.state_dict().items()
             if not torch.equal(tensor.half(), before.model.state_dict()[name].half())}  # fmt: skip
    assert "blocks.3.down.weight" in moved
    assert "embeddings.words.weight" not in moved
    ours, theirs = (Reranker.load(folder, device="cpu").limits for folder in (tmp_path / "run/model", student))
    assert ours == theirs
    with modules_of("tiny-en") as imported:
        run(imported("again"), monkeypatch, *options, "--share", 0)
    untaught = read_checkpoint(tmp_path / "run/model").model.state_dict()
    assert all(torch.equal(tensor, before.model.state_dict()[name]) for name, tensor in untaught.items())


def test_tiny_en_learns_of_a_teacher_alone_and_is_the_mean_of_runs(prepared, monkeypatch, tmp_path, capsys):
    first = next((prepared / "states").glob("*.npz")).stem
    for kind in ("npz", "npy"):
        (tmp_path / "states").mkdir(exist_ok=True)
        shutil.copy(prepared / "states" / f"{first}.{kind}", tmp_path / "states" / f"en_unanswered.{kind}")
    (tmp_path / "candidates").mkdir()
    chosen = dict(np.load(prepared / "candidates" / f"{first}.npz"))
    np.savez(tmp_path / "candidates" / "en_unanswered.npz", **{**chosen, "label": np.zeros_like(chosen["label"])})
    options = ("--student", find("tiny-en"), "--teacher", prepared / "start", "--states", tmp_path / "states")
    options += ("--candidates", tmp_path / "candidates", "--pairs", 60)
    states = [tmp_path / name / "state.pt" for name in ("one", "other")]
    with modules_of("tiny-en") as imported:
        again = imported("again")
        with pytest.raises(SystemExit):
            run(again, monkeypatch, *options, "--out", tmp_path / "other", "--beside", states[0])
        assert "--beside: no such file" in capsys.readouterr().err
        run(again, monkeypatch, *options, "--out", tmp_path / "one")
        run(again, monkeypatch, *options, "--out", tmp_path / "other", "--seed", 6, "--beside", states[0])
    assert capsys.readouterr().out.count("held out: no labels") == 4
    one, other = (torch.load(path, weights_only=False)["model"]["blocks.3.down.weight"] for path in states)
    assert not torch.equal(one, other)
    kept = read_checkpoint(tmp_path / "other/model").model.state_dict()["blocks.3.down.weight"]
    torch.testing.assert_close(kept.float(), (one + other) / 2, atol=1e-4, rtol=1e-3)


def test_pairs_reach_tiny_en_in_its_own_frame(recipe, prepared):
    """Its states have a first token on either side; the published v1 layout has one a pair."""
    lists, student = recipe("lists"), Reranker.load("tiny-en", device="cpu")
    pools = lists.open_pools(prepared / "states", prepared / "candidates")
    source = recipe("texts").read(prepared / "texts", pools[0].name)
    sampled = lists.gather([(pools[0], 3, [0, 1])])
    with modules_of("tiny-en") as imported, torch.inference_mode():
        scores = imported("again").student_scores(student.scorer.model, sampled)[0]
    pairs = [(source.queries[3], source.documents[number]) for number in pools[0].documents[3, :2]]
    np.testing.assert_allclose(scores.numpy(), student.score(pairs, raw=True), atol=1e-4)


@pytest.fixture(scope="module")
def scored(prepared, english_base, tmp_path_factory):
    """Lists with the scores of an ensemble of mini-en's start and one bi-encoder."""
    work = tmp_path_factory.mktemp("scored")
    with modules_of("ensemble") as imported, pytest.MonkeyPatch.context() as patch:
        options = ("--texts", prepared / "texts", "--out")
        run(imported("vectors"), patch, "--base", english_base, *options, work / "vectors")
        folders = (f"--{name}={prepared / folder}" for name, folder in PREPARED)
        run(imported("scored"), patch, *folders, "--vectors", work / "vectors", *options, work / "lists")
    return work / "lists"


def lines_of(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_an_ensembles_lists_are_whole_and_their_first_queries_are_kept_from_training(scored, prepared, recipe):
    for source in map(partial(recipe("texts").read, prepared / "texts"), ("en_tldr", "en_strategyqa_facts")):
        dev, train = (lines_of(scored / part / f"{source.name}.jsonl.gz") for part in ("dev", "train"))
        assert [line["query"] for line in (*dev, *train)] == source.queries
        assert len(dev) == len(source.queries) // 5
        for line, positives in zip((*dev, *train), source.positives, strict=True):
            answers = {source.documents[number] for number in positives}
            assert [text in answers for text in line["documents"]] == [label == 1 for label in line["labels"]]
            assert line["labels"][0] == 1
            assert len(line["scores"]) == len(line["documents"]) == 24
        first = np.mean([line["scores"][0] - np.mean(line["scores"]) for line in train])
        assert first > 3, "an answer has more than its bonus over the others"


def test_scores_are_the_sum_of_what_the_models_say(scored, prepared, english_base):
    """One count a model explains all of a list's scores: the engine's logits and sentence-transformers' cosines."""
    line = lines_of(scored / "train" / "en_tldr.jsonl.gz")[0]
    pairs = [(line["query"], text) for text in line["documents"]]
    ours = Reranker.load(prepared / "start", device="cpu").score(pairs, raw=True)  # cross layers say nothing yet
    encoder = SentenceTransformer(modules=[Transformer(str(english_base)), Pooling(384)], device="cpu")
    query, *others = encoder.encode([line["query"], *line["documents"]], normalize_embeddings=True)
    ways = np.stack([ours, np.stack(others) @ query, np.ones(len(pairs))], axis=1)
    scores = np.array(line["scores"]) - 3.0 * np.array(line["labels"])
    counts, *_ = np.linalg.lstsq(ways, scores, rcond=None)
    assert counts[:2].min() > 0
    np.testing.assert_allclose(ways @ counts, scores, atol=0.05)


def test_lists_without_a_label_are_refused(prepared, monkeypatch, tmp_path, capsys):
    chosen = dict(np.load(prepared / "candidates" / "en_tldr.npz"))
    np.savez(tmp_path / "en_tldr.npz", **{**chosen, "label": np.zeros_like(chosen["label"])})
    options = ("--model", prepared / "start", "--texts", prepared / "texts", "--states", prepared / "states")
    options += ("--candidates", tmp_path, "--vectors", tmp_path, "--out", tmp_path / "lists")
    with modules_of("ensemble") as imported, pytest.raises(SystemExit):
        run(imported("scored"), monkeypatch, *options)
    assert f"no source of {tmp_path} has labels" in capsys.readouterr().err
    assert not (tmp_path / "lists").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_recipe_for_crossrank_train_makes_a_model_of_an_ensembles_lists(prepared, scored, tmp_path):
    settings = ["base=start", "data=lists", "ensemble.steps=4", "ensemble.batch=2"]
    recipe = read_recipe(RECIPES / "mini-en.toml", settings)
    shutil.copytree(prepared / "start", tmp_path / "start")
    lists = tmp_path / "lists"
    for part in ("dev", "train"):
        (lists / part).mkdir(parents=True)
    few = lines_of(scored / "dev" / "en_tldr.jsonl.gz")[:6]
    for dev in recipe.dev:
        with gzip.open(lists / dev.path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in few)
    for path in {source.path for stage in recipe.stage for source in stage.source}:
        shutil.copyfile(scored / "train" / "en_tldr.jsonl.gz", lists / path)
    scores = train(Run(recipe, tmp_path, tmp_path / "out", ("crossrank", "train"), True), say=[].append)
    assert list(scores)[1:] == [stage.name for stage in recipe.stage]
    assert Reranker.load(tmp_path / "out", device="cpu").checkpoint.stored == ("float16",)
