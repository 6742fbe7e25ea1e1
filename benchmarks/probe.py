"""One engine in a process of its own: how long from nothing to the first answer, and the most memory it took.

    python -m benchmarks.probe < order.json

Prints {"ready": the clock at the first answer, "peak_mb"}. The first answer is for one document; the peak is after
ranking all of them. Memory is VmHWM, because the peak that getrusage gives includes that of the parent before exec.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.peers import ENGINES, Material, Setting

__all__ = ["Probe", "probe"]

STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Probe:
    """cold_s: from starting Python to the first answer. peak_mb: resident set, where the system tells."""

    cold_s: float
    peak_mb: float | None


def probe(name: str, setting: Setting, material: Material, query: str, texts: list[str], repeats: int) -> Probe:
    """The median of `repeats` processes, with a warm file cache."""
    order = {
        "engine": name,
        **asdict(setting),
        "folder": str(material.folder),
        "exports": str(material.exports),
        "threads": material.threads,
        "query": query,
        "texts": texts,
    }
    colds, peaks = [], []
    for _ in range(repeats):
        started = time.time()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.probe"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed on its own:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        colds.append(found["ready"] - started)
        peaks.append(found["peak_mb"])
    return Probe(statistics.median(colds), None if None in peaks else statistics.median(peaks))


def _peak_mb() -> float | None:
    if not STATUS.is_file():
        return None
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    order = json.load(sys.stdin)
    material = Material(folder=Path(order["folder"]), exports=Path(order["exports"]), threads=order["threads"])
    score = ENGINES[order["engine"]].open(material, Setting(order["batch"], order["graph"]))
    score(order["query"], order["texts"][:1])
    ready = time.time()
    score(order["query"], order["texts"])
    print(json.dumps({"ready": ready, "peak_mb": _peak_mb()}))


if __name__ == "__main__":
    main()
