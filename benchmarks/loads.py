"""Loads on a rerank server, from one process of asyncio clients: throughput, fairness, overload, soak.

No two requests in flight are equal: crossrank scores equal sequences of a batch once, which no real load would let it.
The generator shares the machine with the server, and its cost is in every number.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass

import httpx

__all__ = ["DOCUMENTS", "Fairness", "Overload", "Soak", "Throughput", "body", "bodies", "fairness", "overload"]
__all__ += ["percentile", "resident", "soak", "throughput"]

WORDS = (
    "the of a river mountain city people water time light history science music number small great early house "
    "system energy market language paper engine winter road animal garden school colour"
).split()
DOCUMENTS = 20  # in a request, where nothing else is said
POOL = 512
SMALL, LARGE = 5, 1000
JSON = {"content-type": "application/json"}


def body(seed: int, documents: int = DOCUMENTS) -> dict[str, object]:
    """A query of 8 words and documents of 20 to 120."""
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(20, 120))) for _ in range(documents)]
    query = " ".join(chance.choices(WORDS, k=8))
    return {"model": "mini-en", "query": query, "documents": texts, "return_documents": False}


def bodies() -> list[bytes]:
    """Requests as they go over the wire, all different."""
    return [json.dumps(body(seed)).encode() for seed in range(POOL)]


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie; the greatest where there are few."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def client(seconds: float, connections: int) -> httpx.AsyncClient:
    """No proxy of the environment, and as many connections as there are clients."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(timeout=seconds, trust_env=False, limits=limits, headers=JSON)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Documents a second, and milliseconds of each request."""

    documents: float
    times: list[float]


async def throughput(url: str, clients: int, seconds: float, pool: list[bytes]) -> Throughput:
    """Closed loop: each client sends a request, waits for its answer, and sends the next."""
    times: list[float] = []
    sent = 0
    async with client(600, clients) as http:
        for one in pool[-2:]:
            (await http.post(url, content=one)).raise_for_status()
        start = time.perf_counter()

        async def work() -> None:
            nonlocal sent
            while time.perf_counter() < start + seconds:
                begun, content = time.perf_counter(), pool[sent % len(pool)]
                sent += 1
                (await http.post(url, content=content)).raise_for_status()
                times.append(1000 * (time.perf_counter() - begun))

        await asyncio.gather(*(work() for _ in range(clients)))
        spent = time.perf_counter() - start
    return Throughput(DOCUMENTS * len(times) / spent, times)


@dataclass(frozen=True, slots=True)
class Fairness:
    """Milliseconds of small requests alone and among large ones, and of one full batch of the server's meanwhile."""

    alone: list[float]
    among: list[float]
    slice_ms: float

    @property
    def slices(self) -> float:
        """How many batches the slowest small request waited beyond what it takes alone."""
        return (percentile(self.among, 0.99) - statistics.median(self.alone)) / self.slice_ms


async def fairness(base: str, seconds: float) -> Fairness:
    """5 documents at a time: first alone, then while two requests of 1,000 documents are in flight at every moment."""
    url, seeds = f"{base}/v1/rerank", iter(range(1_000_000, 2_000_000))
    async with client(600, 10) as http:

        async def one() -> float:
            content = json.dumps(body(next(seeds), SMALL)).encode()
            begun = time.perf_counter()
            (await http.post(url, content=content)).raise_for_status()
            return 1000 * (time.perf_counter() - begun)

        async def batches() -> tuple[float, float]:
            text = (await http.get(f"{base}/metrics")).text
            return _metric(text, "crossrank_batch_seconds_sum"), _metric(text, "crossrank_batch_seconds_count")

        alone = [await one() for _ in range(30)]
        stop = asyncio.Event()

        async def large() -> None:
            while not stop.is_set():
                content = json.dumps(body(next(seeds), LARGE)).encode()
                (await http.post(url, content=content)).raise_for_status()

        work = [asyncio.create_task(large()) for _ in range(2)]
        await asyncio.sleep(2)
        before, among, end = await batches(), list[float](), time.perf_counter() + seconds
        while time.perf_counter() < end or len(among) < 30:
            among.append(await one())
        after = await batches()
        stop.set()
        await asyncio.gather(*work)
    return Fairness(alone, among, 1000 * (after[0] - before[0]) / (after[1] - before[1]))


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name}\{{.*\}} (\S+)$", text, re.MULTILINE)
    assert found, f"the server tells no {name}"
    return float(found[1])


@dataclass(frozen=True, slots=True)
class Overload:
    """Milliseconds of answered and of rejected requests; late: accepted, and then a 504."""

    answered: list[float]
    rejected: list[float]
    late: int
    deadline: float

    @property
    def in_time(self) -> float:
        """Of the accepted, the share that had its answer before the deadline, by the client's clock."""
        good = sum(spent <= 1000 * self.deadline for spent in self.answered)
        return good / max(1, len(self.answered) + self.late)


async def overload(url: str, seconds: float, capacity: float, deadline: float, pool: list[bytes]) -> Overload:
    """Open loop at three times the capacity, which is in documents a second."""
    rate = 3 * capacity / DOCUMENTS
    answered: list[float] = []
    rejected: list[float] = []
    late = 0
    async with client(120, 2000) as http:

        async def one(content: bytes) -> None:
            nonlocal late
            begun = time.perf_counter()
            response = await http.post(url, content=content, headers={"x-request-timeout": str(deadline)})
            spent = 1000 * (time.perf_counter() - begun)
            match response.status_code:
                case 200:
                    answered.append(spent)
                case 429:
                    rejected.append(spent)
                case 504:
                    late += 1
                case other:
                    raise RuntimeError(f"status {other}: {response.text}")

        tasks, start = [], time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one(pool[number % len(pool)])))
        await asyncio.gather(*tasks)
    return Overload(answered, rejected, late, deadline)


@dataclass(frozen=True, slots=True)
class Soak:
    """MiB that the server held, evenly through the time, and how many requests ended how."""

    memory: list[float]
    ends: dict[str, int]

    @property
    def early(self) -> float:
        """The mean of the second tenth: the first is still filling caches."""
        tenth = max(1, len(self.memory) // 10)
        return statistics.mean(self.memory[tenth : 2 * tenth])

    @property
    def last(self) -> float:
        """The mean of the last tenth."""
        return statistics.mean(self.memory[-max(1, len(self.memory) // 10) :])


async def soak(url: str, pid: int, seconds: float) -> Soak:
    """8 clients with requests of 1 to 200 documents, of which every tenth hangs up early."""
    memory: list[float] = []
    ends: Counter[str] = Counter()
    end = time.perf_counter() + seconds
    async with client(600, 16) as http:

        async def work(number: int) -> None:
            chance = random.Random(number)
            while time.perf_counter() < end:
                content = json.dumps(body(chance.randrange(10**9), chance.choice((1, 5, 20, 200)))).encode()
                patience = 0.05 if chance.random() < 0.1 else 600
                try:
                    response = await asyncio.wait_for(http.post(url, content=content), patience)
                    ends[str(response.status_code)] += 1
                except TimeoutError:
                    ends["left"] += 1

        async def watch() -> None:
            while time.perf_counter() < end:
                memory.append(resident(pid))
                await asyncio.sleep(seconds / 200)

        await asyncio.gather(watch(), *(work(number) for number in range(8)))
    return Soak(memory, dict(ends))


def resident(pid: int) -> float:
    """MiB that a process holds in memory. Linux only."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
