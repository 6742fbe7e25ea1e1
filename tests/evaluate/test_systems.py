from __future__ import annotations

import pytest

from crossrank import InputError, Limits, ModelNotFound, Reranker
from crossrank.calibration import files_hash
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_model_scores_the_logits_that_rank_gives(folder):
    documents = ["one two", "a much longer text about whales and bees", ""]
    system = open_system(str(folder))
    judged = system.load([])[0]("whales", documents)
    ranking = Reranker.load(folder).rank("whales", documents)
    assert {hit.index: hit.logit for hit in ranking} == dict(enumerate(judged.scores))
    assert judged.tokens == ranking.usage.total_tokens
    assert (system.name, system.scale) == ("tiny", "logit")


def test_a_dtype_is_part_of_the_name_and_the_key(folder):
    plain, half = open_system(str(folder)), open_system(f"{folder}@bfloat16")
    assert half.name == "tiny bfloat16"
    assert half.key != plain.key
    assert half.card["sha256"] == plain.card["sha256"]
    assert half.load([])[0]("q", ["whale"]).scores != plain.load([])[0]("q", ["whale"]).scores


def test_limits_change_the_key_and_a_budget_does_not(folder):
    base = open_system(str(folder)).key
    assert open_system(str(folder), limits=Limits(max_length=64)).key != base
    assert open_system(str(folder), limits=Limits(budget=100)).key == base


def test_weights_decide_the_hash_and_documentation_does_not(folder, tmp_path):
    import shutil

    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)
    (twin / "README.md").write_text("words")
    (twin / "calibration.json").write_text("{}")
    assert files_hash(twin) == files_hash(folder)
    assert files_hash(write_model(tmp_path / "other", seed=1)) != files_hash(folder)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("mini-en@int7", "dtype 'int7' is not one of float32"),
        ("run:absent.run", "no such run file"),
        ("biencoder:absent", "'absent' is not a folder"),
    ],
)
def test_what_cannot_be_opened_says_why(spec, complaint):
    with pytest.raises(InputError, match=complaint):
        open_system(spec)


def test_an_unknown_model_is_not_found():
    with pytest.raises(ModelNotFound, match="no model 'mini-xx'"):
        open_system("mini-xx")
