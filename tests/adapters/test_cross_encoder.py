"""sentence-transformers' CrossEncoder and ours, on the same folders."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

from crossrank import CheckpointError, InputError
from crossrank.adapters import CrossEncoder
from tests import checkpoints
from tests.vocabularies import letters

QUERY = "what is the capital of france"
DOCUMENTS = ["paris is the capital of france", "berlin", "", "a red fox", letters(700), "berlin"]
PAIRS = [(QUERY, document) for document in DOCUMENTS] + [(letters(600, 1), letters(500, 2)), ("", "paris")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny MS MARCO MiniLM as sentence-transformers wants it: with a tokenizer_config.json."""
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    folder = checkpoints.bert().changed(**labels).write(tmp_path_factory.mktemp("minilm"))
    specials = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
    settings = {f"{name}_token": token for name, token in specials.items()}
    settings |= {"tokenizer_class": "BertTokenizer", "model_max_length": 512, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about themselves
        sentence_transformers = pytest.importorskip("sentence_transformers")
        return sentence_transformers.CrossEncoder(str(folder), device="cpu")


@pytest.fixture(scope="module")
def ours(folder):
    return CrossEncoder.load(folder, device="cpu")


def test_predict_equals_sentence_transformers(ours, theirs):
    met, wanted = ours.predict(PAIRS), theirs.predict(PAIRS, show_progress_bar=False)
    assert met.dtype == wanted.dtype == np.float32
    assert met.shape == wanted.shape
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(met, wanted, atol=1e-5, rtol=0)


def test_another_activation_equals_sentence_transformers(ours, theirs):
    met = ours.predict(PAIRS, activation_fn=torch.nn.Sigmoid())
    wanted = theirs.predict(PAIRS, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False)
    np.testing.assert_allclose(met, wanted, atol=1e-5, rtol=0)
    assert not np.allclose(met, ours.predict(PAIRS))


def test_one_pair_gives_one_number_as_theirs(ours, theirs):
    met, wanted = ours.predict(PAIRS[0]), theirs.predict(PAIRS[0], show_progress_bar=False)
    assert np.ndim(met) == np.ndim(wanted) == 0
    assert met == pytest.approx(wanted, abs=1e-5)
    assert ours.predict([]).tolist() == theirs.predict([], show_progress_bar=False).tolist() == []


TWO = [(QUERY, "paris"), (QUERY, "a red fox")]
CALLS = {
    "an array of pairs": lambda model: model.predict(np.array(TWO)),
    "an array of objects": lambda model: model.predict(np.array(TWO, dtype=object)),
    "one pair as an array": lambda model: model.predict(np.array(TWO[0])),
    "a tuple of pairs": lambda model: model.predict(tuple(TWO)),
    "inputs": lambda model: model.predict(inputs=TWO),
    "sentences": lambda model: model.predict(sentences=TWO),
    "positions": lambda model: model.predict(TWO, None, None, 16, False, torch.nn.Sigmoid(), False, False),
    "convert_to_tensor": lambda model: model.predict(TWO, convert_to_tensor=True),
    "convert_to_tensor of one": lambda model: model.predict(TWO[0], convert_to_tensor=True),
    "convert_to_numpy": lambda model: model.predict(TWO, convert_to_numpy=False),
    "convert_to_numpy of one": lambda model: model.predict(TWO[0], convert_to_numpy=False),
    "num_workers": lambda model: model.predict(TWO, num_workers=0),
    "apply_softmax": lambda model: model.predict(TWO, apply_softmax=True),
    "activation_fct": lambda model: model.predict(TWO, activation_fct=torch.nn.Sigmoid()),
    "an activation in half": lambda model: model.predict(TWO, activation_fn=lambda x: x.half()),
    "a half as a tensor": lambda model: model.predict(TWO, activation_fn=lambda x: x.half(), convert_to_tensor=True),
    "an activation by columns": lambda model: model.predict(TWO, activation_fn=lambda x: x[:, 0:1].clamp(0)),
    "rank, positions": lambda model: model.rank(QUERY, ["fox", "paris"], 1, True, None, None, 16, False, torch.tanh),
    "rank, old names": lambda model: model.rank(
        QUERY, ["fox", "paris"], convert_to_tensor=True, convert_to_numpy=False, num_workers=2, apply_softmax=True
    ),
    "rank, activation_fct": lambda model: model.rank(QUERY, ["fox", "paris"], activation_fct=torch.nn.Sigmoid()),
    "rank of an array": lambda model: model.rank(QUERY, np.array(["fox", "paris"]), return_documents=True),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_written_for_sentence_transformers_gives_what_it_gives_there(ours, theirs, call):
    met, wanted = CALLS[call](ours), CALLS[call](theirs)
    assert kinds(met) == kinds(wanted)
    if "rank" in call:
        assert [each["corpus_id"] for each in met] == [each["corpus_id"] for each in wanted]
        met, wanted = ([each["score"] for each in result] for result in (met, wanted))
    np.testing.assert_allclose(np.asarray(met), np.asarray(wanted), atol=2e-3 if "half" in call else 1e-5, rtol=0)


def kinds(result):
    """Of what a result is made, down to dtypes and shapes."""
    if isinstance(result, list):
        return [kinds(each) for each in result]
    if isinstance(result, dict):
        return {key: kinds(value) for key, value in result.items()}
    return type(result), getattr(result, "dtype", None), getattr(result, "shape", None)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: model.predict(), "inputs: expected"),
        (lambda model: model.predict(TWO, sentences=TWO), "sentences is an old name of inputs: give one"),
        (lambda model: model.predict(TWO, "q"), "prompt_name 'q': prompts are not computed here; batch_size comes af"),
        (lambda model: model.rank(QUERY, DOCUMENTS, prompt="query: "), "prompt 'query: ': prompts are not computed"),
    ],
)
def test_a_call_that_would_be_guessed_at_is_refused(ours, call, words):
    with pytest.raises(InputError, match=words):
        call(ours)


