from __future__ import annotations

import math
import random

import pytest
import torch
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator

from crossrank.errors import InputError
from crossrank.train.bridge import cross_encoder
from crossrank.train.losses import LOSSES, flat_loss, label_prior, make_loss, rows_of
from crossrank.train.records import Record
from tests.train.worlds import toy_lines, toy_module

GRADED = Record("q", tuple("abcdefgh"), labels=(0, 1, 0, 2, 0, 0, 1, 0), scores=tuple(float(n) for n in range(8)))


def records(count, seed):
    return [
        Record(line["query"], tuple(line["documents"]), tuple(map(float, line["labels"])), tuple(line["scores"]))
        for line in toy_lines(count, seed)
    ]


def rows(name, found, *, target=None, documents=4, temperature=1.0):
    chance = random.Random(0)
    target = target or LOSSES[name].targets[0]
    return [
        row
        for record in found
        for row in rows_of(record, name, target, documents=documents, temperature=temperature, chance=chance)
    ]


def batches(name, made, size=16):
    """Columns and labels as the trainer hands them to a loss."""
    collate = CrossEncoderDataCollator(preprocess_fn=None)
    for start in range(0, len(made), size):
        batch = collate(made[start : start + size])
        labels = batch.pop("label", None)
        yield list(batch.values()), labels


@pytest.mark.parametrize(
    ("name", "target"), [(name, target) for name, loss in LOSSES.items() for target in loss.targets]
)
def test_a_loss_teaches_a_tiny_model_to_tell_the_relevant_apart(name, target, tmp_path):
    """The relevant document of unseen queries ends above all others, by labels and by a teacher's scores."""
    torch.manual_seed(0)
    module = toy_module(tmp_path)
    model = cross_encoder(module, "cpu")
    loss = make_loss(name, model, {})
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    made = rows(name, records(60, seed=1), target=target)
    for _ in range(3):
        for columns, labels in batches(name, made):
            optimizer.zero_grad()
            loss(list(columns), labels).backward()
            optimizer.step()
    unseen = toy_lines(20, seed=9)
    scores = model.predict([(line["query"], d) for line in unseen for d in line["documents"]], show_progress_bar=False)
    first = [max(range(4), key=scores[4 * i : 4 * i + 4].__getitem__) for i in range(20)]
    assert sum(line["labels"][place] for line, place in zip(unseen, first, strict=True)) >= 18


def test_a_list_holds_relevant_and_other_documents_with_their_labels():
    drawn = [rows("list_net", [GRADED], documents=4)[0] for _ in range(1)] + rows("lambda", [GRADED] * 20, documents=4)
    for row in drawn:
        assert len(row["documents"]) == 4
        assert row["labels"] == [GRADED.labels["abcdefgh".index(document)] for document in row["documents"]]
        assert sum(label >= 1 for label in row["labels"]) == 2
    assert len({tuple(row["documents"]) for row in drawn}) > 5


def test_the_values_of_a_list_are_divided_by_the_temperature():
    (row,) = rows("list_net", [GRADED], target="scores", documents=8, temperature=2.0)
    assert dict(zip(row["documents"], row["labels"], strict=True)) == {c: n / 2 for n, c in enumerate("abcdefgh")}
    (row,) = rows("list_net", [GRADED], documents=8, temperature=0.1)
    assert sorted(row["labels"]) == [0, 0, 0, 0, 0, 10, 10, 20]
    pairs = rows("binary_cross_entropy", [GRADED], documents=8, temperature=0.1)
    assert sorted(row["label"] for row in pairs) == [0, 0, 0, 0, 0, 1, 1, 1]


def test_a_teachers_logit_is_a_probability_for_binary_cross_entropy():
    record = Record("q", ("a", "b"), scores=(0.0, 700.0))
    assert sorted(row["label"] for row in rows("binary_cross_entropy", [record], target="scores")) == [0.5, 1.0]
    assert [row["label"] for row in rows("binary_cross_entropy", [Record("q", ("a",), (3.0,))])] == [1.0]


def test_a_tuple_has_one_relevant_document_and_as_many_others_as_asked_for():
    record = Record("q", ("right", "wrong", "also wrong"), labels=(1.0, 0.0, 0.0))
    (row,) = rows("multiple_negatives", [record], documents=5)
    assert row["positive"] == "right"
    assert [row[f"negative_{n}"] for n in range(4)].count("wrong") == 2
    assert rows("multiple_negatives", [record], documents=1) == [{"query": "q", "positive": "right"}]


