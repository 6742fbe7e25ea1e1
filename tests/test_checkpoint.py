"""A folder becomes a model only if every tensor and every setting is accounted for."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crossrank import CheckpointError, Limits, Reranker
from crossrank.checkpoint import read_checkpoint, read_config, read_tensors
from tests.checkpoints import RECIPES, bert, jina_v2, load, tiny, unplaced, xlm_roberta
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 4, n), letters(n * n % 23, n + 50)) for n in range(8)]


def save_shards(recipe, folder, suffix="safetensors"):
    """The recipe in three shards with their index, as large checkpoints are published."""
    folder.mkdir(exist_ok=True)
    recipe.write_sides(folder)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    save = save_file if suffix == "safetensors" else torch.save
    place = {name: f"{stem}-0000{i % 3 + 1}-of-00003.{suffix}" for i, name in enumerate(sorted(recipe.tensors))}
    for file in set(place.values()):
        save({name: recipe.tensors[name].contiguous() for name in place if place[name] == file}, folder / file)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return folder


@pytest.mark.parametrize("kind", RECIPES)
def test_a_checkpoint_says_what_it_is(kind, tmp_path):
    recipe = RECIPES[kind]()
    checkpoint = read_checkpoint(recipe.write(tmp_path))
    assert checkpoint.folder == tmp_path
    assert checkpoint.config == json.loads(json.dumps(recipe.config))
    assert checkpoint.parameters == sum(tensor.numel() for tensor in recipe.tensors.values())
    assert checkpoint.stored == ("float32",)
    assert checkpoint.weights == ("model.safetensors",)
    assert not checkpoint.model.training
    assert not any(parameter.is_meta for parameter in checkpoint.model.parameters())


MISSING = [
    ("bert", "layer.1.attention.self.key.bias", "lacks 1 tensors, first 'blocks.1.attention.key_value.bias'"),
    ("bert", "layer.2.output.dense", "lacks 2 tensors, first 'blocks.2.down.weight'"),
    ("xlm_roberta", "position_embeddings", "lacks 1 tensors, first 'embeddings.positions.weight'"),
    ("jina_v2", "layers.0.mixer.Wqkv.bias", "lacks 2 tensors, first 'blocks.0.attention.query.bias'"),
    ("jina_v1", "layer.3.mlp.wo.bias", "lacks 1 tensors, first 'blocks.3.down.bias'"),
    ("jina_b", "layer.1.attention.self.layer_norm_k", "lacks 2 tensors, first 'blocks.1.attention.key_norm.weight'"),
    ("dual", "pieces", "lacks 1 tensors, first 'head.pieces.weight'"),
    ("dual", "marks", "lacks 1 tensors, first 'marks.weight'"),
]


@pytest.mark.parametrize(("kind", "part", "words"), MISSING)
def test_a_missing_tensor_is_named(kind, part, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(RECIPES[kind]().without(part).write(tmp_path))


@pytest.mark.parametrize("kind", RECIPES)
def test_every_single_tensor_is_needed(kind, tmp_path):
    recipe = RECIPES[kind]()
    for name in recipe.tensors:
        with pytest.raises(CheckpointError):
            read_checkpoint(recipe.without(name).write(tmp_path))


@pytest.mark.parametrize("kind", RECIPES)
def test_an_extra_tensor_is_named(kind, tmp_path):
    with pytest.raises(CheckpointError, match=r"has 1 tensors that this architecture does not use, first 'lora\.up'"):
        read_checkpoint(RECIPES[kind]().with_tensors({"lora.up": torch.zeros(2)}).write(tmp_path))


def test_a_layer_beyond_the_configs_number_is_an_extra(tmp_path):
    with pytest.raises(CheckpointError, match=r"has 14 tensors .* first 'blocks\.2\."):
        read_checkpoint(bert().changed(num_hidden_layers=2).write(tmp_path))


def test_a_layer_short_of_the_configs_number_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"first 'blocks\.3\."):
        read_checkpoint(bert().changed(num_hidden_layers=4).write(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"intermediate_size": 65}, r"blocks\.0\.up\.weight \(our name\) has shape \[64, 32\], not \[65, 32\]"),
        ({"hidden_size": 36}, r"embeddings\.words\.weight .* has shape \[\d+, 32\], not \[\d+, 36\]"),
        ({"max_position_embeddings": 500}, r"embeddings\.positions\.weight .* \[512, 32\], not \[500, 32\]"),
    ],
)
def test_a_misshapen_tensor_is_named_with_both_shapes(change, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(bert().changed(**change).write(tmp_path))


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="num_attention_heads"):
        read_checkpoint(bert().changed(num_attention_heads=5).write(tmp_path))


@pytest.mark.parametrize("kind", sorted(RECIPES.keys() - {"dual"}))  # ours alone, and never a classifier of two
def test_a_classifier_with_two_outputs_is_refused(kind, tmp_path):
    stem = "classifier.out_proj" if f"{'classifier.out_proj'}.weight" in RECIPES[kind]().tensors else "classifier"
    width = RECIPES[kind]().config["hidden_size"]
    two = {f"{stem}.weight": torch.zeros(2, width), f"{stem}.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match="its classifier has 2 outputs; a reranker has one"):
        read_checkpoint(RECIPES[kind]().with_tensors(two).write(tmp_path))


@pytest.mark.parametrize("kind", RECIPES)
def test_an_encoder_without_a_classifier_is_told_to_look_like_one(kind, tmp_path):
    with pytest.raises(CheckpointError, match="this looks like an encoder without a classifier"):
        read_checkpoint(
            RECIPES[kind]().without("classifier", "pooler", "cross.", "pieces.", "mix.weight").write(tmp_path)
        )


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_hold_the_same_model(suffix, tmp_path):
    checkpoint = read_checkpoint(save_shards(bert(), tmp_path, suffix))
    assert len(checkpoint.weights) == 3
    ours, whole = checkpoint.model.state_dict(), unplaced(bert()).model.state_dict()
    assert ours.keys() == whole.keys()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_a_missing_shard_is_named(tmp_path):
    save_shards(bert(), tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="lacks 1 of 3 shards, first 'model-00002-of-00003.safetensors'"):
        read_checkpoint(tmp_path)


def test_an_index_that_promises_too_much_is_refused(tmp_path):
    save_shards(bert(), tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["bert.more.weight"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="promises 1 tensors that no shard holds, first 'bert.more.weight'"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("outside", ["../secret.safetensors", "/etc/passwd", "deeper/one.safetensors", "..", "", 7])
def test_an_index_that_points_outside_its_folder_is_refused(outside, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "secret.safetensors")
    folder = save_shards(bert(), tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": outside}}))
    with pytest.raises(CheckpointError, match="names a file outside its folder|lacks 1 of 1 shards"):
        read_checkpoint(folder)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": []}'])
def test_an_index_that_is_none_is_refused(index, tmp_path):
    bert().write_sides(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match='should be JSON with a "weight_map"'):
        read_checkpoint(tmp_path)


def test_pickled_weights_are_read_as_weights(tmp_path):
    recipe = jina_v2()
    recipe.write_sides(tmp_path)
    torch.save(dict(recipe.tensors), tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.weights == ("pytorch_model.bin",)
    assert torch.equal(checkpoint.model.head.out.weight, recipe.tensors["classifier.out_proj.weight"])


class Malice:
    """What an unpickler would call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    bert().write_sides(tmp_path)
    trace = tmp_path / "was_here"
    torch.save({**bert().tensors, "evil": Malice(trace)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin cannot be read as plain weights"):
        read_checkpoint(tmp_path)
    assert not trace.exists()
    # The file would have done it:
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert trace.is_dir()


@pytest.mark.parametrize("held", [[torch.zeros(1)], {"model": {"a": torch.zeros(1)}}, {1: torch.zeros(1)}])
def test_a_pickle_that_is_no_flat_dictionary_is_refused(held, tmp_path):
    bert().write_sides(tmp_path)
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="flat dictionary of names and tensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(32, 32).to_sparse(), "is sparse"),
        (torch.zeros(32, 32, device="meta"), "has a shape and no content"),
        (torch.tensor(1.0), "is a lone number"),
        (torch.ones(32, 32, dtype=torch.int8), "holds int8"),
        (torch.ones(32, 32, dtype=torch.bool), "holds bool"),
    ],
)
@pytest.mark.parametrize("name", ["bert.pooler.dense.weight", "classifier.weight"])
def test_a_tensor_that_is_no_weight_is_named(name, tensor, words, tmp_path):
    bert().write_sides(tmp_path)
    torch.save({**bert().tensors, name: tensor}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"pytorch_model.bin: {name} {words}; weights are arrays"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("kind", "part"), [("bert", "self.key.weight"), ("jina_v2", "Wqkv.weight"), ("modernbert", "Wqkv.weight")]
)
def test_a_lone_number_in_the_place_of_a_matrix_is_named(kind, part, tmp_path):
    names = [name for name in RECIPES[kind]().tensors if name.endswith((part, part.replace("key", "value")))]
    lone = RECIPES[kind]().with_tensors({name: torch.tensor(1.0) for name in names})
    with pytest.raises(CheckpointError, match=f"{part.replace('key', '(key|value)')} is a lone number"):
        read_checkpoint(lone.write(tmp_path))


