"""A model's calibration: how its logits map to the share of pairs that were relevant where it was fitted.

It lies beside the weights as calibration.json. It never changes an order, and `Hit.score` stays sigmoid(logit) with or
without it; whoever wants probabilities, or a threshold that means something, asks for it here.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crossrank.errors import CheckpointError, ModelError
from crossrank.reranker import sigmoid

__all__ = ["FILE", "METHODS", "Calibration", "files_hash", "read_calibration", "weights_hash", "write_calibration"]

FILE = "calibration.json"
METHODS = ("temperature", "platt", "isotonic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A map from a logit to a probability.

    method: temperature and platt are sigmoid(slope * logit + intercept), the first with no intercept; isotonic is
    straight lines between the knots (logit, probability), level beyond them. threshold: the probability that is
    suggested for dropping documents. weights: SHA-256 of the files that it was fitted for. facts: what it was fitted
    on and how well it did, for people.
    """

    method: str
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    threshold: float = 0.5
    weights: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, logit: float) -> float:
        """Grows with the logit, or stays level; so it keeps the order, ties aside."""
        if self.method != "isotonic":
            return sigmoid(self.slope * logit + self.intercept)
        above = bisect_right(self.knots, logit, key=lambda knot: knot[0])
        if above in (0, len(self.knots)):
            return self.knots[0 if above == 0 else -1][1]
        (left, low), (right, high) = self.knots[above - 1], self.knots[above]
        return low + (high - low) * (logit - left) / (right - left)


def read_calibration(folder: Path, weights: Sequence[str]) -> Calibration | None:
    """The calibration of a model's folder, None if there is none.

    weights: the files that the model was read from. Raises CheckpointError when it is damaged, or was fitted for other
    weights than these.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["knots"] = tuple((float(x), float(y)) for x, y in content.get("knots", ()))
        calibration = Calibration(**content)
        if calibration.method not in METHODS or (calibration.method == "isotonic" and not calibration.knots):
            raise ValueError(f"method {calibration.method!r} with {len(calibration.knots)} knots")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path} is no calibration: {error}; `crossrank calibrate` makes one") from error
    if calibration.weights != weights_hash(folder, weights):
        raise CheckpointError(f"{path} was fitted for other weights than are there: run `crossrank calibrate` again")
    return calibration


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Store a calibration with a model, whole or not at all. ModelError where the folder cannot be written to."""
    path = folder / FILE
    half = folder / f".{FILE}.{os.getpid()}"
    try:
        half.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error.strerror}); copy the model to a folder of yours") from error
    finally:
        half.unlink(missing_ok=True)
    return path


def weights_hash(folder: Path, weights: Sequence[str]) -> str:
    """SHA-256 over the files of a model's weights, in order."""
    sha = hashlib.sha256()
    for name in weights:
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a model's files; documentation and calibration change no logit."""
    sha = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if not path.is_file() or hidden or path.suffix == ".md" or path.name == FILE:
            continue
        sha.update(f"{inside.as_posix()}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()
