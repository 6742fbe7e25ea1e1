"""Requests share batches. One queue and one worker thread a model; a job and its future are one object.

Who goes into the next batch: lower priority number first, then whoever has been served fewest slices, then whoever came
first. So a small request waits for a few slices, however large the others are. Every fourth batch is led by the oldest
job whatever its size and priority, so nobody waits for ever. A slice is one batch's token budget.

An error in a shared batch is nobody's until each job's part has been run alone; then it is the bad one's. After an
error the model is asked a known pair: if that fails too, the model is at fault, the worker dies, its jobs are told so,
and `alive` is false from then on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from crossrank.batch import Filled
from crossrank.serve.problems import Problem

__all__ = ["Batch", "Batcher", "Job"]

OLDEST_EVERY = 4
# How much of the measured speed admission counts on. The rest is headroom for newcomers that overtake.
HEADROOM = 0.8
SPEED_MEMORY = 0.9
DRAG_MEMORY = 0.8
# In so many seconds without a measurement half the drag is forgotten. It is measured on requests behind a queue only:
# one that admits no queue would otherwise stay for good.
DRAG_SECONDS = 10.0
# Times the time left that a request may seem to need alone. A first measure of speed on a busy machine may be several
# times too low; what is let in corrects it.
HOPELESS = 10.0

log = logging.getLogger("crossrank.serve")

Score = Callable[[list[Filled]], list[float]]


@dataclass(slots=True, eq=False)
class Job:
    """One request's sequences, their logits as they come, and the future that gets all of them.

    reserved: tokens counted against the queue, an estimate until the sequences are known. deadline: on
    time.monotonic's clock. expected: seconds to its end by the batches' speed, where it was admitted behind a queue.
    waiting: indices of sequences still to run, shortest first, taken from the end.
    """

    order: int
    reserved: int
    deadline: float
    priority: int = 0
    sequences: Sequence[Filled] = ()
    logits: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    running: int = 0
    served: int = 0
    expected: float = 0.0
    joined: float = 0.0
    started: float = 0.0
    computed: float = 0.0
    future: Future[list[float]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a finished batch was, for whoever counts: sequences, tokens, jobs in it, and seconds."""

    sequences: int
    tokens: int
    jobs: int
    seconds: float


