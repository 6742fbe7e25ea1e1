"""Serving measured on loopback: throughput as a share of the library's own, latency, fairness, overload, and a soak.

    python benchmarks/serve.py                    throughput and latency at 1, 8 and 64 clients, fairness, overload
    python benchmarks/serve.py --soak 600         the same, and ten minutes of mixed load with memory watched
    python benchmarks/serve.py --seconds 2 --clients 1 8
    python benchmarks/serve.py --peer http://127.0.0.1:7997/rerank     another server too, at the same clients

It starts its own server on a free port, sends bounded load to it from one process of asyncio clients, writes a table
and stops. The load generator shares the machine with the server; its own cost is in every number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from crossrank import Reranker

WORDS = (
    "the of a river mountain city people water time light history science music number small great early house "
    "system energy market language paper engine winter road animal garden school music colour"
).split()
SMALL, LARGE = 5, 1000


def request(seed: int, documents: int) -> dict:
    """A query of 8 words and documents of 20 to 120."""
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(20, 120))) for _ in range(documents)]
    return {"query": " ".join(chance.choices(WORDS, k=8)), "documents": texts, "return_documents": False}


@contextmanager
def server(arguments: list[str]) -> Iterator[tuple[str, int]]:
    """A crossrank server of its own: its URL and process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "crossrank", "serve", "--port", str(port), "--no-playground", "--no-access-log"]
    process = subprocess.Popen([*command, *arguments], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the server did not start")
            try:
                if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def library(model: str | None, seconds: float) -> float:
    """Documents a second of the library itself, on the very requests that the clients send."""
    reranker = Reranker.load(model, device="cpu")
    bodies = [request(seed, 20) for seed in range(40)]
    for body in bodies[:3]:
        reranker.rank(body["query"], body["documents"])
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        body = bodies[(done // 20) % len(bodies)]
        reranker.rank(body["query"], body["documents"])
        done += 20
    return done / (time.perf_counter() - start)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def throughput(url: str, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Closed loop: each client sends 20 documents, waits, and sends again. Documents a second, and latencies in ms."""
    times: list[float] = []
    bodies = [request(seed, 20) for seed in range(40)]
    async with httpx.AsyncClient(timeout=120, trust_env=False, limits=httpx.Limits(max_connections=clients)) as http:
        await http.post(url, json=bodies[0])
        start = time.perf_counter()
        end = start + seconds

        async def client(number: int) -> None:
            turn = number
            while time.perf_counter() < end:
                sent = time.perf_counter()
                response = await http.post(url, json=bodies[turn % len(bodies)])
                assert response.status_code == 200, response.text
                times.append(1000 * (time.perf_counter() - sent))
                turn += 7

        await asyncio.gather(*(client(number) for number in range(clients)))
        spent = time.perf_counter() - start
    return 20 * len(times) / spent, times


async def fairness(url: str, seconds: float, budget: int) -> dict[str, float]:
    """5-document requests, one at a time: alone, and while two 1,000-document requests are always in flight."""
    async with httpx.AsyncClient(timeout=300, trust_env=False) as http:

        async def one(seed: int) -> float:
            sent = time.perf_counter()
            (await http.post(url, json=request(seed, SMALL))).raise_for_status()
            return 1000 * (time.perf_counter() - sent)

        alone = [await one(seed) for seed in range(20)]
        whole = request(0, LARGE)
        stop = asyncio.Event()
        tokens: list[tuple[int, float]] = []

        async def large() -> None:
            while not stop.is_set():
                sent = time.perf_counter()
                response = await http.post(url, json=whole, headers={"x-request-timeout": "300"})
                response.raise_for_status()
                tokens.append((response.json()["usage"]["total_tokens"], time.perf_counter() - sent))

        work = [asyncio.create_task(large()) for _ in range(2)]
        await asyncio.sleep(1)
        among, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(among) < 20:
            among.append(await one(100 + len(among)))
        stop.set()
        await asyncio.gather(*work)
    # Two large requests share the machine, so a token takes half of what one of them sees.
    slice_ms = 1000 * budget * statistics.mean(spent / (2 * count) for count, spent in tokens)
    extra = percentile(among, 0.99) - percentile(alone, 0.5)
    return {
        "alone_p50": percentile(alone, 0.5),
        "among_p50": percentile(among, 0.5),
        "among_p99": percentile(among, 0.99),
        "slice_ms": slice_ms,
        "slices": extra / slice_ms,
    }


async def overload(url: str, seconds: float, capacity: float, deadline: float) -> dict[str, float]:
    """Open loop at three times the capacity, 20 documents a request: how fast the rejected learn of it."""
    rate = 3 * capacity / 20
    accepted: list[float] = []
    rejected: list[float] = []
    other = 0
    bodies = [json.dumps(request(seed, 20)).encode() for seed in range(40)]
    async with httpx.AsyncClient(timeout=120, trust_env=False, limits=httpx.Limits(max_connections=2000)) as http:

        async def one(number: int) -> None:
            nonlocal other
            sent = time.perf_counter()
            response = await http.post(url, content=bodies[number % 40], headers={"x-request-timeout": str(deadline)})
            spent = 1000 * (time.perf_counter() - sent)
            if response.status_code == 200:
                accepted.append(spent)
            elif response.status_code == 429:
                rejected.append(spent)
            else:
                other += 1

        tasks, start = [], time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(one(number)))
        await asyncio.gather(*tasks)
    return {
        "accepted": len(accepted),
        "rejected": len(rejected),
        "504": other,
        "rejected_p50": percentile(rejected or [0], 0.5),
        "rejected_p99": percentile(rejected or [0], 0.99),
        "accepted_p99": percentile(accepted or [0], 0.99),
        "in_time": sum(spent <= 1000 * deadline for spent in accepted) / max(1, len(accepted)),
    }


def resident(pid: int) -> float:
    """MiB that a process holds in memory."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


async def soak(url: str, pid: int, seconds: float) -> list[float]:
    """Mixed sizes and cancellations from 8 clients; memory every hundredth of the time."""
    memory: list[float] = []
    end = time.perf_counter() + seconds
    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:

        async def client(number: int) -> None:
            chance = random.Random(number)
            while time.perf_counter() < end:
                body = request(chance.randrange(10_000), chance.choice((1, 5, 20, 200)))
                try:
                    patience = 0.05 if chance.random() < 0.1 else 60
                    await asyncio.wait_for(http.post(url, json=body), patience)
                except TimeoutError:
                    pass

        async def watch() -> None:
            while time.perf_counter() < end:
                memory.append(resident(pid))
                await asyncio.sleep(seconds / 100)

        await asyncio.gather(watch(), *(client(number) for number in range(8)))
    return memory


def main() -> None:
    """Run what the flags ask for and print it as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="what crossrank serves; default: the bundled model")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds, in the overload")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds; 0 is none")
    parser.add_argument("--peer", help="the rerank URL of another server, measured at the same clients")
    given = parser.parse_args()

    print(f"{platform.platform()}, Python {platform.python_version()}; 20 documents of 20 to 120 words a request")
    print("\n| | clients | documents/s | of the library's | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    before = library(given.model, given.seconds)
    best = 0.0
    model = ["--model", given.model] if given.model else []
    with server(["--device", "cpu", "--deadline", "600", *model]) as (url, pid):
        for clients in given.clients:
            speed, times = asyncio.run(throughput(f"{url}/v1/rerank", clients, given.seconds))
            best = max(best, speed)
            row("crossrank serve", clients, speed, before, times)
        if given.peer:
            for clients in given.clients:
                speed, times = asyncio.run(throughput(given.peer, clients, given.seconds))
                row("peer", clients, speed, before, times)
        budget = Reranker.load(given.model, device="cpu").scorer.budget
        fair = asyncio.run(fairness(f"{url}/v1/rerank", given.seconds, budget))
        load = asyncio.run(overload(f"{url}/v1/rerank", given.seconds, best, given.deadline))
        memory = asyncio.run(soak(f"{url}/v1/rerank", pid, given.soak)) if given.soak else []
    after = library(given.model, given.seconds)
    print(f"\nlibrary alone: {before:.1f} documents/s before, {after:.1f} after")
    for title, values in (("5 documents, alone and among two of 1,000", fair), ("3x overload", load)):
        print(f"\n{title}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))
    if memory:
        tenth = len(memory) // 10
        early, late = statistics.mean(memory[tenth : 2 * tenth]), statistics.mean(memory[-tenth:])
        print(f"\nsoak of {given.soak:g} s: {early:.0f} MiB in its second tenth, {late:.0f} MiB in its last")


def row(name: str, clients: int, speed: float, alone: float, times: list[float]) -> None:
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    print(f"| {name} | {clients} | {speed:.1f} | {speed / alone:.2f} | {p50:.0f} | {p99:.0f} |", flush=True)


if __name__ == "__main__":
    main()
