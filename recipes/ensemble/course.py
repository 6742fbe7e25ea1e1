"""A course of training that is measured in minutes: one loop for mini-en's sides and for tiny-en."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from progress import Progress
from torch import Tensor, nn

WARM_UP, DECAY = 0.04, 0.7  # parts of the course, its first and its last
REPORT_SECONDS = 15


def train(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    minutes: float,
    step: Callable[[], tuple[dict[str, Tensor], int]],
) -> None:
    """Go on from `progress` until so many minutes are spent. step: gives the parts of a loss, and of how many pairs.

    Every group of the optimizer has its highest rate under "rate".
    """
    reported = 0.0
    while progress.spent < 60 * minutes:
        begin = time.perf_counter()
        done = progress.spent / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, done / WARM_UP + 0.02, (1 - done) / DECAY + 0.01)
        parts, pairs = step()
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.add(pairs, time.perf_counter() - begin, parts)
        if progress.spent - reported > REPORT_SECONDS:
            reported = progress.spent
            print(progress.told(done), flush=True)
        if progress.due():
            progress.save(learner, optimizer)
    progress.save(learner, optimizer)
