"""Attention over a flat batch: the one place that knows where sequences end.

On CPU each sequence, or run of equally long ones, is one call of scaled_dot_product_attention on views of the flat
tensors. On CUDA in half precision the whole batch is one variable-length flash call; float32 and ALiBi, which that
kernel does not compute, take the per-sequence way there too, and not with cuDNN's kernels.

With a window a token attends to neighbours alone, and what is computed grows with a sequence's length, not its square.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache, lru_cache
from inspect import signature
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from crossrank.batch import Packed

__all__ = ["alibi_slopes", "attend", "attend_first"]

# At most so many elements of an ALiBi bias exist at once: 16 MiB in float32, however long the sequence. Up to here a
# bias is written down once for all; beyond, CPUs read it from a line, and other devices are given it in slices.
BIAS_ELEMENTS = 1 << 22

# Up to this length training in bfloat16 on a CPU writes attention's weights down: the fused kernel's way back took
# three times as long at 130 tokens (torch 2.13, AMX). What is kept for the way back then grows with the square.
PLAIN_LENGTH = 256

# Attention to neighbours takes so many tokens at a time, and beside them the neighbours of the first and of the last.
LOCAL_ROWS = 128

Heads = Float[Tensor, "tokens heads dim"]


def attend(
    q: Heads, k: Heads, v: Heads, batch: Packed, slopes: tuple[float, ...] | None = None, window: int | None = None
) -> Heads:
    """Every token attends to every token of its own sequence; with `slopes`, minus slope times distance.

    With `window`, and then without slopes, only to those that lie at most so many places away.
    """
    longest = max(batch.lengths)
    if slopes is None and _flash(q) and (window is None or _varlen_windows()):
        return _varlen(q, k, v, batch.bounds, batch.bounds, longest, longest, window)
    outputs = []
    runs = _runs(batch.lengths)
    # Split, not sliced: on the way back a slice fills a tensor of the whole batch with zeros, for each of them.
    parts = [part.split([count * length for count, length in runs]) for part in (q, k, v)]
    with _any_length(q):
        for (count, length), *run in zip(runs, *parts, strict=True):
            queries, keys, values = (part.view(count, length, *q.shape[1:]).transpose(1, 2) for part in run)
            if slopes is not None:
                mixed = _alibi(queries, keys, values, slopes)
            elif window is not None and length > window + 1:
                mixed = _local(queries, keys, values, window)
            else:
                mixed = _mixed(queries, keys, values)
            outputs.append(mixed.transpose(1, 2).reshape(count * length, *q.shape[1:]))
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def attend_first(
    q: Float[Tensor, "pairs heads dim"],
    k: Heads,
    v: Heads,
    batch: Packed,
    slopes: tuple[float, ...] | None = None,
    window: int | None = None,
) -> Float[Tensor, "pairs heads dim"]:
    """As attend, for the first token of each sequence alone: q has one row a sequence."""
    if slopes is None and window is None and _flash(q):
        one_each = torch.arange(len(batch.bounds), dtype=torch.int32, device=q.device)
        return _varlen(q, k, v, one_each, batch.bounds, 1, max(batch.lengths))
    outputs = []
    runs = _runs(batch.lengths)
    firsts = q.split([count for count, _ in runs])
    parts = [part.split([count * length for count, length in runs]) for part in (k, v)]
    with _any_length(q):
        for (count, length), first, *run in zip(runs, firsts, *parts, strict=True):
            keys, values = (part.view(count, length, *q.shape[1:]).transpose(1, 2) for part in run)
            queries = first.unsqueeze(2)
            if window is not None:
                keys, values = keys[:, :, : window + 1], values[:, :, : window + 1]
            bias = None
            if slopes is not None:
                bias = _bias(slopes, torch.arange(length, device=q.device)[None, :], q.dtype)[None]
            outputs.append(scaled_dot_product_attention(queries, keys, values, attn_mask=bias).squeeze(2))
    return torch.cat(outputs)


def alibi_slopes(heads: int, halved_tail: bool = False) -> tuple[float, ...]:
    """One slope a head, after Press et al. (2022), https://arxiv.org/abs/2108.12409.

    For a number of heads that is no power of two, the slopes past the largest power of two below it are every other
    one of the doubled count's. `halved_tail` halves those, as the code published with jina-reranker-v1-tiny-en does.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (head + 1) / power) for head in range(power)]
    tail = [2.0 ** (-4 * (head + 1) / power) for head in range(0, 2 * power, 2)][: heads - power]
    return tuple(slopes + [slope / 2 if halved_tail else slope for slope in tail])


