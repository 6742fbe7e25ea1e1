from __future__ import annotations

import pytest

from crossrank.train.monitor import Collapsed, Window, logging_steps, verdict
from crossrank.train.recipe import Monitoring, read_recipe
from crossrank.train.stages import Run, train
from tests.train.worlds import write_world

FIRST = Window([1.0], [2.0], [0.5], [0.1])
LOSSES = ("list_net", "binary_cross_entropy", "mse")


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (Window([0.9, float("nan")], [1.0], [0.5], [0.0]), "loss not a number"),
        (Window([0.9], [float("inf")], [0.5], [0.0]), "gradient not a number"),
        (Window([0.9], [1.0], [0.5], [float("nan")]), "scores not a number"),
        (Window([0.9], [1.0], [0.0004], [3.0]), "all documents get the same score: .* 0.0004 .they began at 0.5."),
        (Window([4.0, 9.0, 5.0], [1.0], [0.5], [0.0]), "the loss rose to 5 .it began at 1, and knowing nothing costs"),
        (Window([1.2], [300.0], [0.5], [0.0]), "gradients grew from 2 to 3e.02"),
        (Window([1.2], [1e-10], [0.5], [0.0]), "gradients vanished"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_try(seen, complaint):
    with pytest.raises(AssertionError):
        assert verdict(seen, FIRST, 1.4) is None
    assert verdict(Window([0.9], [1.0], [0.5], [0.0]), FIRST, 1.4) is None
    with pytest.raises(Collapsed, match=f"{complaint}.*try a lower learning_rate"):
        raise Collapsed(verdict(seen, FIRST, 1.4))


def test_a_window_hears_several_losses():
    assert logging_steps(Monitoring(window=20)) == 4
    assert logging_steps(Monitoring(window=5)) == 1


def run(folder, *changes):
    recipe = read_recipe(write_world(folder), ["labels.schedule=constant", "labels.warmup=0", *changes])
    return train(Run(recipe, folder, folder / "out", (), True), say=lambda _: None)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_rate_that_is_far_too_high_is_caught_within_the_first_window(loss, tmp_path):
    with pytest.raises(Collapsed, match="training stopped at step (4|8|12|16|20): .*try a lower learning_rate"):
        run(tmp_path, f"labels.loss={loss}", "labels.learning_rate=3.0", "labels.steps=60")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_good_run_is_left_alone(loss, tmp_path):
    scores = run(tmp_path, f"labels.loss={loss}", "labels.learning_rate=1e-3", "labels.steps=60")
    assert scores["labels"]["dev"] > 0.95


def test_labels_that_mean_nothing_are_noticed(tmp_path):
    """The loss stays at that of equal scores, though the scores differ."""
    recipe = read_recipe(write_world(tmp_path), ["labels.learning_rate=1e-9", "labels.steps=60", "monitor.patience=2"])
    with pytest.raises(Collapsed, match="in 2 windows of 20 steps the loss, .* never fell below .*look whether labels"):
        train(Run(recipe, tmp_path, tmp_path / "out", (), True), say=lambda _: None)
