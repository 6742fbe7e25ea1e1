"""ALiBi's attention over one long document on this machine's CPU, beside the ways that write its bias down.

    python -m benchmarks.long [--rounds 3] [--lengths 512 2048 8192] [--dtype float32 bfloat16]

The shape is tiny-en's and jina-reranker-v1-tiny-en's: twelve heads of 32. `fused` is torch's own attention
with a bias of heads x length x length; `written out` is what the code published with those checkpoints does: product,
plus the bias, softmax, product. Both are given their bias ready made. All in turn, CPU time, medians. A way that would
write down more than --memory is left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import machine
from crossrank.attention import alibi_slopes, attend
from crossrank.batch import Filled, pack

HEADS, WIDTH = 12, 32


def ways(length: int, dtype: torch.dtype, memory: float) -> dict[str, Callable[[], Tensor]]:
    """What is raced, by name, each computing the same [length, heads, width]."""
    slopes = alibi_slopes(HEADS)
    q, k, v = (torch.randn(length, HEADS, WIDTH).to(dtype) for _ in range(3))
    batch = pack([Filled(np.zeros(length, dtype=np.int32), split=1)])
    found = {"crossrank": lambda: attend(q, k, v, batch, slopes)}
    square = HEADS * length**2 * q.element_size()
    queries, keys, values = (part.transpose(0, 1)[None] for part in (q, k, v))
    if square <= memory:
        place = torch.arange(length, dtype=torch.float32)
        bias = torch.stack([(-slope * (place[:, None] - place).abs()).to(dtype) for slope in slopes])[None]

        def fused() -> Tensor:
            return scaled_dot_product_attention(queries, keys, values, attn_mask=bias)[0].transpose(0, 1)

        def written() -> Tensor:
            weights = (queries @ keys.mT / WIDTH**0.5 + bias).softmax(-1)
            return (weights @ values)[0].transpose(0, 1)

        found["fused"] = fused
        if 3 * square <= memory:
            found["written out"] = written
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="that a way may write down")
    options = parser.parse_args()
    print(f"{machine()}, {torch.get_num_threads()} threads, {options.rounds} rounds, medians\n")
    print("| tokens | dtype | crossrank, CPU ms | fused, times as long | written out, times as long |")
    print("|--:|---|--:|--:|--:|")
    for length in options.lengths:
        for dtype in options.dtype:
            raced = ways(length, getattr(torch, dtype), options.memory * 2**30)
            spent: dict[str, list[float]] = {name: [] for name in raced}
            with torch.inference_mode():
                expected = raced["crossrank"]()
                for run in raced.values():
                    torch.testing.assert_close(run(), expected, atol=2e-2, rtol=2e-2)
                for _ in range(options.rounds):
                    for name, run in raced.items():
                        before = time.process_time()
                        run()
                        spent[name].append(time.process_time() - before)
            took = {name: statistics.median(values) for name, values in spent.items()}
            told = [
                f"{took[name] / took['crossrank']:.1f}" if name in took else "-" for name in ("fused", "written out")
            ]
            print(f"| {length:,} | {dtype} | {1e3 * took['crossrank']:.1f} | {told[0]} | {told[1]} |", flush=True)


if __name__ == "__main__":
    main()
