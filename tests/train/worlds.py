"""A toy task that a tiny model learns in a second: a document is relevant when it speaks of a fox."""

from __future__ import annotations

import json
import random
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from crossrank.checkpoint import read_checkpoint
from crossrank.train.bridge import PackedModule
from tests.checkpoints import RECIPES
from tests.models.test_saved import SPECIAL

FILLER = ("the", "red", "is", "what", "of", "a")
RECIPE = """
base = "base"
seed = 3
leak_threshold = 1.0

[[dev]]
path = "dev.jsonl"

[[stage]]
name = "labels"
loss = "list_net"
steps = 24
batch = 8
documents = 4
learning_rate = 1e-3
save_every = 8

[[stage.source]]
path = "train.jsonl"
"""


def write_base(folder: Path, kind: str = "bert", **sizes: int) -> Path:
    """A tiny checkpoint with everything that transformers and sentence-transformers want to find in a folder."""
    recipe = RECIPES[kind](**sizes)
    recipe.write(folder)
    if kind in SPECIAL:
        inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if kind == "bert" else [])]
        raw = recipe.raw_tokenizer()
        PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=inputs, **SPECIAL[kind]).save_pretrained(folder)
    return folder


def toy_module(folder: Path, **options: int) -> PackedModule:
    """A PackedModule of two layers; the folder stays, as saving needs."""
    write_base(folder, layers=2)
    return PackedModule(read_checkpoint(folder), **options)


def toy_lines(count: int, seed: int) -> list[dict]:
    """Queries with four documents, the relevant one anywhere among them: it alone speaks of a fox."""
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        place = chance.randrange(4)
        said = ["fox" if index == place else chance.choice(("capital", "france", "paris")) for index in range(4)]
        documents = [" ".join([*chance.choices(FILLER, k=chance.randrange(1, 6)), word, "is"]) for word in said]
        lines.append(
            {
                "query": " ".join(chance.choices(FILLER, k=3)),
                "documents": documents,
                "labels": [int(index == place) for index in range(4)],
                "scores": [(4.0 if index == place else -4.0) + chance.random() for index in range(4)],
            }
        )
    return lines


def write_lines(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_world(folder: Path, recipe: str = RECIPE) -> Path:
    """A base model, data, dev data and a recipe; returns the recipe's path."""
    write_base(folder / "base", layers=2)
    write_lines(folder / "train.jsonl", toy_lines(200, seed=1))
    write_lines(folder / "dev.jsonl", toy_lines(30, seed=2))
    (folder / "recipe.toml").write_text(recipe)
    return folder / "recipe.toml"