def test_margins_begin_with_the_teachers_best():
    (row,) = rows("margin_mse", [GRADED], documents=8)
    assert row["document_0"] == "h"
    assert row["label"] == [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("name", ["list_net", "rank_net", "margin_mse"])
def test_a_list_whose_values_are_equal_is_no_row(name):
    assert rows(name, [Record("q", ("a", "b"), labels=(1.0, 1.0), scores=(2.0, 2.0))]) == []


def test_data_without_the_target_is_refused():
    with pytest.raises(InputError, match="the query 'q' has no scores, and loss 'mse' learns from them"):
        rows("mse", [Record("q", ("a",), labels=(1.0,))])


def test_the_loss_of_knowing_nothing_is_that_of_equal_scores(tmp_path):
    module = toy_module(tmp_path)
    model = cross_encoder(module, "cpu")
    made = rows("list_net", records(8, seed=1))
    ((columns, labels),) = batches("list_net", made)
    assert flat_loss(make_loss("list_net", model, {}), module, columns, labels, 0.3) == pytest.approx(math.log(4))
    made = rows("binary_cross_entropy", records(8, seed=1))
    ((columns, labels),) = batches("binary_cross_entropy", made, size=32)
    prior = label_prior("binary_cross_entropy", labels)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert prior == pytest.approx(math.log(1 / 3))
    loss = make_loss("binary_cross_entropy", model, {})
    assert flat_loss(loss, module, columns, labels, prior) == pytest.approx(entropy)


def test_asking_what_knowing_nothing_costs_leaves_the_model_and_chance_alone(tmp_path):
    module = toy_module(tmp_path)
    model = cross_encoder(module, "cpu")
    ((columns, labels),) = batches("multiple_negatives", rows("multiple_negatives", records(8, seed=1), documents=2))
    loss = make_loss("multiple_negatives", model, {})
    torch.manual_seed(1)
    expected = loss(list(columns), labels).item()
    torch.manual_seed(1)
    flat_loss(loss, module, list(columns), labels, 0.0)
    assert loss(list(columns), labels).item() == expected


def test_an_options_default_can_be_overridden(tmp_path):
    model = cross_encoder(toy_module(tmp_path), "cpu")
    assert make_loss("lambda", model, {"k": 3}).k == 3
    assert make_loss("lambda", model, {}).k is None
    assert make_loss("multiple_negatives", model, {"scale": 5}).scale == 5


def test_a_chunk_of_zero_is_the_whole_batch(tmp_path):
    model = cross_encoder(toy_module(tmp_path), "cpu")
    ((columns, labels),) = batches("multiple_negatives", rows("multiple_negatives", records(8, seed=1), documents=2))
    found = []
    for chunk in (0, 3):
        torch.manual_seed(1)
        loss = make_loss("cached_multiple_negatives", model, {"chunk": chunk})
        model.zero_grad()
        value = loss(list(columns), labels)
        value.backward()
        found.append((value.item(), model[0].model.head.dense.weight.grad.clone()))
    (whole, gradient), (parts, other) = found
    assert whole == pytest.approx(parts, rel=1e-5)
    torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "option", "value", "complaint"),
    [
        ("multiple_negatives", "in_batch_negatives", 0, "in_batch_negatives should be a whole number from 1, not 0"),
        ("cached_multiple_negatives", "in_batch_negatives", 2.5, "a whole number from 1, not 2.5"),
        ("multiple_negatives", "scale", 0, "scale should be a number above 0, not 0"),
        ("cached_multiple_negatives", "chunk", -1, "chunk should be a whole number from 0, not -1"),
        ("lambda", "k", math.nan, "k should be a whole number from 0, not nan"),
        ("binary_cross_entropy", "positive_weight", math.inf, "positive_weight should be a number above 0, not inf"),
    ],
)
def test_an_option_that_means_nothing_is_refused(name, option, value, complaint, tmp_path):
    model = cross_encoder(toy_module(tmp_path), "cpu")
    with pytest.raises(InputError, match=f"loss '{name}': .*{complaint}"):
        make_loss(name, model, {option: value})