def test_quantized_weights_in_safetensors_are_named(tmp_path):
    name = "bert.encoder.layer.0.output.dense.weight"
    rounded = (bert().tensors[name] * 20).round().to(torch.int8)
    with pytest.raises(CheckpointError, match=f"model.safetensors: {name} holds int8; weights are arrays"):
        read_checkpoint(bert().with_tensors({name: rounded}).write(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors", "pytorch_model.bin"])
def test_a_file_that_cannot_be_read_is_named(name, tmp_path):
    broken = Path("/proc/self/mem")  # a file to whoever asks, and none that can be read from its beginning
    if not broken.is_file():
        pytest.skip("needs Linux")
    bert().write_sides(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to(broken)
    if name == "tokenizer_config.json":
        bert().write(tmp_path)
    with pytest.raises(CheckpointError, match=f"{name} cannot be read: "):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"\xff" * 100])
def test_damaged_weights_are_named(file, content, tmp_path):
    bert().write_sides(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        read_checkpoint(tmp_path)


def test_safetensors_are_preferred_to_a_pickle(tmp_path):
    bert().write(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    assert read_tensors(tmp_path)[0] == ("model.safetensors",)


def test_a_folder_without_weights_lists_what_it_has(tmp_path):
    bert().write_sides(tmp_path)
    with pytest.raises(CheckpointError, match=r"no model.safetensors .* it has config.json, tokenizer.json"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is not JSON"), ("[1]", "hold an object, not a list"), ("é", "JSON")]
)
def test_a_config_that_is_none_is_refused(content, words, tmp_path):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=words):
        read_config(tmp_path)


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="lacks config.json"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match="is not a folder"):
        read_config(tmp_path / "absent")


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    (bert().write(tmp_path) / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="lacks tokenizer.json"):
        read_checkpoint(tmp_path)


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused(tmp_path):
    name = "bert.embeddings.word_embeddings.weight"
    cut = bert().with_tensors({name: bert().tensors[name][:-3]})
    with pytest.raises(CheckpointError, match=r"tokenizer.json has ids up to \d+, the embedding only \d+ rows"):
        read_checkpoint(cut.write(tmp_path))


@pytest.mark.parametrize("kind", ["bert", "jina_v1"])
def test_the_embedding_may_have_more_rows_than_the_tokenizer_ids(kind):
    name = "bert.embeddings.word_embeddings.weight"
    table = RECIPES[kind]().tensors[name]
    padded = RECIPES[kind]().with_tensors({name: torch.cat([table, torch.zeros(7, table.shape[1])])})
    assert load(padded).score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta", "jina_v2"])
def test_the_size_of_the_vocabulary_comes_from_the_tensor(kind):
    # A trimmed checkpoint may keep the vocab_size of the one it was cut from.
    assert load(RECIPES[kind]().changed(vocab_size=250002)).score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize("kind", RECIPES)
def test_old_names_of_norms_are_read(kind):
    recipe = RECIPES[kind]()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in recipe.tensors.items()
    }
    assert load(replace(recipe, tensors=old)).score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize(("kind", "prefix"), [("bert", "bert."), ("jina_v1", "bert."), ("xlm_roberta", "roberta.")])
