"""What the machine is and the most it can do: processor, GEMM peak at a model's shapes, and a model's arithmetic."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["Others", "Shape", "commit", "cores", "gemm_peak", "machine", "versions"]

ROOT = Path(__file__).resolve().parent.parent
FEATURES = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16", "amx_int8": "AMX"}
PACKAGES = ("torch", "sentence-transformers", "transformers", "tokenizers", "onnxruntime", "fastembed", "FlashRank")


@dataclass(frozen=True, slots=True)
class Shape:
    """A BERT's sizes, and the floating-point operations of its products, two a multiply-add."""

    width: int
    inner: int
    layers: int

    def full(self, lengths: Sequence[int]) -> float:
        """Every layer for every token."""
        layer = sum(2 * n * self._weights() + 4 * n * n * self.width for n in lengths)
        return float(self.layers * layer + self._head(lengths))

    def needed(self, lengths: Sequence[int]) -> float:
        """As much as exact logits need: of the last layer, keys and values of all tokens and the rest of the first."""
        before = Shape(self.width, self.inner, self.layers - 1).full(lengths)
        every_token = sum(lengths) * 2 * 2 * self.width**2
        first_token = sum(2 * (self._weights() - 2 * self.width**2) + 4 * n * self.width for n in lengths)
        return before + every_token + first_token

    @property
    def products(self) -> list[tuple[int, int]]:
        """(in, out) of the linear layers of one block: query, key with value, out, up, down."""
        width, inner = self.width, self.inner
        return [(width, width), (width, 2 * width), (width, width), (width, inner), (inner, width)]

    def _weights(self) -> int:
        return sum(rows * columns for rows, columns in self.products)

    def _head(self, lengths: Sequence[int]) -> int:
        return len(lengths) * 2 * (self.width**2 + self.width)


def gemm_peak(shape: Shape, precision: str, rows: int = 2048, seconds: float = 0.5) -> float:
    """Operations a second of the block's bare products, one after another on `rows` tokens: the best of many passes."""
    runs = [_product(rows, *sizes, precision) for sizes in shape.products]
    best = float("inf")
    until = time.perf_counter() + seconds
    with torch.inference_mode():
        while True:
            started = time.perf_counter()
            for run in runs:
                run()
            best = min(best, time.perf_counter() - started)
            if time.perf_counter() > until:
                break
    return sum(2.0 * rows * a * b for a, b in shape.products) / best


def _product(rows: int, a: int, b: int, precision: str) -> Callable[[], object]:
    x, w = torch.randn(rows, a), torch.randn(b, a)
    if precision == "int8":
        steps = x.mul(20).clamp(-127, 127).add(128).to(torch.uint8)
        packed = torch.ops.onednn.qlinear_prepack(w.mul(20).clamp(-127, 127).to(torch.int8), None)
        scale, zeros = torch.ones(b), torch.zeros(b, dtype=torch.int64)
        return lambda: torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, 128, packed, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
    x, w = x.to(getattr(torch, precision)), w.to(getattr(torch, precision))
    return lambda: torch.nn.functional.linear(x, w)


class Others:
    """Watches how much of the cores other processes take, those at low priority aside. Linux only; elsewhere 0."""

    def __init__(self) -> None:
        self.wall, self.busy = time.perf_counter(), _busy_elsewhere()

    def share(self) -> float:
        """Of all cores, since this was made."""
        elapsed = time.perf_counter() - self.wall
        return max(0.0, (_busy_elsewhere() - self.busy) / elapsed / (os.cpu_count() or 1))


def _busy_elsewhere() -> float:
    """Seconds that the machine's cores have worked, less what this process has."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    user, _nice, system, _idle, _wait, irq, soft, steal = map(int, stat.read_text().split("\n")[0].split()[1:9])
    own = os.times()
    return (user + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """'2 cores of AMD EPYC with AVX2, AVX-512, VNNI, BF16'."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = [line.partition(":") for line in info.read_text(encoding="utf-8").splitlines()]
        found = {key.strip(): value.strip() for key, _, value in reversed(fields)}
        name, flags = found.get("model name", name), set(found.get("flags", "").split())
    features = ", ".join(label for flag, label in FEATURES.items() if flag in flags)
    return f"{cores()} cores of {name}{' with ' if features else ''}{features}"


def commit() -> str:
    """The commit of this checkout, with a star when the package differs from it."""
    try:
        found = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "crossrank/*.py"], cwd=ROOT, check=False)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found + ("*" if changed.returncode else "")


def versions() -> dict[str, str]:
    """The versions of what is measured."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
