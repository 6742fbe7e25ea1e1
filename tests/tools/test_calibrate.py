from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.tools.calibrate import (
    calibrate,
    expected_calibration_error,
    fit,
    log_loss,
    precision_and_recall,
)


def sample(slope: float, intercept: float, count: int = 4000, seed: int = 0):
    """Pairs whose chance of being relevant is sigmoid(slope * logit + intercept)."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, count)
    labels = (random.random(count) < 1 / (1 + np.exp(-(slope * logits + intercept)))).astype(np.int64)
    return logits, labels, [f"q{i // 10}" for i in range(count)]


def test_platt_finds_the_map_that_made_the_labels():
    logits, labels, _ = sample(0.7, -1.5, 40_000)
    found = fit(logits, labels, "platt")
    assert (found.slope, found.intercept) == pytest.approx((0.7, -1.5), abs=0.05)


def test_temperature_finds_the_slope_and_keeps_a_half_where_it_was():
    logits, labels, _ = sample(0.4, 0.0, 40_000)
    found = fit(logits, labels, "temperature")
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.probability(0.0) == 0.5


def test_platt_equals_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    logits, labels, _ = sample(1.3, 0.5)
    # Platt's smoothing is far below the tolerance with thousands of pairs.
    theirs = linear.LogisticRegression(C=1e9, tol=1e-10).fit(logits[:, None], labels)
    ours = fit(logits, labels, "platt")
    assert (ours.slope, ours.intercept) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=0.01)


@given(st.lists(st.tuples(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), st.booleans()), min_size=2, max_size=40))
def test_isotonic_equals_scikit_learn(pairs):
    isotonic = pytest.importorskip("sklearn.isotonic")
    logits = np.array([x for x, _ in pairs])
    labels = np.array([int(y) for _, y in pairs])
    theirs = isotonic.IsotonicRegression(out_of_bounds="clip").fit(logits, labels)
    ours = fit(logits, labels, "isotonic")
    for logit in (*logits, -9.0, 9.0):
        assert ours.probability(float(logit)) == pytest.approx(float(theirs.predict([logit])[0]), abs=1e-9)


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_calibration_error_falls_on_queries_that_the_map_has_not_seen(method):
    logits, labels, queries = sample(0.3, 0.0)
    fitted = calibrate(logits.tolist(), labels.tolist(), queries, method)
    assert fitted.ece_after < 0.05 < fitted.ece_before
    assert fitted.loss_after < fitted.loss_before
    assert (fitted.pairs, fitted.relevant, fitted.queries) == (4000, int(labels.sum()), 400)


def test_the_suggested_threshold_has_the_best_f1_there_is():
    logits, labels, queries = sample(1.0, -1.0)
    fitted = calibrate(logits.tolist(), labels.tolist(), queries)
    assert fitted.suggested.f1 >= max(at.f1 for at in fitted.table) - 1e-9
    assert fitted.calibration.threshold == fitted.suggested.threshold


def test_precision_and_recall_are_counted():
    probabilities, labels = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 1, 0, 1])
    found = precision_and_recall(probabilities, labels, [0.0, 0.4, 0.5, 0.9])
    assert [(at.precision, at.recall) for at in found] == [(0.5, 1.0), (2 / 3, 1.0), (1.0, 0.5), (1.0, 0.0)]
    assert found[1].f1 == pytest.approx(0.8)
    assert found[3].f1 == 0.0


def test_calibration_error_and_log_loss_are_counted_by_hand():
    probabilities, labels = np.array([0.9, 0.9, 0.1, 1.0]), np.array([1, 0, 0, 1])
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx((abs(2.8 - 2) + 0.1) / 4)
    assert log_loss(np.array([0.5, 0.25]), np.array([1, 0])) == pytest.approx((np.log(2) - np.log(0.75)) / 2)


def test_too_few_pairs_are_refused_and_so_is_a_method_that_is_none():
    with pytest.raises(InputError, match="relevant pairs in one half of the queries"):
        calibrate([1.0, 2.0], [1, 0], ["a", "b"])
    with pytest.raises(InputError, match="'beta' is not one of temperature, platt, isotonic"):
        calibrate([1.0], [1], ["a"], "beta")


def test_scores_that_point_the_wrong_way_are_refused():
    logits, labels, queries = sample(-1.0, 0.0)
    with pytest.raises(InputError, match="do not score higher"):
        calibrate(logits.tolist(), labels.tolist(), queries)
