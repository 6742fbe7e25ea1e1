"""Watches a run, and stops one that has collapsed: it says why, and what to try.

A cross-encoder trained at too high a rate does not always diverge loudly. As often it gives every document the same
score, at a loss that looks like learning's beginning: that of a model that knows the labels' mean and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from crossrank.errors import CrossrankError
from crossrank.train.recipe import Monitoring

__all__ = ["Collapsed", "Monitor", "Window", "logging_steps", "verdict"]

LOWER = "a lower learning_rate (a tenth), a longer warmup, or a larger batch"


class Collapsed(CrossrankError):
    """Training has gone where it does not come back from; the message says what was seen and what to try."""


@dataclass(slots=True)
class Window:
    """What was seen over some steps. spreads, means: standard deviation and mean of the scores of each forward pass."""

    losses: list[float] = field(default_factory=list)
    gradients: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)


def verdict(seen: Window, first: Window, prior: float | None) -> str | None:
    """What is wrong with the steps in `seen`, beside the `first` steps of the run; None if nothing is.

    prior: the loss of a model that gives every document the same score.
    """
    numbers = {"loss": seen.losses, "gradient": seen.gradients, "scores": seen.means}
    for name, values in numbers.items():
        if not all(map(math.isfinite, values)):
            return f"{name} not a number; try {LOWER}, and look for odd values among the data's scores"
    if seen.spreads:
        spread, level = median(seen.spreads), median(map(abs, seen.means))
        if spread < 1e-5 * (1 + level) or (first.spreads and spread < 0.01 * first.spreads[0]):
            began = f" (they began at {first.spreads[0]:.2g})" if first.spreads else ""
            return (
                f"all documents get the same score: their standard deviation is {spread:.2g}{began}; "
                f"try {LOWER}; if it was so from the start, the base model may be one that never learned"
            )
    loss = median(seen.losses)
    start = first.losses[0] if first.losses else loss
    worst = max(start, prior) if prior is not None else start
    if loss > 1.5 * worst + 1e-3:
        known = "" if prior is None else f", and knowing nothing costs {prior:.3g}"
        return f"the loss rose to {loss:.3g} (it began at {start:.3g}{known}); try {LOWER}"
    if seen.gradients and first.gradients:
        norm, norm_then = median(seen.gradients), first.gradients[0]
        if norm > 100 * norm_then and loss > start:
            return f"gradients grew from {norm_then:.2g} to {norm:.2g} and the loss with them; try {LOWER}"
        if norm < 1e-8 and loss > 0.5 * worst:
            return f"gradients vanished ({norm:.2g}) while the loss is {loss:.3g}; try {LOWER}"
    return None


def logging_steps(options: Monitoring) -> int:
    """How often the trainer has to say its loss for a window to hold enough of them."""
    return max(1, options.window // 5)


class Monitor(TrainerCallback):
    """A callback that raises Collapsed within the window in which a run goes wrong.

    module: the first of the CrossEncoder's, whose scores are watched while it trains. The trainer should log every
    logging_steps(options) steps and not filter its losses.
    """

    def __init__(self, module: nn.Module, options: Monitoring, prior: float | None = None) -> None:
        self.module = module
        self.options = options
        self.prior = prior
        self.first: Window | None = None
        self.window = Window()
        self.scores: list[Tensor] = []
        self.opened = 0
        self.flat = 0
        self.hook: RemovableHandle | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self.opened = state.global_step
        self.hook = self.module.register_forward_hook(self._saw)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        if self.hook is not None:
            self.hook.remove()
        if self.window.losses:
            self._judge(self.window, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **others: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        seen = Window([float(logs["loss"])], [float(logs["grad_norm"])] if "grad_norm" in logs else [])
        # Now, not at each step: reading a number back makes a GPU wait.
        for spread, mean in torch.stack(self.scores).tolist() if self.scores else []:
            seen.spreads.append(spread)
            seen.means.append(mean)
        self.scores = []
        self._judge(Window(seen.losses, seen.gradients, [], seen.means), state.global_step, at_once=True)
        if self.first is None:
            self.first = seen
        for kept, new in zip(_parts(self.window), _parts(seen), strict=True):
            kept.extend(new)
        if state.global_step - self.opened >= self.options.window:
            self._judge(self.window, state.global_step)
            self._compare_with_knowing_nothing(state.global_step)
            self.window, self.opened = Window(), state.global_step

    def _saw(self, module: nn.Module, _: object, features: Mapping[str, Any]) -> None:
        if module.training and len(features["scores"]) > 1:
            scores = features["scores"].detach().float()
            self.scores.append(torch.stack([scores.std(), scores.mean()]))

    def _judge(self, seen: Window, step: int, *, at_once: bool = False) -> None:
        """With `at_once`, only for what is not a number: that need not wait for the window's end."""
        finite = all(map(math.isfinite, [*seen.losses, *seen.gradients, *seen.means]))
        if at_once and finite:
            return
        wrong = verdict(seen, self.first or seen, self.prior)
        if wrong:
            raise Collapsed(f"training stopped at step {step}: {wrong}")

    def _compare_with_knowing_nothing(self, step: int) -> None:
        if self.prior is None or fmean(self.window.losses) < self.prior:
            self.flat = 0
            return
        self.flat += 1
        if self.flat >= self.options.patience:
            raise Collapsed(
                f"training stopped at step {step}: in {self.flat} windows of {self.options.window} steps the loss, "
                f"{fmean(self.window.losses):.3g}, never fell below {self.prior:.3g}, what it costs to give every "
                "document the same score; look whether labels belong to their documents, then try another learning_rate"
            )


def _parts(window: Window) -> Sequence[list[float]]:
    return window.losses, window.gradients, window.spreads, window.means
