"""Filled sequences -> logits, in the caller's order: planned by token budget, packed flat.

On a GPU one batch follows another. On a CPU several are computed side by side, each in a thread of its own: threads
that share one batch wait for each other after every operation, and the slowest sets the pace.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch
from torch import Tensor, nn

from crossrank.batch import Filled, pack, plan
from crossrank.errors import DeviceError, ModelError
from crossrank.packing import pack_linear
from crossrank.quantize import quantize

__all__ = ["DTYPES", "Scorer", "default_budget", "place"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}

# Measured: small enough for a core's caches to hold a layer's activations, large enough to fill a GPU.
CORE_TOKENS, CUDA_TOKENS = 1024, 32768
LEAST_TOKENS = 512  # smaller batches waste a core


def default_budget(device: torch.device) -> int:
    """Tokens to compute at a time on `device`: what fills a GPU, or every thread that torch has on a CPU."""
    return CUDA_TOKENS if device.type == "cuda" else CORE_TOKENS * torch.get_num_threads()


class Scorer:
    """A placed model and the tokens it computes at a time. Threads may share it, and a forked process may keep it."""

    def __init__(self, model: nn.Module, device: torch.device, budget: int) -> None:
        self.model = model
        self.device = device
        self.budget = budget
        threads = torch.get_num_threads()
        self.workers = 1 if device.type == "cuda" else max(1, min(threads, budget // LEAST_TOKENS))
        self.threads = threads // self.workers
        self.pool = _workers(self.workers, self.threads) if self.workers > 1 else None
        self.process = os.getpid()

    def logits(self, sequences: Sequence[Filled], progress: Callable[[int, int], None] | None = None) -> list[float]:
        """One float32 logit a sequence, in the order given; equal sequences are computed once.

        progress: called after each batch with the number of sequences done and their total.
        """
        # Else a duplicate's logit could differ in its last bit, by its place in a batch, and a tie would be none.
        places: dict[tuple[bytes, int], list[int]] = {}
        for index, filled in enumerate(sequences):
            places.setdefault((filled.tokens.tobytes(), filled.split), []).append(index)
        equals = list(places.values())
        unique = [sequences[indices[0]] for indices in equals]
        groups = self._groups([len(filled) for filled in unique])
        batches = [[unique[index] for index in group] for group in groups]
        scored = []
        done = 0
        for group, part in zip(groups, self._forwards(batches), strict=True):
            scored.append(part)
            done += sum(len(equals[index]) for index in group)
            if progress:
                progress(done, len(sequences))
        # One copy to the host at the end: on a GPU the batches then queue without waiting for each other.
        flat = torch.cat(scored).tolist() if scored else []
        logits = [0.0] * len(sequences)
        for which, logit in zip((index for group in groups for index in group), flat, strict=True):
            if not math.isfinite(logit):
                met = "not a number" if math.isnan(logit) else "infinite"
                raise ModelError(f"the model's score of input {equals[which][0]} is {met}; float32 may mend it")
            for index in equals[which]:
                logits[index] = logit
        return logits

    def _groups(self, lengths: list[int]) -> list[list[int]]:
        """As plan() does, with as many tokens in each as leaves every worker one."""
        return plan(lengths, min(self.budget // self.workers, -(-sum(lengths) // self.workers)))

    def _forwards(self, batches: list[list[Filled]]) -> Iterable[Tensor]:
        if self.pool is None or len(batches) < 2:
            return map(self._forward, batches)
        if self.process != os.getpid():  # a fork takes no threads along, and its batches would wait for ever
            self.pool = _workers(self.workers, self.threads)
            self.process = os.getpid()
        return self.pool.map(self._forward, batches)

    def _forward(self, batch: list[Filled]) -> Tensor:
        # Both are a thread's own settings. A caller's autocast would change the precision that was chosen.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.model(pack(batch, self.device))


def _workers(count: int, threads: int) -> ThreadPoolExecutor:
    """A pool of `count` threads in each of which torch uses `threads`."""
    before = torch.get_num_threads()
    started = Barrier(count)

    def start() -> None:
        torch.get_num_threads()  # a thread's first look takes the process's setting, and would undo its own later
        torch.set_num_threads(threads)
        started.wait()

    pool = ThreadPoolExecutor(count, "crossrank-scorer", start)
    list(pool.map(lambda _: None, range(count)))
    # What a thread sets for itself is also what threads not yet born will find: the caller's own must stand there.
    torch.set_num_threads(before)
    return pool


def place(model: nn.Module, device: str | None, dtype: str | None) -> tuple[nn.Module, torch.device, str]:
    """Move a float32 model to a device and a precision; returns it with what was chosen.

    device: "cpu", "cuda" or "cuda:N"; None takes CUDA where there is one. dtype: a key of DTYPES; None takes float32 on
    CPU and bfloat16 on CUDA. The head stays float32. Raises DeviceError when the machine has not got it.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(chosen)
    except RuntimeError as error:
        raise DeviceError(f"device {chosen!r} is not one; try cpu or cuda") from error
    if target.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {chosen!r} is not supported; cpu and cuda are")
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(f"device {chosen!r} is not here: torch {torch.__version__} sees {found} CUDA devices")
    name = dtype or ("bfloat16" if target.type == "cuda" else "float32")
    if name not in DTYPES:
        raise DeviceError(f"dtype {name!r} is not one of {', '.join(DTYPES)}")
    if name == "int8":
        if target.type != "cpu":
            raise DeviceError("int8 runs on the CPU only; on a GPU take bfloat16 or float16")
        return quantize(model), target, name
    if name == "float32" and target.type == "cpu":
        return pack_linear(model), target, name
    model.to(target)
    for part in (model.embeddings, model.blocks):
        part.to(DTYPES[name])
    return model, target, name