def _runs(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """(number of sequences, their length) of each run of equally long neighbours."""
    return [(len(list(run)), length) for length, run in groupby(lengths)]


def _alibi(q: Tensor, k: Tensor, v: Tensor, slopes: tuple[float, ...]) -> Tensor:
    """Symmetric ALiBi on [sequences, heads, length, dim]."""
    length = q.shape[2]
    room = -(-length // 64) * 64
    # Of four dimensions, a bias goes to the fused kernel; of three, to one that writes all weights down.
    if q.shape[1] * room * room <= BIAS_ELEMENTS:
        square = _square(slopes, room, q.dtype, q.device)
        return _mixed(q, k, v, square[None, :, :length, :length])
    if q.device.type == "cpu":  # its fused kernel takes a view whose rows overlap; GPUs' want rows that are aligned
        return _mixed(q, k.flip(2), v.flip(2), _mirrored(slopes, length, q.dtype)[None])
    step = max(1, BIAS_ELEMENTS // (q.shape[1] * length))
    position = torch.arange(length, device=q.device)
    parts = []
    for start in range(0, length, step):
        rows = position[start : start + step]
        bias = _bias(slopes, (rows[:, None] - position).abs(), q.dtype)
        parts.append(scaled_dot_product_attention(q[:, :, start : start + step], k, v, attn_mask=bias[None]))
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


@lru_cache(maxsize=4)
def _square(
    slopes: tuple[float, ...], length: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "heads length length"]:
    """The bias between any two of `length` positions. Shorter sequences are its corner, so few are ever made."""
    with torch.inference_mode(False):  # training may be next to use it
        position = torch.arange(length, device=device)
        return _bias(slopes, (position[:, None] - position).abs(), dtype)


def _mirrored(slopes: tuple[float, ...], length: int, dtype: torch.dtype) -> Float[Tensor, "heads length length"]:
    """The bias for keys that come last first, without writing it down.

    Row i then is row i - 1 moved by one, so that all rows are views of one line of 2 * length - 1 distances.
    """
    line = _bias(slopes, torch.arange(1 - length, length).abs()[None], dtype)
    return line.as_strided((len(slopes), length, length), (line.stride(0), 1, 1))


def _bias(slopes: tuple[float, ...], distance: Tensor, dtype: torch.dtype) -> Tensor:
    # In float32 first: above 256 a bfloat16 cannot tell neighbouring distances apart.
    return (-torch.tensor(slopes, dtype=torch.float32, device=distance.device)[:, None, None] * distance).to(dtype)


def _local(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention to neighbours on [sequences, heads, length, dim], some rows at a time."""
    length = q.shape[2]
    band = _band(LOCAL_ROWS + 2 * window, window, q.dtype, q.device)
    parts = []
    for start in range(0, length, LOCAL_ROWS):
        stop = min(start + LOCAL_ROWS, length)
        low, high = max(0, start - window), min(length, stop + window)
        bias = band[start - low : stop - low, : high - low]
        parts.append(_mixed(q[:, :, start:stop], k[:, :, low:high], v[:, :, low:high], bias[None, None]))
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


@lru_cache(maxsize=4)
def _band(size: int, window: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "size size"]:
    """Nothing where two of `size` positions are neighbours, minus infinity elsewhere."""
    with torch.inference_mode(False):  # training may be next to use it
        position = torch.arange(size, device=device)
        far = (position[:, None] - position).abs() > window
        return torch.zeros(size, size, dtype=dtype, device=device).masked_fill_(far, -torch.inf)


def _mixed(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention on [sequences, heads, length, dim]: fused, or written out where the way back is faster so."""
    learns = q.requires_grad and q.dtype is torch.bfloat16 and q.device.type == "cpu"
    if not learns or q.shape[2] > PLAIN_LENGTH:
        return scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    return (logits if bias is None else logits + bias).softmax(-1) @ v


def _any_length(q: Tensor) -> AbstractContextManager[None]:
    """Kernels that take every shape as it comes. cuDNN's, which torch may prefer, are planned for each.

    Training tiny-en on an H200, thirty lengths a step, took 15 s a step, and less as shapes came again.
    """
    if not q.is_cuda:
        return nullcontext()
    kernels: AbstractContextManager[None] = sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
    return kernels


def _flash(q: Tensor) -> bool:
    return q.is_cuda and q.dtype in (torch.float16, torch.bfloat16)


@cache
def _varlen_windows() -> bool:
    """Whether this torch's flash call has windows; the first that had the call had none."""
    from torch.nn.attention.varlen import varlen_attn

    return "window_size" in signature(varlen_attn).parameters


def _varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_bounds: Tensor,
    k_bounds: Tensor,
    q_max: int,
    k_max: int,
    window: int | None = None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # imported where a CUDA device is certain

    if window is None:
        mixed = varlen_attn(q, k, v, q_bounds, k_bounds, q_max, k_max)
    else:
        mixed = varlen_attn(q, k, v, q_bounds, k_bounds, q_max, k_max, window_size=(window, window))
    assert isinstance(mixed, Tensor)  # a tuple comes only when return_aux asks for one
    return mixed