class Batcher:
    """Scores sequences of many requests in shared batches of at most `budget` tokens.

    score: sequences -> one logit each, called in the worker thread only. probe: a sequence that any sound model scores.
    max_tokens, max_jobs: the room of the queue. seen: called after each batch, in the worker thread.
    """

    def __init__(
        self,
        score: Score,
        budget: int,
        probe: Filled,
        *,
        max_tokens: int,
        max_jobs: int,
        seen: Callable[[Batch], None] | None = None,
        name: str = "model",
    ) -> None:
        self.score = score
        self.budget = budget
        self.probe = probe
        self.max_tokens = max_tokens
        self.max_jobs = max_jobs
        self.seen = seen
        self.jobs: list[Job] = []
        self.tokens = 0
        self.speed = 0.0
        self.excess = 0.0
        self.measured = time.monotonic()
        self.turn = 0
        self.orders = 0
        self.closing = False
        self.dead: BaseException | None = None
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._work, name=f"batches of {name}", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self.dead is None and not self.closing and self.thread.is_alive()

    @property
    def drag(self) -> float:
        """How many times as long as their batches requests behind a queue took of late."""
        return 1.0 + self.excess * 0.5 ** ((time.monotonic() - self.measured) / DRAG_SECONDS)

    def wait_for(self, tokens: int, priority: int = 0) -> float:
        """Seconds until a newcomer of `tokens` would be done, as far as the measured speed tells; 0 before that.

        Ahead of it are jobs of lower priority number, and of the others of its own as much as is served before it has
        been served as much itself; then the batch in hand, and what the oldest job takes in its turns. All of it times
        the drag: how much longer than so foreseen requests took of late.
        """
        if not self.speed:
            return 0.0
        ahead = self.budget
        for job in self.jobs:
            if job.priority <= priority:
                level = tokens + self.budget - job.served
                ahead += job.reserved if job.priority < priority else min(job.reserved, max(0, level))
        ahead += min((ahead + tokens) // OLDEST_EVERY, max((job.reserved for job in self.jobs), default=0))
        return self.drag * (min(ahead, self.tokens) + tokens) / (self.speed * HEADROOM)

    def met(self, job: Job, seconds: float) -> None:
        """Learn how long a job took, all told, beside what was foreseen.

        Where tokenizing or a busy machine holds requests up, they take longer than the batches alone would let expect.
        """
        if job.expected:
            with self.changed:
                latest = max(0.0, seconds / job.expected - 1.0)
                self.excess = DRAG_MEMORY * (self.drag - 1.0) + (1 - DRAG_MEMORY) * latest
                self.measured = time.monotonic()

    def admit(self, tokens: int, deadline: float, priority: int = 0) -> Job:
        """Take a place in the queue for about `tokens` tokens, or raise Problem at once.

        too_much: no hope of an answer by `deadline` even alone. overloaded: no room, or none behind this queue. A full
        queue makes room by dropping jobs that have not begun and have a higher priority number, the last comer first.
        An empty queue admits whatever is not too much.
        """
        with self.changed:
            self._refuse_if_dead()
            self._refuse_if_hopeless(tokens, deadline - time.monotonic())
            worse = sorted(
                (job for job in self.jobs if job.priority > priority and not job.started),
                key=lambda job: (job.priority, job.order),
            )
            dropped: list[Job] = []
            used, count = self.tokens, len(self.jobs)
            while not self._fits(used, count, tokens):
                if not worse:
                    raise self._overloaded(1.0)
                dropped.append(worse.pop())
                used -= dropped[-1].reserved
                count -= 1
            wait = self.wait_for(tokens, priority)
            late = wait - (deadline - time.monotonic())
            # Idle, the deadline itself decides: a speed measured too low then corrects itself.
            if count and late > 0:
                raise self._overloaded(late)
            for job in dropped:
                self._end(job, error=Problem("overloaded", "dropped for a request of higher priority", retry_after=1))
            # Only behind a queue does speed decide; a small request on an idle server is mostly everything else.
            expected = wait / self.drag if self.tokens >= self.budget else 0.0
            job = Job(order=self.orders, reserved=tokens, deadline=deadline, priority=priority, expected=expected)
            self.orders += 1
            self.jobs.append(job)
            self.tokens += tokens
            return job

    def enter(self, job: Job, sequences: Sequence[Filled]) -> Future[list[float]]:
        """Give an admitted job its sequences; its future gets one logit each, in their order, or a Problem."""
        with self.changed:
            if job.future.done():
                return job.future
            self.tokens += (size := sum(map(len, sequences))) - job.reserved
            job.reserved = size
            job.sequences = sequences
            job.logits = [0.0] * len(sequences)
            # The end is taken first: longest first, as a model alone would plan it.
            job.waiting = sorted(range(len(sequences)), key=lambda index: (len(sequences[index]), -index))
            job.joined = time.monotonic()
            if not sequences:
                self._end(job)
            self.changed.notify()
        return job.future

    def leave(self, job: Job) -> None:
        """Give up a job: what has not run never will, and its tokens leave the queue. Harmless when it is done."""
        with self.changed:
            self._end(job, error=Problem("deadline", "the request was given up"))

    def close(self) -> None:
        """End the worker after the batch in hand; whatever is still queued gets a Problem."""
        with self.changed:
            self.closing = True
            self._end_all(Problem("worker", "the server is stopping", retry_after=1))
            self.changed.notify()
        self.thread.join()

    def _fits(self, used: int, count: int, tokens: int) -> bool:
        return not count or (used + tokens <= self.max_tokens and count < self.max_jobs)

    def _overloaded(self, wait: float) -> Problem:
        text = f"{len(self.jobs)} requests with {self.tokens} tokens are waiting; there is no room for more in time"
        return Problem("overloaded", text, retry_after=wait)

    def _refuse_if_dead(self) -> None:
        if self.dead is not None:
            raise Problem("worker", f"the model's worker has died: {self.dead!r}")
        if self.closing:
            raise Problem("worker", "the server is stopping", retry_after=1)

    def _refuse_if_hopeless(self, tokens: int, left: float) -> None:
        """Refuse what would end as a 504 on an idle server too, before there is any work for it."""
        if self.speed and (seconds := tokens / self.speed) > HOPELESS * left:
            text = f"about {tokens} tokens would take {seconds:.1f} seconds here, and the answer is due in {left:.1f}"
            raise Problem("too_much", f"{text}; send fewer or shorter documents at once")

    def _end(self, job: Job, error: Problem | None = None) -> None:
        """Settle a job, once; the caller holds the lock."""
        if job not in self.jobs:
            return
        self.jobs.remove(job)
        self.tokens -= job.reserved
        job.waiting.clear()
        if not job.future.set_running_or_notify_cancel():
            return
        if error:
            job.future.set_exception(error)
        else:
            job.future.set_result(job.logits)

    def _end_all(self, error: Problem) -> None:
        for job in list(self.jobs):
            self._end(job, error=error)

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._run(batch)
        except BaseException as error:  # whatever ends this thread, nobody may wait for it in vain
            log.exception("a worker has died", extra={"event": "worker_died"})
            with self.changed:
                self.dead = error
                self._end_all(Problem("worker", f"the model's worker has died: {error!r}"))

    def _next(self) -> list[tuple[Job, list[int]]] | None:
        """Wait for work and take one batch of it; None when closing."""
        with self.changed:
            while True:
                if self.closing:
                    return None
                now = time.monotonic()
                for job in [job for job in self.jobs if job.deadline <= now]:
                    self._end(job, error=Problem("deadline", "the deadline passed while the request waited"))
                ready = [job for job in self.jobs if job.waiting]
                if ready:
                    return self._take(ready, now)
                self.changed.wait()

    def _take(self, ready: list[Job], now: float) -> list[tuple[Job, list[int]]]:
        self.turn += 1
        ready.sort(key=lambda job: (job.priority, job.served // self.budget, job.order))
        if self.turn % OLDEST_EVERY == 0:
            oldest = min(ready, key=lambda job: job.order)
            ready.remove(oldest)
            ready.insert(0, oldest)
        room = self.budget
        batch: list[tuple[Job, list[int]]] = []
        for job in ready:
            taken: list[int] = []
            # A sequence longer than the budget goes alone.
            while job.waiting and (len(job.sequences[job.waiting[-1]]) <= room or not (batch or taken)):
                index = job.waiting.pop()
                taken.append(index)
                room -= len(job.sequences[index])
            if taken:
                job.started = job.started or now
                job.running += len(taken)
                job.served += sum(len(job.sequences[index]) for index in taken)
                batch.append((job, taken))
            if room <= 0:
                break
        return batch

    def _run(self, batch: list[tuple[Job, list[int]]]) -> None:
        sequences = [job.sequences[index] for job, taken in batch for index in taken]
        start = time.monotonic()
        try:
            logits = iter(self._scored(sequences))
        except Exception as error:
            log.warning("a batch failed: %r", error, extra={"event": "batch_failed"})
            if len(batch) > 1:
                for part in batch:
                    self._run([part])
                return
            self._probe(error)
            with self.changed:
                self._end(batch[0][0], error=_compute(error))
            return
        seconds = time.monotonic() - start
        tokens = sum(map(len, sequences))
        with self.changed:
            measured = tokens / max(seconds, 1e-6)
            # Small batches say little of the speed of full ones.
            if not self.speed or tokens * 4 >= self.budget:
                self.speed = measured if not self.speed else SPEED_MEMORY * self.speed + (1 - SPEED_MEMORY) * measured
            for job, taken in batch:
                for index in taken:
                    job.logits[index] = next(logits)
                job.running -= len(taken)
                job.computed += seconds
                if not job.waiting and not job.running:
                    self._end(job)
                elif job in self.jobs:
                    done = sum(len(job.sequences[index]) for index in taken)
                    job.reserved -= done
                    self.tokens -= done
        if self.seen:
            self.seen(Batch(sequences=len(sequences), tokens=tokens, jobs=len(batch), seconds=seconds))

    def _scored(self, sequences: list[Filled]) -> list[float]:
        logits = self.score(sequences)
        if len(logits) != len(sequences):
            raise RuntimeError(f"{len(sequences)} sequences got {len(logits)} scores")
        if not all(map(math.isfinite, logits)):
            raise RuntimeError("a score is not a finite number")
        return logits

    def _probe(self, error: Exception) -> None:
        """Ask the model for a known pair; a model that fails it is lost, and the error ends the worker."""
        try:
            self._scored([self.probe])
        except Exception:
            raise error from None


def _compute(error: Exception) -> Problem:
    problem = Problem("compute", f"the model failed on this request: {error}")
    problem.__cause__ = error
    return problem
