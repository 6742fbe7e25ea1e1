"""`crossrank show`."""

from __future__ import annotations

import json

import pytest

from tests import checkpoints


def facts(run, folder) -> dict:
    done = run("show", folder, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_a_bert_says_its_sizes_limits_and_template(run, folder):
    shown = facts(run, folder)
    assert shown["architecture"]["value"] == "bert"
    assert shown["hidden_size"] == {"value": 32, "from": "config.json"}
    assert shown["stored dtypes"] == {"value": ["float32"], "from": "tensors"}
    assert shown["max_length"]["value"] == 512
    assert shown["max_query"] == {"value": 256, "from": "default"}
    assert shown["template"]["value"] == ["[CLS]", "QUERY", "[SEP]", "DOCUMENT", "[SEP]"]


def test_parameters_are_counted_from_the_tensors(run, folder):
    assert facts(run, folder)["parameters"] == {
        "value": sum(tensor.numel() for tensor in checkpoints.bert().tensors.values()),
        "from": "tensors",
    }


def test_a_vocabulary_is_the_tensors_whatever_the_config_says(run, tmp_path):
    recipe = checkpoints.bert()
    rows = recipe.config["vocab_size"]
    recipe.changed(vocab_size=rows + 64).write(tmp_path)
    assert facts(run, tmp_path)["vocab_size"] == {"value": rows, "from": "tensors"}


@pytest.mark.parametrize(
    ("settings", "tail"), [({}, ("halved", "default")), ({"alibi_tail": "canonical"}, ("canonical", "config.json"))]
)
def test_a_setting_that_the_config_leaves_out_is_called_a_default(run, tmp_path, settings, tail):
    checkpoints.jina_v1().changed(**settings).write(tmp_path)
    shown = facts(run, tmp_path)
    assert (shown["alibi_tail"]["value"], shown["alibi_tail"]["from"]) == tail
    assert shown["query_key_norm"] == {"value": False, "from": "tensors"}


def test_a_roberta_template_has_two_separators(run, tmp_path):
    checkpoints.jina_v2().write(tmp_path)
    shown = facts(run, tmp_path)
    assert shown["template"]["value"] == ["<s>", "QUERY", "</s>", "</s>", "DOCUMENT", "</s>"]
    assert shown["max_length"]["value"] == 1024


def test_the_bundled_model_is_shown_by_default(run):
    assert json.loads(run("show").out)["folder"]["value"].endswith("mini-en")


def test_a_missing_model_is_named(run):
    done = run("show", "no-such-model")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("crossrank: no model 'no-such-model'")


def test_a_terminal_gets_a_table(folder, terminal):
    rows = [line.split() for line in terminal("show", folder).splitlines()]
    assert ["hidden_size", "32", "config.json"] in rows
    assert ["template", "[CLS]", "QUERY", "[SEP]", "DOCUMENT", "tokenizer.json"] in rows
