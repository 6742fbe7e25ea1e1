"""config.json is read strictly."""

from __future__ import annotations

import pytest

from crossrank import CheckpointError
from crossrank.models.settings import check, number
from tests.checkpoints import bert, load, tiny

PAIRS = [("the red fox", "a fox"), ("paris", "the capital of france")]


@pytest.mark.parametrize("key", ["rope_theta", "logit_scale", "layer_scale", "quantization_config"])
def test_a_setting_that_may_change_the_scores_is_named(key):
    with pytest.raises(CheckpointError, match=f"not computed: {key}=2.5"):
        load(bert().changed(**{key: 2.5}))


@pytest.mark.parametrize("off", [None, False, 0, "", [], {}])
def test_a_setting_that_is_switched_off_is_ignored(off):
    assert load(bert().changed(rope_theta=off)).score(PAIRS) == tiny("bert").score(PAIRS)


def test_settings_of_training_and_of_transformers_are_ignored():
    harmless = {
        "hidden_dropout_prob": 0.5,
        "transformers_version": "4.2",
        "id2label": {"0": "LABEL_0"},
        "use_flash_attn": True,
        "_name_or_path": "somewhere",
        "torch_dtype": "bfloat16",
    }
    assert load(bert().changed(**harmless)).score(PAIRS) == tiny("bert").score(PAIRS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "swish7"),
        ("add_cross_attention", True),
        ("type_vocab_size", 3),
    ],
)
def test_a_value_that_is_not_computed_is_named_beside_those_that_are(key, value):
    with pytest.raises(CheckpointError, match=f"config.json sets {key} to {value!r}; this version computes"):
        load(bert().changed(**{key: value}))


@pytest.mark.parametrize(
    "value", [None, "384", 0, -1, True, 38.5, float("nan"), float("inf"), -float("inf"), 2**40, 1e30, 10**400]
)
def test_a_size_that_is_no_positive_whole_number_is_named(value):
    with pytest.raises(CheckpointError, match="hidden_size should be a positive int up to 16,777,216, not"):
        load(bert().changed(hidden_size=value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 10**400])
def test_a_number_that_is_not_finite_is_named(value):
    with pytest.raises(CheckpointError, match="layer_norm_eps should be a positive float, not"):
        load(bert().changed(layer_norm_eps=value))


def test_a_whole_float_is_a_whole_number():
    assert number({"a": 3.0}, "a") == 3
    assert number({"a": 1}, "a", float) == 1.0


def test_at_most_five_strange_settings_are_listed_and_long_ones_are_cut():
    with pytest.raises(CheckpointError) as caught:
        check({f"strange_{n}": "x" * 500 for n in range(9)}, frozenset(), {})
    assert "strange_4" in str(caught.value)
    assert "strange_5" not in str(caught.value)
    assert len(str(caught.value)) < 600
