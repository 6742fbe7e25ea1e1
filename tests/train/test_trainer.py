from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from crossrank.errors import InputError
from crossrank.train.recipe import read_recipe
from crossrank.train.trainer import arguments
from tests.train.worlds import RECIPE

IN_BATCH = ("multiple_negatives", "cached_multiple_negatives")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """made("batch=8", processes=2): the arguments of a stage that is changed so."""
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def made(*changes, processes=1):
        state = SimpleNamespace(num_processes=processes, device=SimpleNamespace(type="cpu"))
        monkeypatch.setattr("crossrank.train.trainer.PartialState", lambda cpu: state)
        recipe = read_recipe(tmp_path / "recipe.toml", [f"labels.{change}" for change in changes])
        return arguments(recipe, recipe.stage[0], tmp_path / "checkpoints", cpu=True)

    return made


def test_a_batch_is_shared_by_processes_and_by_parts(made):
    assert made("batch=16", "accumulate=2", processes=4).per_device_train_batch_size == 2
    with pytest.raises(InputError, match="a batch of 8 rows cannot be shared equally by 3 processes in 1 parts"):
        made(processes=3)


@pytest.mark.parametrize("loss", IN_BATCH)
def test_a_loss_of_a_batchs_other_queries_is_not_computed_in_parts(loss, made):
    complaint = (
        f"stage 'labels': loss '{loss}' learns from the other queries of a batch, which are not in the same part of "
        "it; with accumulate = 2 it would be another loss. accumulate = 1 would do, and loss "
        "'cached_multiple_negatives' with a small chunk is the same in little memory"
    )
    with pytest.raises(InputError, match=re.escape(complaint)):
        made(f"loss={loss}", "accumulate=2")
    assert made("loss=list_net", "accumulate=2").gradient_accumulation_steps == 2


@pytest.mark.parametrize("loss", IN_BATCH)
@pytest.mark.parametrize(("batch", "processes"), [(1, 1), (8, 8)])
def test_a_query_alone_has_nothing_to_learn_from_without_negatives_of_its_own(loss, batch, processes, made):
    with pytest.raises(InputError, match=f"a batch of {batch} leaves each process one query; a larger batch, or"):
        made(f"loss={loss}", "documents=1", f"batch={batch}", processes=processes)
    assert made(f"loss={loss}", "documents=2", f"batch={batch}", processes=processes).per_device_train_batch_size == 1
    assert made(f"loss={loss}", "documents=1", f"batch={2 * batch}", processes=processes)
