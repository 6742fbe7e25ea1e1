"""Serving measured on loopback: throughput as a share of the library's own, latency, fairness, overload, and a soak.

    python -m benchmarks.serve                         throughput and latency at 1, 8 and 64 clients, fairness, overload
    python -m benchmarks.serve --soak 600              and ten minutes of mixed load with the server's memory watched
    python -m benchmarks.serve --infinity .infinity/bin/infinity_emb      and infinity-emb at the same clients

It starts its own servers on free ports, sends them bounded load, prints tables and stops them. Between the servers the
library itself ranks the same requests: a row's share is of the mean of the runs before and after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks import loads
from benchmarks.loads import Fairness, Overload, Soak, Throughput, percentile
from benchmarks.machine import Others, commit, cores, machine, versions
from crossrank import Reranker
from crossrank.hub import find


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it reranks, its root, and its process."""

    name: str
    url: str
    base: str
    pid: int


@dataclass(frozen=True, slots=True)
class Row:
    """A server under so many clients. share: of the library's own documents a second."""

    server: str
    clients: int
    share: float
    found: Throughput


@contextmanager
def started(name: str, command: list[str], path: str, ready: str) -> Iterator[Server]:
    """A server of its own on a free port, once it is ready; `command` gets --port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, **quiet)
    try:
        end = time.monotonic() + 180
        while not answers(base + ready):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name} did not start: {' '.join(command)}")
            time.sleep(0.2)
        yield Server(name, base + path, base, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def library(reranker: Reranker, seconds: float) -> float:
    """Documents a second of the library itself, a request after another, on what the clients send."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        body = loads.body(done)
        reranker.rank(body["query"], body["documents"])
        done += 1
    return loads.DOCUMENTS * done / (time.perf_counter() - start)


def race(
    reranker: Reranker, servers: list[Server], clients: list[int], seconds: float
) -> tuple[list[Row], list[float]]:
    """Every server at every number of clients, with the library before, between and after."""
    pool = loads.bodies()
    library(reranker, 1)
    alone = [library(reranker, seconds)]
    found: list[tuple[Server, int, Throughput]] = []
    for count in clients:
        for server in servers:
            say(f"{server.name}, {count} clients")
            found.append((server, count, asyncio.run(loads.throughput(server.url, count, seconds, pool))))
            alone.append(library(reranker, seconds))
    rows = [
        Row(server.name, count, one.documents / statistics.mean(alone[index : index + 2]), one)
        for index, (server, count, one) in enumerate(found)
    ]
    return rows, alone


