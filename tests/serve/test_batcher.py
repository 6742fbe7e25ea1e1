"""The batcher against scorers whose answers are known: a sequence's score is its first token."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.batch import Filled
from crossrank.serve.batcher import OLDEST_EVERY, Batcher
from crossrank.serve.problems import Problem

BUDGET = 100
BAD = 666
FAR = 30.0
IDLE = {"max_tokens": 10_000, "max_jobs": 50}


def sequence(first: int, length: int = 10) -> Filled:
    return Filled(tokens=np.full(length, first, dtype=np.int32), split=1)


def firsts(sequences: list[Filled]) -> list[float]:
    if any(one.tokens[0] == BAD for one in sequences):
        raise ValueError("a bad sequence")
    return [float(one.tokens[0]) for one in sequences]


class Gate:
    """A scorer that waits to be let on, and keeps what it was asked."""

    def __init__(self, score: Callable = firsts) -> None:
        self.score = score
        self.open = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, sequences: list[Filled]) -> list[float]:
        self.batches.append([int(one.tokens[0]) for one in sequences])
        self.entered.release()
        assert self.open.acquire(timeout=10)
        return self.score(sequences)

    def let(self, batches: int) -> None:
        for _ in range(batches):
            self.open.release()


@pytest.fixture
def batcher():
    made = []

    def make(score=firsts, **room):
        made.append(Batcher(score, BUDGET, sequence(0), **{**IDLE, **room}))
        return made[-1]

    yield make
    for one in made:
        if isinstance(one.score, Gate):
            one.score.let(1000)
        one.close()


def ask(batcher: Batcher, numbers: list[int], *, length: int = 10, priority: int = 0, patience: float = FAR):
    sequences = [sequence(number, length) for number in numbers]
    job = batcher.admit(sum(map(len, sequences)), time.monotonic() + patience, priority)
    return job, batcher.enter(job, sequences)


def test_each_request_gets_its_own_scores_in_its_own_order(batcher):
    one = batcher()
    futures = [ask(one, [n, n + 1, n + 2])[1] for n in range(0, 90, 3)]
    for n, future in zip(range(0, 90, 3), futures, strict=True):
        assert future.result(5) == [n, n + 1, n + 2]


def test_requests_that_wait_share_a_batch(batcher):
    gate = Gate()
    one = batcher(gate)
    futures = [ask(one, [0])[1]]
    assert gate.entered.acquire(timeout=5)
    futures += [ask(one, [n])[1] for n in (1, 2, 3)]
    gate.let(2)
    assert [future.result(5) for future in futures] == [[0], [1], [2], [3]]
    assert gate.batches == [[0], [1, 2, 3]]


def test_a_bad_request_in_a_shared_batch_fails_alone(batcher):
    gate = Gate()
    one = batcher(gate)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    good, bad, other = (ask(one, [n])[1] for n in (1, BAD, 2))
    gate.let(100)
    assert good.result(5) == [1]
    assert other.result(5) == [2]
    with pytest.raises(Problem, match="failed on this request: a bad sequence") as caught:
        bad.result(5)
    assert caught.value.status == 500
    assert one.alive


def test_too_few_scores_are_an_error_and_shift_nobodys_answer(batcher):
    one = batcher(lambda sequences: firsts(sequences)[: 1 if sequences[0].tokens[0] == 0 else 2])
    assert ask(one, [5, 6])[1].result(5) == [5, 6]
    with pytest.raises(Problem, match="3 sequences got 2 scores"):
        ask(one, [7, 8, 9])[1].result(5)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_never_leaves(batcher, odd):
    one = batcher(lambda sequences: [odd if n == BAD else n for n in (float(s.tokens[0]) for s in sequences)])
    with pytest.raises(Problem, match="not a finite number"):
        ask(one, [1, BAD])[1].result(5)
    assert ask(one, [1, 2])[1].result(5) == [1, 2]


def test_a_cancelled_request_shifts_nobodys_answer_and_frees_its_tokens(batcher):
    gate = Gate()
    one = batcher(gate)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    before = one.tokens
    _, first = ask(one, [1])
    gone, _ = ask(one, [2, 3, 4])
    _, last = ask(one, [5])
    one.leave(gone)
    assert one.tokens == before + 20
    gate.let(100)
    assert (first.result(5), last.result(5)) == ([1], [5])
    assert not {2, 3, 4} & {n for batch in gate.batches for n in batch}


def test_a_request_cancelled_while_it_runs_runs_no_further(batcher):
    gate = Gate()
    one = batcher(gate)
    job, _ = ask(one, list(range(1, 41)))
    assert gate.entered.acquire(timeout=5)
    one.leave(job)
    assert one.tokens == 0
    gate.let(100)
    assert ask(one, [50])[1].result(5) == [50]
    assert gate.batches[1:] == [[50]]


def test_a_small_request_waits_for_a_slice_or_two_of_a_large_one(batcher):
    gate = Gate()
    one = batcher(gate)
    _, large = ask(one, [1] * 200)
    assert gate.entered.acquire(timeout=5)
    _, small = ask(one, [2, 3])
    gate.let(3)
    assert small.result(5) == [2, 3]
    assert not large.done()
    gate.let(100)
    assert large.result(5) == [1] * 200


def test_the_oldest_request_is_served_however_many_small_ones_come(batcher):
    gate = Gate()
    one = batcher(gate)
    _, large = ask(one, [1] * 30)
    small = 0
    while not large.done():
        assert gate.entered.acquire(timeout=5)
        ask(one, [2] * 10)
        small += 1
        gate.let(1)
        time.sleep(0.002)
        assert small < 4 * OLDEST_EVERY, "the large request starves"


def test_the_lower_priority_number_goes_first(batcher):
    gate = Gate()
    one = batcher(gate)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    ask(one, [9] * 10, priority=5)
    ask(one, [1] * 10)
    gate.let(100)
    assert ask(one, [3], priority=9)[1].result(5) == [3]
    assert gate.batches[1] == [1] * 10
    assert gate.batches[2] == [9] * 10


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(batcher):
    gate = Gate()
    one = batcher(gate, max_tokens=50)
    ask(one, [0] * 5)
    start = time.monotonic()
    with pytest.raises(Problem, match="waiting") as caught:
        ask(one, [1])
    assert time.monotonic() - start < 0.05
    assert caught.value.status == 429
    assert caught.value.retry_after > 0


def test_a_full_queue_drops_what_has_a_higher_priority_number(batcher):
    gate = Gate()
    one = batcher(gate, max_tokens=60)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    kept, dropped = ask(one, [1] * 2, priority=1)[1], ask(one, [2] * 3, priority=7)[1]
    _, urgent = ask(one, [3] * 2)
    with pytest.raises(Problem, match="higher priority"):
        dropped.result(5)
    gate.let(100)
    assert urgent.result(5) == [3, 3]
    assert kept.result(5) == [1, 1]


def test_what_cannot_be_answered_in_time_is_refused_at_once(batcher):
    gate = Gate()
    one = batcher(gate)
    one.speed = 100.0
    ask(one, [0] * 10)
    with pytest.raises(Problem) as caught:
        ask(one, [1] * 10, patience=1)
    assert caught.value.status == 429
    assert ask(one, [1] * 10, patience=10)


def test_a_small_request_is_let_in_where_a_large_one_would_be_too_late(batcher):
    gate = Gate()
    one = batcher(gate)
    one.speed = 1000.0
    ask(one, [0] * 200)
    with pytest.raises(Problem):
        ask(one, [1] * 200, patience=2)
    _, small = ask(one, [2], patience=2)
    gate.let(4)
    assert small.result(5) == [2]


def test_admission_learns_that_requests_take_longer_than_their_batches(batcher):
    gate = Gate()
    one = batcher(gate)
    one.speed = 1000.0
    ask(one, [0] * 20)
    late, _ = ask(one, [1] * 10, patience=2)
    foreseen = one.wait_for(100)
    for _ in range(20):
        one.met(late, 3 * late.expected)
    assert one.wait_for(100) == pytest.approx(3 * foreseen, rel=0.05)
    with pytest.raises(Problem):
        ask(one, [1] * 10, patience=1)
    for _ in range(40):
        one.met(late, 0.01)
    assert one.wait_for(100) == pytest.approx(foreseen, rel=0.05)


def test_a_drag_that_nothing_measures_any_more_is_forgotten(batcher):
    """It admits nobody behind a queue, and would learn only from somebody there."""
    gate = Gate()
    one = batcher(gate)
    one.speed = 1000.0
    ask(one, [0] * 20)
    stalled, _ = ask(one, [1] * 10, patience=2)
    one.met(stalled, 100 * stalled.expected)
    with pytest.raises(Problem, match="waiting"):
        ask(one, [1] * 10, patience=2)
    one.measured -= 100
    assert ask(one, [1] * 10, patience=2)


def test_what_would_be_far_too_late_even_alone_is_refused_for_good(batcher):
    one = batcher()
    one.speed = 100.0
    with pytest.raises(
        Problem, match="about 1100 tokens would take 11.0 seconds here, and the answer is due in 1.0;"
    ) as no:
        ask(one, [1] * 110, patience=1)
    assert (no.value.status, no.value.retry_after) == (413, None)
    assert ask(one, [1] * 90, patience=1)[1].result(5) == [1] * 90


def test_an_idle_server_s_small_requests_teach_admission_nothing(batcher):
    one = batcher()
    one.speed = 1000.0
    job, future = ask(one, [1])
    future.result(5)
    one.met(job, 60)
    assert one.drag == 1


def test_a_request_whose_deadline_passes_in_the_queue_is_dropped(batcher):
    gate = Gate()
    one = batcher(gate)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    _, late = ask(one, [1], patience=0.01)
    time.sleep(0.02)
    gate.let(100)
    with pytest.raises(Problem, match="deadline passed") as caught:
        late.result(5)
    assert caught.value.status == 504
    assert [1] not in gate.batches


def die(sequences: list[Filled]) -> list[float]:
    raise SystemExit("the device is gone")


@pytest.mark.parametrize("fatal", [die, lambda sequences: 1 / 0], ids=["thread ends", "model fails its probe"])
def test_a_dead_worker_answers_everyone_and_takes_no_more(batcher, fatal):
    gate = Gate(fatal)
    one = batcher(gate)
    _, running = ask(one, [1])
    assert gate.entered.acquire(timeout=5)
    _, waiting = ask(one, [2] * 20)
    gate.let(100)
    for future in (running, waiting):
        with pytest.raises(Problem) as caught:
            future.result(5)
        assert caught.value.status == 503
    one.thread.join(5)
    assert not one.alive
    with pytest.raises(Problem, match="has died"):
        ask(one, [3])


def test_closing_answers_what_waits(batcher):
    gate = Gate()
    one = batcher(gate)
    ask(one, [0])
    assert gate.entered.acquire(timeout=5)
    _, waiting = ask(one, [1])
    gate.let(100)
    one.close()
    with pytest.raises(Problem, match="stopping"):
        waiting.result(5)


def test_a_sequence_longer_than_the_budget_goes_alone(batcher):
    gate = Gate()
    one = batcher(gate)
    gate.let(100)
    assert ask(one, [1, 2, 3], length=3 * BUDGET)[1].result(5) == [1, 2, 3]
    assert gate.batches == [[1], [2], [3]]


def test_no_sequences_are_no_scores(batcher):
    assert ask(batcher(), [])[1].result(5) == []


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_soak_loses_and_mixes_up_nothing(seed):
    """Sizes, cancellations, bad sequences, short deadlines and priorities at random, from four threads."""
    biggest: list[int] = []

    def score(sequences: list[Filled]) -> list[float]:
        biggest.append(sum(map(len, sequences)) if len(sequences) > 1 else 0)
        return firsts(sequences)

    one = Batcher(score, BUDGET, sequence(0), max_tokens=3_000, max_jobs=20)
    odd: list[str] = []

    def client(number: int) -> None:
        chance = random.Random(seed + number)
        for turn in range(25):
            numbers = [chance.randrange(1, 600) for _ in range(chance.choice((0, 1, 2, 5, 40)))]
            bad = bool(numbers) and chance.random() < 0.1
            if bad:
                numbers[chance.randrange(len(numbers))] = BAD
            length = chance.choice((1, 7, 33, 150))
            cancelled = chance.random() < 0.2
            try:
                job, future = ask(one, numbers, length=length, priority=chance.randrange(3), patience=5)
                if cancelled:
                    time.sleep(chance.random() / 1000)
                    one.leave(job)
                if future.result(10) != numbers or bad:
                    odd.append(f"client {number} turn {turn}: another's scores")
            except Problem as problem:
                if not (bad or cancelled or problem.kind == "overloaded"):
                    odd.append(f"client {number} turn {turn}: {problem}")

    threads = [threading.Thread(target=client, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    one.close()
    assert odd == []
    assert (one.tokens, one.jobs) == (0, [])
    assert max(biggest) <= BUDGET
