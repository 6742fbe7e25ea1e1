"""What several tests of the recipes start from."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from crossrank.hub import find
from tests.recipes.running import modules_of, run

THINGS = "bread gravel copper barley ink cedar wool granite salt honey linen clay".split()
PLACES = "Aberdeen Bergen Cadiz Delft Essen Faro Genoa Haarlem Izmir Jena".split()


@pytest.fixture(scope="module")
def recipe(request):
    """recipe("train"): a module of the recipe that the test module names as RECIPE."""
    with modules_of(request.module.RECIPE) as imported:
        yield imported


@pytest.fixture
def called(recipe, monkeypatch):
    """called("train", "--out", folder) runs a script of the recipe."""
    return lambda name, *arguments: run(recipe(name), monkeypatch, *arguments)


@pytest.fixture(scope="session")
def english_base(tmp_path_factory) -> Path:
    """A bi-encoder of all-MiniLM-L6-v2's shape, without the package that carries it: the one inside mini-en."""
    transformers = pytest.importorskip("transformers")
    folder, ours = tmp_path_factory.mktemp("base"), find("mini-en")
    config = json.loads((ours / "config.json").read_text(encoding="utf-8"))
    layers = [f"encoder.layer.{layer}." for layer in range(config["num_hidden_layers"])]
    tensors = load_file(ours / "model.safetensors")
    kept = {name: t.float() for name, t in tensors.items() if name.startswith(("embeddings.", *layers))}
    kept["embeddings.token_type_embeddings.weight"] = torch.zeros(2, config["hidden_size"])
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    sizes = {name: value for name, value in config.items() if name not in ("model_type", "dtype")}
    transformers.BertConfig(**sizes).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((ours / "tokenizer.json").read_bytes())
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def english_data(tmp_path_factory) -> Path:
    """Training files of two small sources."""
    folder = tmp_path_factory.mktemp("english")
    facts = [(f"where is {thing} sold in {place}", f"In {place}, {thing} is sold at the harbour.") for thing in THINGS
             for place in PLACES]  # fmt: skip
    for name, rows in {"tldr": facts, "strategyqa_facts": [(f"{q}?", f"Note. {a}") for q, a in facts]}.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps({"query": query, "positive": answer}) + "\n" for query, answer in rows)
    return folder


@pytest.fixture(scope="session")
def english_candidates(english_base, english_data, tmp_path_factory) -> Path:
    """What recipes/tiny-en/candidates.py makes of them."""
    folder = tmp_path_factory.mktemp("candidates")
    options = ("--data", english_data, "--out", folder, "--base", english_base, "--only", "tldr", "strategyqa_facts")
    with modules_of("tiny-en") as imported, pytest.MonkeyPatch.context() as patch:
        run(imported("candidates"), patch, *options)
    return folder
