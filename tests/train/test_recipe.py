from __future__ import annotations

from pathlib import Path

import pytest

from crossrank.checkpoint import read_checkpoint
from crossrank.errors import InputError
from crossrank.hub import find
from crossrank.train.freezing import freeze
from crossrank.train.lora import Lora
from crossrank.train.recipe import Dev, Mixed, read_recipe
from tests.train.worlds import RECIPE


@pytest.fixture
def read(tmp_path):
    def read(text=RECIPE, *changes):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return read_recipe(path, changes)

    return read


def test_a_recipe_is_read_with_its_defaults(read):
    recipe = read()
    assert (recipe.base, recipe.seed, recipe.precision, recipe.monitor.window) == ("base", 3, "float32", 20)
    (stage,) = recipe.stage
    assert (stage.name, stage.target, stage.learning_rate, stage.lora) == ("labels", "labels", 1e-3, None)
    assert stage.source == (Mixed(path="train.jsonl", weight=1.0),)


@pytest.mark.parametrize(
    ("change", "attribute", "value"),
    [
        ("seed=9", "seed", 9),
        ("base=mini-en", "base", "mini-en"),
        ("labels.steps=7", "stage.steps", 7),
        ("labels.loss=mse", "stage.loss", "mse"),
        ("labels.max_length=64", "stage.max_length", 64),
        ("labels.lora.rank=4", "stage.lora", Lora(rank=4)),
        ("labels.keep=0.5", "stage.keep", 0.5),
        ("labels.frozen=['embeddings']", "stage.frozen", ("embeddings",)),
        ("labels.options.chunk=2", "stage.options", {"chunk": 2}),
        ("labels.source=[{path='a', weight=2}]", "stage.source", (Mixed(path="a", weight=2.0),)),
        ("monitor.window=40", "monitor.window", 40),
    ],
)
def test_a_set_option_overrides_the_file(read, change, attribute, value):
    recipe = read(RECIPE, change)
    found = recipe.stage[0] if attribute.startswith("stage.") else recipe
    for part in attribute.removeprefix("stage.").split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("path", "name"), [("a/b.jsonl", "b"), ("b.jsonl.gz", "b"), ("a/sci.fact", "sci.fact"), ("sci/", "sci")]
)
def test_a_dev_set_is_called_by_its_file(path, name):
    assert Dev(path=path).name == name
    assert Dev(path=path, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("text", "changes", "complaint"),
    [
        (RECIPE.replace("steps", "step"), (), r"unknown key 'step'; did you mean 'steps'\?"),
        (RECIPE, ("sed=1",), r"unknown key 'sed'; did you mean 'seed'\?"),
        (RECIPE, ("labls.steps=1",), r"no stage 'labls'; did you mean 'labels'\?"),
        (RECIPE, ("labels.steps=0",), "stage 'labels': steps should be at least 1, not 0"),
        (RECIPE, ("labels.steps=many",), "steps should be a whole number, not 'many'"),
        (RECIPE, ("labels.steps=true",), "steps should be a whole number, not True"),
        (RECIPE, ("labels.learning_rate=0",), "learning_rate should be above 0"),
        (RECIPE, ("labels.warmup=2",), "warmup is a part of the steps"),
        (RECIPE, ("labels.loss=listnet",), r"loss 'listnet' is not known; did you mean 'list_net'\? \(there is "),
        (RECIPE, ("labels.loss=lambda", "labels.target=scores"), "target of lambda 'scores' is not known"),
        (RECIPE, ("labels.options.chnk=1",), r"option of list_net 'chnk' is not known; did you mean 'chunk'\?"),
        (RECIPE, ("labels.options.chunk='a'",), "options: chunk should be a finite number, not 'a'"),
        (RECIPE, ("labels.options=3",), "options should be a table, not 3"),
        (RECIPE, ("labels.learning_rate=inf",), "learning_rate should be a finite number, not inf"),
        (RECIPE, ("labels.weight_decay=-1",), "weight_decay should be 0 or more, not -1"),
        (RECIPE, ("labels.name='a/b'",), r"stage 'a/b': a folder is called by the name; letters, digits, .* would do"),
        (RECIPE, ("labels.name='before training'",), "stage 'before training': a folder is called by the name"),
        (RECIPE, ("labels.source=[{path='a', weight=0}]",), "source 'a': weight should be above 0, not 0"),
        (RECIPE, ("dev=[{path='a', queries=-1}]",), "dev set 'a': top_k .* and queries 0 or more, not 50 and -1"),
        (RECIPE, ("dev=[{path='a', top_k=0}]",), "dev set 'a': top_k should be at least 1"),
        (RECIPE, ("dev=[{path='mean.jsonl'}]",), "dev set 'mean.jsonl': 'mean' is that of all dev sets"),
        (RECIPE, ("seed=-1",), "seed should be from 0 to 4294967295, not -1"),
        (RECIPE, ("log_to=['tensorbord']",), "logger 'tensorbord' is not known; did you mean 'tensorboard'"),
        (RECIPE, ("labels.batch=9", "labels.accumulate=2"), "9 rows cannot be had in 2 equal parts"),
        (RECIPE, ("labels.documents=1",), "documents should be at least 2, not 1"),
        (RECIPE, ("labels.lora.rnk=1",), r"lora: unknown key 'rnk'; did you mean 'rank'\?"),
        (RECIPE, ("labels.keep=0",), "keep is a part of what is learned, above 0 and at most 1, not 0"),
        (RECIPE, ("labels.frozen=['a']", "labels.lora.rank=4"), "with lora all but the head is frozen"),
        (RECIPE, ("labels.frozen=embeddings",), "frozen should be a list, not 'embeddings'"),
        (RECIPE, ("labels.source=[]",), "nothing to learn from"),
        (RECIPE, ("labels.source=x",), "source should be a list, not 'x'"),
        (RECIPE, ("precision=half",), "precision 'half' is not known"),
        (RECIPE, ("seed",), "expected KEY=VALUE"),
        (RECIPE, ("seed.x=1",), "no stage 'seed'"),
        (RECIPE, ("labels.steps.x=1",), "steps has no keys of its own"),
        (RECIPE, ("labels.steps.a.b=1",), "steps has no keys of its own"),
        (RECIPE, ("stage=3", "labels.steps=1"), "no stage 'labels'"),
        (RECIPE.replace("[[stage]]", "[stage]"), (), r"stage should be a list of tables, .*; write \[\[stage\]\]"),
        (RECIPE.replace("[[dev]]", "[dev]"), (), r"dev should be a list of tables, .*; write \[\[dev\]\]"),
        (
            RECIPE.replace("[[stage.source]]", "[stage.source]"),
            (),
            r"source should be a list of tables, .*; write \[\[stage\.source\]\]",
        ),
        (RECIPE + RECIPE[RECIPE.index("[[stage]]") :], (), "'labels' is there twice"),
        (RECIPE + '[[dev]]\npath = "other/dev.jsonl.gz"\n', (), "two dev sets are called 'dev'; give one"),
        (RECIPE.replace('base = "base"', ""), (), "base missing"),
        ("seed = ", (), "is not TOML"),
    ],
)
def test_what_will_not_do_is_named(read, text, changes, complaint):
    with pytest.raises(InputError, match=complaint):
        read(text, *changes)


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.toml is not a file"):
        read_recipe(tmp_path / "nothing.toml")


def test_the_recipe_of_mini_en_is_one():
    recipe = read_recipe(Path(__file__).resolve().parent.parent.parent / "recipes" / "mini-en.toml", ["data=elsewhere"])
    assert [stage.name for stage in recipe.stage] == ["ensemble"]
    read = read_checkpoint(find("mini-en")).model
    learning = set()
    for stage in recipe.stage:
        freeze(read.requires_grad_(True), stage.frozen)
        learning |= {name for name, parameter in read.named_parameters() if parameter.requires_grad}
    above = [f"blocks.{layer}." for layer in range(read.branch, len(read.blocks))]
    above += ["marks.", "head.cross.", "head.late.", "head.mix."]
    assert learning == {name for name, _ in read.named_parameters() if name.startswith(tuple(above))}, (
        "what is below stays"
    )
