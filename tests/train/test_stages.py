"""Runs of whole recipes: resumed, shared by processes, saved, refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from crossrank import Reranker
from crossrank.errors import InputError
from crossrank.train.card import digest, read_card
from crossrank.train.recipe import read_recipe
from crossrank.train.stages import BASELINE, Run, _run_stage, train
from crossrank.train.state import read_json
from tests.train.worlds import RECIPE, toy_lines, write_lines, write_world

ROOT = Path(__file__).resolve().parent.parent.parent
SECOND = """
[[stage]]
name = "teacher"
loss = "margin_mse"
steps = 10
batch = 8
documents = 4
learning_rate = 1e-4
[[stage.source]]
path = "train.jsonl"
"""


def run(folder, *changes, text=RECIPE, into="out", **options):
    if not (folder / "recipe.toml").exists():
        write_world(folder, text)
    said = []
    recipe = read_recipe(folder / "recipe.toml", changes)
    scores = train(Run(recipe, folder, folder / into, ("crossrank", "train"), True), say=said.append, **options)
    return scores, said


def refused(folder):
    """A world whose state holds a run that was trained, but not put in the place of a better model."""
    run(folder, "labels.steps=1")
    card = folder / "out" / "training.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "score": 2.0}))
    with pytest.raises(InputError, match="out stays: it scores 2"):
        run(folder)


def interrupt(*_):
    raise KeyboardInterrupt


def once(function):
    """The function, which is interrupted when it is called again."""
    calls = iter((function, interrupt))
    return lambda *arguments: next(calls)(*arguments)


def weights(folder):
    return load_file(folder / "model.safetensors")


def child(folder, *arguments, launcher=("-m", "crossrank"), where=("--cpu",)):
    # As many threads as here: on some processors they decide in which order a sum is taken, and so its last bit.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *launcher, "train", str(folder / "recipe.toml"), *where, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_stages_run_in_order_and_the_baseline_is_measured_first(tmp_path):
    scores, said = run(tmp_path, text=RECIPE + SECOND)
    assert list(scores) == [BASELINE, "labels", "teacher"]
    assert scores["labels"]["dev"] > scores[BASELINE]["dev"] + 0.2
    assert said[0] == "labels: 17 queries are left out, dev sets ask them too"
    assert said[2] == f"before training: nDCG@10 dev {scores[BASELINE]['dev']:.4f}"
    gain = scores["teacher"]["dev"] - scores[BASELINE]["dev"]
    assert said[-2] == f"after teacher: nDCG@10 dev {scores['teacher']['dev']:.4f} ({gain:+.4f})"
    ranking = Reranker.load(tmp_path / "out", device="cpu").rank("what is", ["the capital of france", "a fox is red"])
    assert ranking.hits[0].index == 1
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"base", "dev.jsonl", "out", "recipe.toml", "train.jsonl"}


def test_a_killed_run_goes_on_to_the_same_weights_bit_by_bit(tmp_path):
    changes = ("labels.steps=50", "labels.save_every=10", "labels.loss=multiple_negatives")
    write_world(tmp_path)
    process = child(tmp_path, "--into", str(tmp_path / "killed"), *(f"--set={change}" for change in changes))
    marks = tmp_path / "killed.training" / "1-labels" / "checkpoints"
    while not list(marks.glob("checkpoint-*/complete")):
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed").exists()
    _, said = run(tmp_path, *changes, into="killed")
    assert any(line.startswith("labels: going on from step ") for line in said)
    run(tmp_path, *changes, into="whole")
    whole = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "killed").items():
        assert torch.equal(tensor, whole[name]), name


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    """Over gloo. Two kinds of bias apart: their gradient is zero but for rounding, of which Adam makes a step."""
    run(tmp_path, into="one")
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29613", "-m", "crossrank")
    process = child(tmp_path, "--into", str(tmp_path / "two"), launcher=launcher)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    one, two = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("one", "two"))
    assert two["machine"]["processes"] == 2
    assert two["score"] == pytest.approx(one["score"], abs=1e-6)
    expected = weights(tmp_path / "one")
    for name, tensor in weights(tmp_path / "two").items():
        if not name.endswith((".key.bias", "classifier.bias")):  # both shift all scores alike, or none
            torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=0, msg=name)


def test_a_checkpoint_that_was_being_written_is_not_gone_on_from(tmp_path):
    from crossrank.train.trainer import latest_checkpoint

    for step, complete in ((8, True), (16, True), (24, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if complete:
            (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert latest_checkpoint(tmp_path).name == "checkpoint-16"
    assert latest_checkpoint(tmp_path / "nothing") is None


def test_the_run_card_says_how_the_model_came_about(tmp_path):
    scores, _ = run(tmp_path, "labels.steps=12")
    card = json.loads((tmp_path / "out" / "training.json").read_text())
    assert card["recipe"]["stage"][0]["steps"] == 12
    assert card["scores"] == scores
    assert card["score"] == scores["labels"]["mean"]
    assert card["command"] == "crossrank train"
    assert card["data"].keys() == {"train.jsonl"}
    assert {"torch", "sentence-transformers", "crossrank"} <= card["versions"].keys()


def test_a_better_model_is_not_overwritten_unless_asked_to(tmp_path):
    run(tmp_path)
    kept = weights(tmp_path / "out")["classifier.weight"]
    with pytest.raises(InputError, match=r"out stays: it scores .*, and this run .* --force puts it there"):
        run(tmp_path, "labels.steps=1", "labels.learning_rate=1e-7")
    assert torch.equal(weights(tmp_path / "out")["classifier.weight"], kept)
    run(tmp_path, "labels.steps=1", "labels.learning_rate=1e-7", force=True)
    assert not torch.equal(weights(tmp_path / "out")["classifier.weight"], kept)
    scores, _ = run(tmp_path)
    assert json.loads((tmp_path / "out" / "training.json").read_text())["scores"] == scores


def test_a_model_measured_on_other_queries_is_not_overwritten_either(tmp_path):
    run(tmp_path, "labels.steps=1")
    write_lines(tmp_path / "dev.jsonl", toy_lines(10, seed=7))
    with pytest.raises(InputError, match="not measured on the same dev sets"):
        run(tmp_path)


def test_a_folder_without_a_card_is_left_alone_before_anything_is_trained(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"out is there already, and has no training\.json"):
        run(tmp_path)
    with pytest.raises(InputError, match="is the base model itself"):
        run(tmp_path, into="base")


def test_the_state_of_another_recipe_is_not_gone_on_with(tmp_path):
    refused(tmp_path)
    with pytest.raises(InputError, match=r"another recipe or other data \(seed differ\); --restart throws it away"):
        run(tmp_path, "seed=1")
    with pytest.raises(InputError, match=r"\(labels\.steps differ\).*without .*1-labels that stage alone begins anew"):
        run(tmp_path, "labels.steps=2")
    run(tmp_path, "labels.steps=1", restart=True, force=True)
    assert not (tmp_path / "out.training").exists()


@pytest.mark.parametrize(
    ("changed", "named"), [("train.jsonl", "train.jsonl"), ("dev.jsonl", "dev"), ("base/model.safetensors", "base")]
)
def test_the_state_of_other_data_is_not_gone_on_with(changed, named, tmp_path):
    refused(tmp_path)
    other = tmp_path / "other"
    write_world(other)
    write_lines(other / "train.jsonl", toy_lines(200, seed=8))
    write_lines(other / "dev.jsonl", toy_lines(30, seed=9))
    moved = {name: 2 * tensor for name, tensor in weights(other / "base").items()}
    save_file(moved, other / "base" / "model.safetensors", metadata={"format": "pt"})
    (other / changed).replace(tmp_path / changed)
    with pytest.raises(InputError, match=rf"holds a run of another recipe or other data \({named} differ\)"):
        run(tmp_path, force=True)


def test_the_run_card_has_the_hashes_of_what_was_trained_on(tmp_path):
    write_world(tmp_path)
    read = digest([tmp_path / "train.jsonl"])

    def say(line):
        if line.startswith("after labels"):
            write_lines(tmp_path / "train.jsonl", toy_lines(10, seed=8))

    recipe = read_recipe(tmp_path / "recipe.toml", ("labels.steps=1",))
    train(Run(recipe, tmp_path, tmp_path / "out", (), True), say=say)
    assert read_card(tmp_path / "out")["data"] == {"train.jsonl": read}


def test_a_state_that_does_not_say_what_it_was_begun_with_is_refused(tmp_path):
    write_world(tmp_path)
    (tmp_path / "out.training" / "1-labels").mkdir(parents=True)
    with pytest.raises(InputError, match=r"out\.training has no run\.json"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (("teacher.source=[{path='trian.jsonl'}]",), "stage 'teacher': source .*trian.jsonl is not a file"),
        (("teacher.source=[{path='few.jsonl'}]",), "few.jsonl:1: the query 'a' has no scores, and loss 'margin_mse'"),
        (("teacher.frozen=['embedding']",), "stage 'teacher': frozen: no parameter's name begins with 'embedding'"),
        (("teacher.max_length=9999",), "stage 'teacher': limits: max_length 9999 is more than the model's"),
        (("teacher.loss=multiple_negatives", "teacher.accumulate=2"), "stage 'teacher': loss 'multiple_negatives'"),
        (("teacher.loss=list_net", "teacher.options.chunk=-1"), "stage 'teacher': loss 'list_net': chunk should be"),
        (("log_to=['flyte']",), "log_to: flyte is not installed"),
    ],
)
def test_a_mistake_in_a_later_stage_is_found_before_anything_is_measured(changes, complaint, tmp_path):
    write_world(tmp_path, RECIPE + SECOND)
    write_lines(tmp_path / "few.jsonl", [{"query": "a", "positive": "b", "negative": "c"}])
    said = []
    recipe = read_recipe(tmp_path / "recipe.toml", changes)
    with pytest.raises(InputError, match=complaint):
        train(Run(recipe, tmp_path, tmp_path / "out", (), True), say=said.append)
    assert not any(line.startswith(BASELINE) for line in said)


def test_data_that_is_corrected_before_anything_was_trained_asks_for_no_restart(tmp_path):
    write_world(tmp_path)
    good = (tmp_path / "train.jsonl").read_bytes()
    write_lines(tmp_path / "train.jsonl", [{"query": "a", "documents": ["b", "c"], "scores": [1, 0]}])
    with pytest.raises(InputError, match=r"train\.jsonl:1: the query 'a' has no labels"):
        run(tmp_path, "labels.steps=1")
    (tmp_path / "train.jsonl").write_bytes(good)
    run(tmp_path, "labels.steps=1")


def test_a_stage_that_has_not_begun_may_change(tmp_path, monkeypatch):
    write_world(tmp_path, RECIPE + SECOND)
    with monkeypatch.context() as patch:
        patch.setattr("crossrank.train.stages._run_stage", once(_run_stage))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    write_lines(tmp_path / "other.jsonl", toy_lines(50, seed=8))
    _, said = run(tmp_path, "teacher.steps=9", "teacher.source=[{path='other.jsonl'}]")
    steps = [line.partition(":")[0] for line in said if ": step " in line]
    assert set(steps) == {"teacher"}, "the first is not trained anew"
    card = read_card(tmp_path / "out")
    assert (card["recipe"]["stage"][1]["steps"], list(card["data"])) == (9, ["other.jsonl", "train.jsonl"])


def test_a_last_stage_that_was_taken_out_of_the_state_begins_anew(tmp_path):
    refused(tmp_path)
    shutil.rmtree(tmp_path / "out.training" / "1-labels")
    with pytest.raises(InputError, match=r"this run (?P<score>0\.\d+)\."):
        run(tmp_path, "labels.steps=2", "labels.learning_rate=1e-8")
    assert read_json(tmp_path / "out.training" / "run.json", None)["recipe"]["stage"][0]["steps"] == 2


@pytest.mark.parametrize("dev", [(), ("dev=[]",)])
def test_a_run_killed_before_it_removed_its_state_is_done(dev, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("crossrank.train.stages.drop_state", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "labels.steps=2", *dev)
    finished = (tmp_path / "out" / "training.json").read_bytes()
    _, said = run(tmp_path, "labels.steps=2", *dev)
    assert said[-1] == f"the model is in {tmp_path / 'out'}"
    assert (tmp_path / "out" / "training.json").read_bytes() == finished
    assert not list(tmp_path.glob("out.*"))


def test_a_half_removed_state_is_not_gone_on_from(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("crossrank.train.state._remove", lambda folder: interrupt() if folder.exists() else None)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "labels.steps=2")
    assert [path.name for path in tmp_path.glob("out.*")] == ["out.training.done"]
    run(tmp_path, "labels.steps=3", force=True)
    assert not list(tmp_path.glob("out.*"))


@pytest.mark.parametrize("change", ["dev=[]", "dev=[{path='dev.jsonl', queries=9}]"])
def test_a_run_that_could_not_be_compared_is_refused_before_it_trains(change, tmp_path):
    run(tmp_path, "labels.steps=1", "dev=[]")
    with pytest.raises(InputError, match="out stays: it was not measured on the same dev sets.*; --force puts"):
        run(tmp_path, "labels.steps=1", change)
    assert not (tmp_path / "out.training").exists()


def test_force_replaces_nothing_but_a_model(tmp_path):
    write_world(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_text("kept")
    with pytest.raises(InputError, match="file is a file; a folder"):
        run(tmp_path, into="file", force=True)
    with pytest.raises(InputError, match=r"photos has no config\.json, so it is no model that may be replaced"):
        run(tmp_path, into="photos", force=True)
    assert (tmp_path / "file").read_text() == (tmp_path / "photos" / "one.png").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    run(tmp_path, "labels.steps=1", into="empty", force=True)


def test_lora_learns_and_is_merged(tmp_path):
    scores, _ = run(tmp_path, "labels.lora.rank=4", "labels.learning_rate=1e-2", "labels.steps=60")
    assert scores["labels"]["dev"] > 0.95
    base, trained = weights(tmp_path / "base"), weights(tmp_path / "out")
    assert base.keys() == trained.keys()
    changed = {name for name in base if not torch.equal(base[name], trained[name])}
    assert "bert.encoder.layer.0.intermediate.dense.weight" in changed
    assert "bert.embeddings.word_embeddings.weight" not in changed


def test_what_is_frozen_stays_to_the_bit(tmp_path):
    run(tmp_path, "labels.frozen=['embeddings', 'blocks.0']", "labels.steps=3")
    base, trained = weights(tmp_path / "base"), weights(tmp_path / "out")
    same = {name for name in base if torch.equal(base[name], trained[name])}
    assert same == {name for name in base if name.startswith(("bert.embeddings.", "bert.encoder.layer.0."))}


@pytest.mark.parametrize("change", [(), ("labels.lora.rank=4",)])
def test_a_part_of_what_is_learned_is_kept(change, tmp_path):
    run(tmp_path, "labels.steps=5", *change, into="whole")
    run(tmp_path, "labels.steps=5", "labels.keep=0.25", *change, into="part")
    base, whole, part = (weights(tmp_path / name) for name in ("base", "whole", "part"))
    assert any(not torch.equal(base[name], whole[name]) for name in base)
    for name in base:
        torch.testing.assert_close(part[name], base[name] + (whole[name] - base[name]) / 4)


@pytest.mark.parametrize(
    ("frozen", "complaint"),
    [
        ("['embedding']", "no parameter's name begins with 'embedding'; did you mean 'embeddings'?"),
        ("['blocks.1x']", "no parameter's name begins with 'blocks.1x'"),
        ("['embeddings', 'blocks', 'head']", "embeddings, blocks, head is all there is, so nothing would learn"),
    ],
)
def test_freezing_nothing_or_everything_is_refused(frozen, complaint, tmp_path):
    with pytest.raises(InputError, match=re.escape(complaint)):
        run(tmp_path, f"labels.frozen={frozen}")


def test_a_batch_in_parts_with_recomputed_activations_is_saved_in_half_precision(tmp_path):
    changes = ("labels.accumulate=2", "labels.gradient_checkpointing=true", "save_as=float16")
    scores, _ = run(tmp_path, *changes, into="parts")
    plain, _ = run(tmp_path, into="plain")
    assert scores["labels"]["dev"] == pytest.approx(plain["labels"]["dev"], abs=0.01)
    assert Reranker.load(tmp_path / "parts", device="cpu").checkpoint.stored == ("float16",)


def test_without_a_gpu_bfloat16_trains_on_the_cpu_unasked(tmp_path):
    write_world(tmp_path)
    changes = ("--set=precision=bfloat16", "--set=labels.steps=4")
    process = child(tmp_path, "--into", str(tmp_path / "half"), *changes, where=())
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0, said
    assert (tmp_path / "half" / "model.safetensors").is_file()
