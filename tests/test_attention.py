"""Attention over a flat batch, against the textbook formula one sequence and one head at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from crossrank import attention
from crossrank.attention import alibi_slopes, attend, attend_first
from crossrank.batch import Filled, Packed, pack
from tests.twins import canonical_slopes, halved_slopes

LENGTHS = (5, 5, 1, 9, 2, 2, 2, 17)


def batch(lengths: tuple[int, ...]) -> Packed:
    return pack([Filled(np.zeros(length, dtype=np.int32), split=1) for length in lengths])


def heads(tokens: int, count: int, seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(tokens, count, 8, generator=random, dtype=dtype) for _ in range(3)]


def textbook(q, k, v, lengths, slopes) -> torch.Tensor:
    rows, start = [], 0
    for length in lengths:
        part = slice(start, start + length)
        for i in range(start, start + length):
            distance = (torch.arange(length) - (i - start)).abs().double()
            logits = torch.einsum("hd,khd->hk", q[i], k[part]) / math.sqrt(q.shape[-1])
            logits -= torch.tensor(slopes, dtype=torch.float64)[:, None] * distance
            rows.append(torch.einsum("hk,khd->hd", logits.softmax(-1), v[part]))
        start += length
    return torch.stack(rows)


@pytest.mark.parametrize("slopes", [None, alibi_slopes(4), alibi_slopes(4, halved_tail=True), (0.5, 0.0, 2.0, 1e-3)])
def test_attention_is_the_textbooks(slopes):
    q, k, v = heads(sum(LENGTHS), 4, seed=1)
    expected = textbook(q, k, v, LENGTHS, slopes or (0.0,) * 4)
    torch.testing.assert_close(attend(q, k, v, batch(LENGTHS), slopes), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("slopes", [None, alibi_slopes(4)])
def test_learning_in_bfloat16_gives_the_gradients_of_float32(slopes):
    whole = [part.requires_grad_() for part in heads(sum(LENGTHS), 4, seed=7, dtype=torch.float32)]
    halved = [part.detach().bfloat16().requires_grad_() for part in whole]
    for parts in (whole, halved):
        attend(*parts, batch(LENGTHS), slopes).float().square().sum().backward()
    for half, full in zip(halved, whole, strict=True):
        torch.testing.assert_close(half.grad.float(), full.grad, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("slopes", [None, alibi_slopes(4)])
def test_attention_of_first_tokens_is_that_of_all_tokens_at_their_places(slopes):
    q, k, v = heads(sum(LENGTHS), 4, seed=2)
    packed = batch(LENGTHS)
    first = attend_first(q[packed.first], k, v, packed, slopes)
    torch.testing.assert_close(first, attend(q, k, v, packed, slopes)[packed.first], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [2, 63, 300])
def test_a_long_sequence_never_has_its_whole_bias_written_down(monkeypatch, length, dtype):
    parts = [part.requires_grad_() for part in heads(2 * length, 6, seed=3, dtype=dtype)]
    packed, slopes = batch((length, length)), alibi_slopes(6)
    whole = attend(*parts, packed, slopes)
    wanted = torch.autograd.grad(whole.square().sum(), parts)
    sizes = []
    bias = attention._bias
    monkeypatch.setattr(attention, "_bias", lambda *given: sizes.append(bias(*given).numel()) or bias(*given))
    monkeypatch.setattr(attention, "BIAS_ELEMENTS", 1)
    found = attend(*parts, packed, slopes)
    assert sizes == [6 * (2 * length - 1)]
    # The same numbers in another order: what rounding makes of the sums.
    bound = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(found, whole, atol=bound, rtol=bound)
    for one, other in zip(torch.autograd.grad(found.square().sum(), parts), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=8 * bound, rtol=bound)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_long_sequence_is_computed_in_slices_of_bounded_bias(monkeypatch):
    q, k, v = (part.cuda() for part in heads(300, 6, seed=3, dtype=torch.float32))
    packed = pack([Filled(np.zeros(300, dtype=np.int32), split=1)], "cuda")
    whole = attend(q, k, v, packed, alibi_slopes(6))
    sizes = []
    bias = attention._bias
    monkeypatch.setattr(attention, "_bias", lambda *given: sizes.append(bias(*given).numel()) or bias(*given))
    monkeypatch.setattr(attention, "BIAS_ELEMENTS", 6 * 300 * 7)
    sliced = attend(q, k, v, packed, alibi_slopes(6))
    assert len(sizes) == math.ceil(300 / 7)
    assert max(sizes) <= 6 * 300 * 7
    torch.testing.assert_close(sliced, whole, atol=1e-5, rtol=0)


def test_another_sequence_in_the_batch_is_never_seen():
    q, k, v = heads(12, 4, seed=4)
    before = attend(q, k, v, batch((5, 7)))
    k[5:], v[5:] = 1e3, 1e3
    after = attend(q, k, v, batch((5, 7)))
    torch.testing.assert_close(before[:5], after[:5], atol=0, rtol=0)
    assert not torch.allclose(before[5:], after[5:])


@pytest.mark.parametrize("count", range(1, 33))
def test_slopes_are_those_of_bloom_and_mpt(count):
    bloom = build_alibi_tensor(torch.ones(1, 2), count, torch.float32)[:, 0, 1]
    mpt = -build_mpt_alibi_tensor(count, 2)[:, 0, 0]
    ours = torch.tensor(alibi_slopes(count))
    torch.testing.assert_close(ours, bloom, atol=1e-7, rtol=0)
    # MPT orders the heads otherwise where their number is no power of two: the same slopes, odd ones first.
    torch.testing.assert_close(ours.sort().values, mpt.sort().values, atol=1e-7, rtol=0)


@pytest.mark.parametrize("count", range(1, 33))
def test_slopes_are_the_twins(count):
    assert alibi_slopes(count) == pytest.approx(canonical_slopes(count), abs=1e-15)
    assert alibi_slopes(count, halved_tail=True) == pytest.approx(halved_slopes(count), abs=1e-15)


def test_the_twelve_heads_of_jina_reranker_v1_have_the_published_slopes():
    powers = [-math.log2(slope) for slope in alibi_slopes(12)]
    assert powers == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5])
    tail = [-math.log2(slope) for slope in alibi_slopes(12, halved_tail=True)][8:]
    assert tail == pytest.approx([1.5, 2.5, 3.5, 4.5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_distances_beyond_what_half_precision_can_count_are_told_apart(dtype):
    bias = attention._bias((2.0**-8,), torch.arange(5000)[None], dtype)[0, 0]
    exact = -torch.arange(5000) * 2.0**-8
    assert (bias.float() - exact).abs().max() <= exact.abs().max() * torch.finfo(dtype).eps / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_variable_length_kernel_is_the_textbooks(dtype):
    q, k, v = heads(sum(LENGTHS), 4, seed=5)
    packed = pack([Filled(np.zeros(length, dtype=np.int32), split=1) for length in LENGTHS], "cuda")
    expected = textbook(q, k, v, LENGTHS, (0.0,) * 4)
    halves = [part.to("cuda", dtype) for part in (q, k, v)]
    bound = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(attend(*halves, packed).cpu().double(), expected, atol=bound, rtol=bound)
    first = attend_first(halves[0][packed.first], *halves[1:], packed)
    torch.testing.assert_close(first.cpu().double(), expected[packed.first.cpu()], atol=bound, rtol=bound)
