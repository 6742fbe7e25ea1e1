"""Fit a model's logits to labels, so that a score can be read as a probability and a threshold means something.

What is fitted holds for pairs like those it was fitted on: where one pair in thirty is relevant, a probability is of
that world. Every number reported is of pairs that the map had not seen: queries are split in two halves, and each half
is judged by the map fitted on the other. The map that is kept is fitted on all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crossrank.calibration import METHODS, Calibration
from crossrank.errors import InputError

__all__ = [
    "At",
    "Fitted",
    "calibrate",
    "expected_calibration_error",
    "fit",
    "log_loss",
    "precision_and_recall",
]

BINS = 15
NEWTON_STEPS = 100
LEAST = 10  # relevant and other pairs in each half of the queries
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Logits = Float[np.ndarray, " pairs"]
Labels = Int[np.ndarray, " pairs"]


@dataclass(frozen=True, slots=True)
class At:
    """What keeping the pairs at or above a threshold would mean. f1: the harmonic mean of the two."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration, and how well sigmoid(logit) (before) and the map (after) tell probabilities on unseen queries."""

    calibration: Calibration
    pairs: int
    relevant: int
    queries: int
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float
    table: tuple[At, ...]
    suggested: At


def calibrate(logits: Sequence[float], labels: Sequence[int], queries: Sequence[str], method: str = "platt") -> Fitted:
    """Fit on pairs with their logits, labels (0 or 1) and queries; the threshold suggested has the best F1.

    Raises InputError where there are too few pairs of either kind to fit and to test on.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    half = np.array([hashlib.sha256(query.encode()).digest()[0] % 2 for query in queries])
    for side in (0, 1):
        for label, kind in ((1, "relevant"), (0, "other")):
            count = int(((half == side) & (y == label)).sum())
            if count < LEAST:
                raise InputError(
                    f"{count} {kind} pairs in one half of the queries, and {LEAST} are needed: each half tests the "
                    "map fitted on the other; give more labelled queries"
                )
    unseen = np.empty_like(z)
    for side in (0, 1):
        other = fit(z[half != side], y[half != side], method)
        unseen[half == side] = _probabilities(other, z[half == side])
    plain = _probabilities(Calibration(method="temperature"), z)
    candidates = sorted(set(unseen.tolist()))
    candidates = candidates[:: max(1, len(candidates) // 1000)]
    suggested = max(precision_and_recall(unseen, y, candidates), key=lambda at: at.f1)
    kept = fit(z, y, method)
    return Fitted(
        calibration=Calibration(
            method=kept.method,
            slope=kept.slope,
            intercept=kept.intercept,
            knots=kept.knots,
            threshold=suggested.threshold,
        ),
        pairs=len(y),
        relevant=int(y.sum()),
        queries=len(set(queries)),
        ece_before=expected_calibration_error(plain, y),
        ece_after=expected_calibration_error(unseen, y),
        loss_before=log_loss(plain, y),
        loss_after=log_loss(unseen, y),
        table=tuple(precision_and_recall(unseen, y, THRESHOLDS)),
        suggested=suggested,
    )


def fit(logits: Logits, labels: Labels, method: str) -> Calibration:
    """The map that fits best, by log loss for temperature and platt, by squares under order for isotonic."""
    if method == "isotonic":
        return Calibration(method=method, knots=tuple(_isotonic(logits, labels)))
    slope, intercept = _logistic(logits, labels, intercept=method == "platt")
    if slope <= 0:
        raise InputError("relevant pairs do not score higher than others here, so no threshold can tell them apart")
    return Calibration(method=method, slope=slope, intercept=intercept)


def expected_calibration_error(probabilities: Logits, labels: Labels, bins: int = BINS) -> float:
    """The mean distance between probability and share of relevant pairs, in bins of equal width, weighted by pairs."""
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=probabilities - labels, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def log_loss(probabilities: Logits, labels: Labels) -> float:
    """Mean negative log likelihood, in nats."""
    p = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-np.where(labels == 1, np.log(p), np.log(1 - p)).mean())


def precision_and_recall(probabilities: Logits, labels: Labels, thresholds: Sequence[float]) -> list[At]:
    """At each threshold. Precision is 1 where nothing is kept."""
    order = np.argsort(probabilities)
    ranked, hits = probabilities[order], labels[order]
    # relevant pairs at or above each place
    above = np.concatenate([np.cumsum(hits[::-1])[::-1], [0]])
    rows = []
    for threshold in thresholds:
        start = int(np.searchsorted(ranked, threshold, side="left"))
        kept, right = len(ranked) - start, int(above[start])
        precision, recall = right / kept if kept else 1.0, right / int(above[0])
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        rows.append(At(float(threshold), precision, recall, f1))
    return rows


def _probabilities(calibration: Calibration, logits: Logits) -> Logits:
    return np.array([calibration.probability(float(logit)) for logit in logits])


def _logistic(logits: Logits, labels: Labels, *, intercept: bool) -> tuple[float, float]:
    """Logistic regression on one number by Newton's method with step halving, with Platt's smoothed targets.

    (Platt 1999; the steps as in Lin, Lin and Weng, Machine Learning 68, 2007.)
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = np.stack([logits, np.ones_like(logits)], axis=1)[:, : 2 if intercept else 1]

    def loss(weights: np.ndarray) -> float:
        z = columns @ weights
        return float((np.logaddexp(0, z) - targets * z).sum())

    weights = np.zeros(columns.shape[1])
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(columns @ weights, -500, 500)))
        gradient = columns.T @ (p - targets)
        if np.abs(gradient).max() < 1e-8 * len(labels):
            break
        hessian = columns.T @ (columns * (p * (1 - p))[:, None]) + 1e-10 * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while loss(weights - scale * step) > loss(weights) and scale > 1e-10:
            scale /= 2
        weights = weights - scale * step
    return float(weights[0]), float(weights[1]) if intercept else 0.0


def _isotonic(logits: Logits, labels: Labels) -> list[tuple[float, float]]:
    """Pool adjacent violators: the non-decreasing steps nearest to the labels, as knots at each step's two ends."""
    values, places = np.unique(logits, return_inverse=True)
    totals, counts = np.bincount(places, weights=labels), np.bincount(places)
    blocks: list[tuple[float, float, float, int]] = []  # first logit, last logit, sum of labels, pairs
    for value, sum_of_labels, pairs in zip(values.tolist(), totals.tolist(), counts.tolist(), strict=True):
        blocks.append((value, value, sum_of_labels, pairs))
        while len(blocks) > 1 and blocks[-2][2] * blocks[-1][3] >= blocks[-1][2] * blocks[-2][3]:
            _, last, total, count = blocks.pop()
            blocks[-1] = (blocks[-1][0], last, blocks[-1][2] + total, blocks[-1][3] + count)
    knots = []
    for first, last, total, count in blocks:
        knots.append((first, total / count))
        if last > first:
            knots.append((last, total / count))
    return knots
