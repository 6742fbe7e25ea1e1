"""How far a training run is, kept in a file that a killed one goes on from; and the mean of several."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

SAVE_SECONDS = 120
FADE = 0.98  # of a running average, at every step


@dataclass
class Progress:
    """How far a run is; what of it a killed one goes on from is in the file `path`."""

    path: Path
    pairs: int = 0
    step: int = 0
    spent: float = 0.0  # seconds
    saved: float = 0.0  # of these, when it was last written
    losses: dict[str, float] = field(default_factory=dict)  # running averages of a loss's parts, since it was resumed

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Read model, optimizer and progress back, where the file is there."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        self.pairs, self.step, self.spent = state["pairs"], state["step"], state["spent"]
        self.saved = self.spent
        return True

    def add(self, pairs: int, seconds: float, parts: Mapping[str, Tensor]) -> None:
        """Count a step: of so many pairs, in so many seconds, with these parts of its loss."""
        self.pairs, self.step, self.spent = self.pairs + pairs, self.step + 1, self.spent + seconds
        for name, part in parts.items():
            self.losses[name] = FADE * self.losses.get(name, part.item()) + (1 - FADE) * part.item()

    def told(self, done: float) -> str:
        """A line for the eye. done: from 0 to 1."""
        terms = " ".join(f"{name} {value:.3f}" for name, value in self.losses.items())
        return f"step {self.step} {self.pairs / self.spent:.1f} pairs/s {done:.3f} | {terms}"

    def due(self, pairs: float = math.inf) -> bool:
        """Whether to write it now: some time has gone by, or so many pairs are done."""
        return self.spent - self.saved > SAVE_SECONDS or self.pairs >= pairs

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        partial = self.path.with_suffix(".partial")
        torch.save({**kept, "pairs": self.pairs, "step": self.step, "spent": self.spent}, partial)
        os.replace(partial, self.path)
        self.saved = self.spent


def mean(paths: Iterable[Path]) -> dict[str, Tensor]:
    """The mean of the weights that several runs have written, in float32.

    It ranks better than each (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482); they are to come of one run, or
    of runs that went on from the same weights.
    """
    states = [torch.load(path, weights_only=False)["model"] for path in paths]
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}
