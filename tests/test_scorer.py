"""From filled sequences to logits: order, budget, devices and precisions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from crossrank import DeviceError, Limits, ModelError, Reranker
from crossrank.batch import Filled
from crossrank.scorer import CORE_TOKENS, DTYPES, LEAST_TOKENS, Scorer, place
from tests.checkpoints import RECIPES, bert, load, tiny
from tests.oracles import encoded
from tests.vocabularies import letters

PAIRS = [(letters(1 + n % 4, n), letters(n * n % 23, n + 50)) for n in range(40)]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_nothing_scores_nothing():
    assert tiny("bert").scorer.logits([]) == []


def test_logits_come_in_the_order_given():
    scorer = tiny("bert").scorer
    sequences = encoded(tiny("bert"), PAIRS)
    alone = [scorer.logits([filled])[0] for filled in sequences]
    assert np.std(alone) > 0.3
    np.testing.assert_allclose(scorer.logits(sequences), alone, atol=1e-5, rtol=0)


def test_a_batch_holds_no_more_tokens_than_the_budget_unless_one_sequence_is_longer():
    reranker = tiny("bert", limits=Limits(budget=64))
    pairs = [(letters(2, n), letters(3 + n % 20, n + 50)) for n in range(40)] + [(letters(4), letters(200))]
    sequences = encoded(reranker, pairs)
    seen = batches(reranker, sequences)
    assert sorted(length for lengths in seen for length in lengths) == sorted(map(len, sequences))
    assert seen[0] == (207,)
    assert all(sum(lengths) <= 64 for lengths in seen[1:])
    assert len(seen) < len(pairs) / 2


def test_equal_sequences_are_computed_once_and_score_alike_to_the_last_bit():
    reranker = tiny("bert")
    sequences = encoded(reranker, [*PAIRS[:9]] * 7)
    assert sum(map(len, batches(reranker, sequences))) <= 9
    logits = reranker.scorer.logits(sequences)
    assert logits == logits[:9] * 7


def batches(reranker: Reranker, sequences: list[Filled]) -> list[tuple[int, ...]]:
    """The lengths in each batch that the model is given."""
    seen: list[tuple[int, ...]] = []
    hook = reranker.scorer.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].lengths))
    try:
        reranker.scorer.logits(sequences)
    finally:
        hook.remove()
    return seen


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_batches_side_by_side_score_as_one_after_another():
    model = tiny("bert").scorer.model
    alone, beside = (Scorer(model, torch.device("cpu"), budget) for budget in (64, 3 * LEAST_TOKENS))
    assert (alone.workers, beside.workers) == (1, 3)
    sequences = encoded(tiny("bert"), PAIRS)
    np.testing.assert_allclose(beside.logits(sequences), alone.logits(sequences), atol=1e-5, rtol=0)
    progress = []
    beside.logits(sequences, lambda done, total: progress.append((done, total)))
    assert len(progress) >= 3
    assert progress[-1] == (len(PAIRS), len(PAIRS))


@pytest.mark.usefixtures("three_threads")
def test_workers_leave_the_threads_of_others_alone():
    scorer = load(bert()).scorer
    used = []
    scorer.model.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    scorer.logits(encoded(tiny("bert"), PAIRS))
    assert set(used) == {1}
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_worker_reaches_the_caller():
    scorer = load(bert()).scorer
    scorer.model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scorer.logits(encoded(tiny("bert"), PAIRS))


FORKED = """
import os
from crossrank import Reranker
reranker = Reranker.load("tiny-en", device="cpu")
assert reranker.scorer.workers == 2
documents = [f"document {n} of " + "moles and shops " * n for n in range(40)]
ranks = lambda: [hit.index for hit in reranker.rank("moles", documents)]
before = ranks()
child = os.fork()
if child == 0:
    os._exit(0 if ranks() == before == ranks() else 7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert ranks() == before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_scores_with_workers_of_its_own():
    # A child that waits for its parent's workers waits for ever, and in a session of its own it can be ended.
    process = subprocess.Popen(
        [sys.executable, "-c", FORKED], env={**os.environ, "OMP_NUM_THREADS": "2"}, start_new_session=True
    )
    try:
        assert process.wait(timeout=120) == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("dtype", [*DTYPES])
@pytest.mark.parametrize("kind", ["bert", "jina_v1", "modernbert", "dual"])
def test_a_callers_autocast_changes_no_score(kind, dtype):
    wanted = tiny(kind, dtype=dtype).score(PAIRS)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny(kind, dtype=dtype).score(PAIRS) == wanted
        assert load(RECIPES[kind](), dtype=dtype).score(PAIRS) == wanted


@pytest.mark.parametrize("dtype", [*DTYPES])
@pytest.mark.parametrize("kind", RECIPES)
def test_the_default_dtype_of_torch_changes_no_score(kind, dtype):
    recipe, wanted = RECIPES[kind](), tiny(kind, dtype=dtype).score(PAIRS)
    torch.set_default_dtype(torch.float64)
    try:
        assert load(recipe, dtype=dtype).score(PAIRS) == wanted
    finally:
        torch.set_default_dtype(torch.float32)


def test_progress_counts_up_to_the_total():
    calls = []
    reranker = tiny("bert", limits=Limits(budget=64))
    reranker.scorer.logits(encoded(reranker, PAIRS), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(PAIRS), len(PAIRS))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len(calls) > 3


def test_a_score_that_is_no_number_is_an_error_and_names_its_input():
    recipe = bert()
    name = "bert.embeddings.word_embeddings.weight"
    words = recipe.tensors[name].clone()
    words[recipe.raw_tokenizer().token_to_id("fox")] = float("nan")
    reranker = load(recipe.with_tensors({name: words}))
    with pytest.raises(ModelError, match="score of input 1 is not a number"):
        reranker.score([("a", "b"), ("a", "red fox"), ("a", "c")])
    assert len(reranker.score([("a", "b")])) == 1


def test_an_infinite_score_is_an_error_and_names_its_input():
    reranker = load(bert().with_tensors({"classifier.bias": torch.tensor([-torch.inf])}))
    with pytest.raises(ModelError, match="score of input 0 is infinite"):
        reranker.score([("a", "b")])


# Root mean square, as a part of the logits' own spread, in these small and deliberately sensitive networks.
BOUNDS = {"bfloat16": 0.2, "float16": 0.05}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("kind", RECIPES)
def test_half_precision_stays_near_float32(kind, dtype):
    exact = np.array(tiny(kind).score(PAIRS, raw=True))
    half = np.array(tiny(kind, dtype=dtype).score(PAIRS, raw=True))
    assert np.sqrt(np.mean((half - exact) ** 2)) < BOUNDS[dtype] * exact.std()
    assert np.corrcoef(half, exact)[0, 1] > 0.99
    assert not np.array_equal(half, exact)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_logits_of_half_precision_are_float32_from_the_head_on(dtype):
    # Logits rounded to the layers' precision would make ties of documents that differ.
    logits = torch.tensor(tiny("bert", dtype=dtype).score(PAIRS, raw=True))
    assert (logits.to(DTYPES[dtype]).float() != logits).float().mean() > 0.8
    assert {p.dtype for p in tiny("bert", dtype=dtype).checkpoint.model.head.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float16", "float32"])
def test_a_reranker_says_what_it_runs_in(dtype):
    assert tiny("bert", dtype=dtype).dtype == dtype
    assert tiny("bert", dtype=dtype).device == "cpu"


def test_float32_is_the_precision_of_a_cpu():
    assert tiny("bert").dtype == "float32"
    assert tiny("bert").scorer.budget == CORE_TOKENS * torch.get_num_threads()


@pytest.mark.parametrize("device", ["tpu", "cpu:x", "gpu 0"])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(DeviceError, match=f"device '{device}' is not one; try cpu or cuda"):
        place(tiny("bert").checkpoint.model, device, None)


@pytest.mark.parametrize("device", ["meta", "mps"])
def test_a_device_that_is_not_supported_is_refused(device):
    with pytest.raises(DeviceError, match=f"device '{device}' is not supported; cpu and cuda are"):
        place(tiny("bert").checkpoint.model, device, None)


def test_a_gpu_that_is_not_here_is_refused():
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(DeviceError, match=f"device '{absent}' is not here: torch .* sees {torch.cuda.device_count()}"):
        place(tiny("bert").checkpoint.model, absent, None)


@pytest.mark.parametrize("dtype", ["fp16", "int4", "float64"])
def test_an_unknown_precision_is_refused_beside_the_known_ones(dtype):
    with pytest.raises(DeviceError, match=f"dtype '{dtype}' is not one of float32, bfloat16, float16, int8"):
        place(tiny("bert").checkpoint.model, "cpu", dtype)


@needs_cuda
@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_gpu_scores_as_the_cpu_does(kind, dtype, tmp_path):
    reranker = Reranker.load(RECIPES[kind]().write(tmp_path), device="cuda", dtype=dtype)
    exact = np.array(tiny(kind).score(PAIRS, raw=True))
    off = np.array(reranker.score(PAIRS, raw=True)) - exact
    assert np.sqrt(np.mean(off**2)) < {"float32": 1e-3, **BOUNDS}[dtype] * exact.std()


@needs_cuda
def test_int8_is_refused_on_a_gpu(tmp_path):
    with pytest.raises(DeviceError, match="int8 runs on the CPU only"):
        Reranker.load(bert().write(tmp_path), device="cuda", dtype="int8")


def test_a_scorer_is_a_model_and_a_budget():
    scorer = Scorer(tiny("bert").checkpoint.model, torch.device("cpu"), budget=10)
    sequences = encoded(tiny("bert"), PAIRS[:5])
    np.testing.assert_allclose(scorer.logits(sequences), tiny("bert").scorer.logits(sequences), atol=1e-5, rtol=0)