def test_the_prefix_of_the_encoder_may_be_absent(kind, prefix):
    assert load(RECIPES[kind]().renamed(prefix, "")).score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize("kind", RECIPES)
def test_buffers_that_hold_no_weights_are_ignored(kind):
    buffers = {
        "bert.embeddings.position_ids": torch.arange(9),
        "roberta.embeddings.position_ids": torch.arange(9)[None],
        "encoder.alibi": torch.zeros(1, 2, 3, 3),
    }
    assert load(RECIPES[kind]().with_tensors(buffers)).score(PAIRS) == tiny(kind).score(PAIRS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", RECIPES)
def test_weights_stored_in_half_precision_are_computed_in_float32(kind, dtype, tmp_path):
    recipe = RECIPES[kind]()
    rounded = {name: tensor.to(dtype) for name, tensor in recipe.tensors.items()}
    half = replace(recipe, tensors=rounded)
    checkpoint = read_checkpoint(half.write(tmp_path))
    assert checkpoint.stored == (str(dtype).removeprefix("torch."),)
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.float32}
    back = replace(recipe, tensors={name: tensor.float() for name, tensor in rounded.items()})
    assert load(half).score(PAIRS) == load(back).score(PAIRS)


def test_a_folder_may_be_deleted_once_it_is_loaded(tmp_path):
    checkpoint = read_checkpoint(xlm_roberta().write(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")
    assert np.isfinite([p.sum().item() for p in checkpoint.model.parameters()]).all()


@pytest.mark.parametrize(
    ("settings", "usual"),
    [(None, 512), ({}, 512), ({"model_max_length": 256}, 256), ({"model_max_length": 1e30}, 512)],
)
def test_a_pair_has_the_tokens_that_the_tokenizer_asks_for_unless_limits_say_otherwise(tmp_path, settings, usual):
    folder = bert().write(tmp_path / "model")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert Reranker.load(folder, device="cpu").limits.max_length == usual
    assert Reranker.load(folder, device="cpu", limits=Limits(max_length=400)).limits.max_length == 400


@pytest.mark.parametrize("asked", ["512", True, 3, float("nan"), -float("inf")])
def test_a_tokenizer_that_asks_for_nonsense_is_refused(tmp_path, asked):
    folder = bert().write(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": asked}))
    with pytest.raises(CheckpointError, match="model_max_length should be a number of tokens, 16 or more"):
        read_checkpoint(folder)