@pytest.mark.parametrize(
    ("top_k", "return_documents"), [(None, False), (None, True), (2, False), (99, True), (0, False)]
)
def test_rank_equals_sentence_transformers(ours, theirs, top_k, return_documents):
    different = DOCUMENTS[:-1]  # among equal documents theirs may put either first
    met = ours.rank(QUERY, different, top_k=top_k, return_documents=return_documents)
    wanted = theirs.rank(QUERY, different, top_k, return_documents, show_progress_bar=False)
    assert [set(result) for result in met] == [set(result) for result in wanted]
    assert [result["corpus_id"] for result in met] == [result["corpus_id"] for result in wanted]
    assert [result["score"] for result in met] == pytest.approx([result["score"] for result in wanted], abs=1e-5)
    assert [result.get("text") for result in met] == [result.get("text") for result in wanted]


@pytest.mark.parametrize(
    ("config", "own", "activation"),
    [
        ({}, None, torch.nn.Sigmoid),
        ({"sentence_transformers": {"version": "5.1.0"}}, None, torch.nn.Sigmoid),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, None, torch.nn.Identity),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, None, torch.nn.Sigmoid),
        (
            {
                "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
                "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
            },
            None,
            torch.nn.Sigmoid,
        ),
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
            {"activation_fn": "torch.nn.modules.linear.Identity"},
            torch.nn.Identity,
        ),
    ],
)
def test_the_activation_is_the_one_that_the_checkpoint_names(tmp_path, config, own, activation):
    checkpoints.bert().changed(**{"sentence_transformers": None, **config}).write(tmp_path)
    if own is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(own))
    assert isinstance(CrossEncoder.load(tmp_path, device="cpu").activation_fn, activation)


def test_an_activation_that_is_not_known_is_named_and_never_imported(tmp_path):
    recipe = checkpoints.bert().changed(sentence_transformers={"activation_fn": "os.system"})
    recipe.write(tmp_path)
    with pytest.raises(CheckpointError, match=r"'os\.system' is not known here; give activation_fn"):
        CrossEncoder.load(tmp_path, device="cpu")
    assert CrossEncoder.load(tmp_path, device="cpu", activation_fn=torch.nn.Identity()).predict(PAIRS).shape == (8,)


def test_one_string_is_no_list_of_documents(ours):
    with pytest.raises(InputError, match="expected a list of strings, not one string"):
        ours.rank(QUERY, "paris")


def test_a_negative_top_k_is_refused(ours):
    with pytest.raises(InputError, match="top_k should not be negative, and is -1"):
        ours.rank(QUERY, DOCUMENTS, top_k=-1)