def working(pids: list[int]) -> float:
    """Seconds that these processes have worked. Linux only."""
    fields = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in pids]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure what the flags ask for, print it as Markdown, and write every number where --json says."""
    given = read_options()
    if given.infinity and not given.model:
        raise SystemExit("--infinity: it does not know mini-en's layout; give a BERT checkpoint with --model")
    folder = find(given.model)
    reranker = Reranker.load(folder, device="cpu")
    serve = [sys.executable, "-m", "crossrank", "serve", "--model", f"mini-en={folder}", "--device", "cpu"]
    serve += ["--no-playground", "--no-access-log", "--deadline", "600"]
    peer = [str(given.infinity), "v2", "--model-id", str(folder), "--served-model-name", "mini-en", "--host"]
    peer += ["127.0.0.1", "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--no-bettertransformer"]
    beside = started("infinity-emb", peer, "/rerank", "/health") if given.infinity else nullcontext()
    with started("crossrank serve", serve, "/v1/rerank", "/ready") as own, beside as other:
        pids = [one.pid for one in (own, other) if one]
        watch, start, before = Others(), time.perf_counter(), working(pids)
        rows, alone = race(reranker, [one for one in (own, other) if one], given.clients, given.seconds)
        busy = (working(pids) - before) / (time.perf_counter() - start) / cores()
        disturbed = max(0.0, watch.share() - busy)
        say("fairness")
        fair = asyncio.run(loads.fairness(own.base, given.seconds))
        say("overload")
        best = max(row.found.documents for row in rows if row.server == own.name)
        over = asyncio.run(loads.overload(own.url, given.seconds, best, given.deadline, loads.bodies()))
        if given.soak:
            say(f"soak of {given.soak:g} seconds")
        soak = asyncio.run(loads.soak(own.url, own.pid, given.soak)) if given.soak else None
    print(report(rows, alone, disturbed, fair, over, soak))
    if given.json:
        given.json.write_text(json.dumps(numbers(rows, alone, disturbed, fair, over, soak), indent=1) + "\n")


def report(
    rows: list[Row], alone: list[float], disturbed: float, fair: Fairness, over: Overload, soak: Soak | None
) -> str:
    """Markdown: the table of throughput, and a table of what was promised."""
    known = [f"{name} {number}" for name, number in versions().items() if name in ("python", "torch", "tokenizers")]
    lines = [
        "# Serving on loopback",
        "",
        " · ".join([machine(), "float32", f"commit {commit()}", *known]),
        "",
        f"Requests of {loads.DOCUMENTS} documents of 20 to 120 words, in a closed loop. The clients run on the same "
        f"cores. The library alone: {min(alone):.1f} to {max(alone):.1f} documents/s in {len(alone)} runs between the "
        f"servers'. Other processes took {100 * disturbed:.0f}% of the cores meanwhile.",
        "",
        "| server | clients | requests | documents/s | of the library's | p50 ms | p99 ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        times = row.found.times
        p50, p99 = statistics.median(times), percentile(times, 0.99)
        lines.append(
            f"| {row.server} | {row.clients} | {len(times)} | {row.found.documents:.1f} | {row.share:.2f} | {p50:.0f} "
            f"| {p99:.0f} |"
        )
    many = [row.share for row in rows if row.server == "crossrank serve" and row.clients >= 8]
    refused = over.rejected or [0.0]
    soon = sum(spent <= 50 for spent in refused) / len(refused)
    lines += ["", "| crossrank serve | measured | target | |", "|---|---|---|---|"]
    if many:
        lines.append(
            promise("share of the library's, 8 clients or more", f"{min(many):.2f}", "0.95", min(many) >= 0.95)
        )
    lines += [
        promise(
            f"5 documents among two requests of 1,000: p99 of {len(fair.among)} less p50 alone, in batches",
            f"{fair.slices:.1f} ({percentile(fair.among, 0.99):.0f} ms, alone {statistics.median(fair.alone):.0f} ms, "
            f"a batch {fair.slice_ms:.0f} ms)",
            "at most 4",
            fair.slices <= 4,
        ),
        promise(
            f"three times the capacity: {len(over.rejected)} rejected within 50 ms",
            f"{100 * soon:.1f}%, p99 {percentile(refused, 0.99):.0f} ms, slowest {max(refused):.0f} ms",
            "all",
            soon == 1,
        ),
        promise(
            f"of {len(over.answered) + over.late} accepted, answered within the deadline of {over.deadline:g} s",
            f"{100 * over.in_time:.1f}%, {over.late} of them a 504",
            "all",
            over.in_time == 1,
        ),
    ]
    if soak:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(soak.ends.items()))
        grown = soak.last - soak.early
        shown = f"{soak.early:.0f} MiB in the second tenth of the time, {soak.last:.0f} in the last ({ends})"
        lines.append(promise("memory of the server in a soak", shown, "within 5%", grown <= 0.05 * soak.early))
    return "\n".join(lines)


def promise(what: str, measured: str, target: str, met: bool) -> str:
    """A row of the second table."""
    return f"| {what} | {measured} | {target} | {'met' if met else '**missed**'} |"


def numbers(
    rows: list[Row], alone: list[float], disturbed: float, fair: Fairness, over: Overload, soak: Soak | None
) -> dict[str, object]:
    """Everything that was measured."""
    return {
        "machine": machine(),
        "commit": commit(),
        "versions": versions(),
        "library": alone,
        "others": disturbed,
        "rows": [asdict(row) for row in rows],
        "fairness": {**asdict(fair), "slices": fair.slices},
        "overload": {**asdict(over), "in_time": over.in_time},
        "soak": {**asdict(soak), "early": soak.early, "last": soak.last} if soak else None,
    }


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", help="a checkpoint's folder; by default the bundled model")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="default 1 8 64")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement; default 20")
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds, in the overload; default 5")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds; default 0, none")
    parser.add_argument("--infinity", type=Path, metavar="PROGRAM", help="infinity_emb, of an environment of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number here")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
