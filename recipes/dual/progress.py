"""How far a training run is, kept in a file that a killed one goes on from."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SAVE_SECONDS = 120


@dataclass
class Progress:
    """How far a run is; what of it a killed one goes on from is in the file `path`."""

    path: Path
    pairs: int = 0
    step: int = 0
    spent: float = 0.0  # seconds
    saved: float = 0.0  # of these, when it was last written

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

    def add(self, pairs: int, seconds: float) -> None:
        self.pairs, self.step, self.spent = self.pairs + pairs, self.step + 1, self.spent + seconds

    def __str__(self) -> str:
        return f"step {self.step} {self.pairs / self.spent:.1f} pairs/s"

    def due(self, pairs: float = math.inf) -> bool:
        """Whether to write it now: some time has gone by, or so many pairs are done."""
        return self.spent - self.saved > SAVE_SECONDS or self.pairs >= pairs

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        partial = self.path.with_suffix(".partial")
        torch.save({**kept, "pairs": self.pairs, "step": self.step, "spent": self.spent}, partial)
        os.replace(partial, self.path)
        self.saved = self.spent
