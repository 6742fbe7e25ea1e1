"""How fast a CPU reranks a hundred documents: crossrank beside what else runs the same checkpoint.

    python -m benchmarks.cpu --json result.json > result.md
    python -m benchmarks.cpu --engines crossrank-fp32,st-default --rounds 1 --documents 10
    python -m benchmarks.cpu --ndcg path/to/scifact --limit-queries 100

Every engine first tries all its settings on a quarter of the documents, then runs with its fastest. The race is in one
process, the engines in turn, round after round, so that whatever else the machine does falls on all of them alike.
Times are from text to scores.
benchmarks/README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import Others, Shape, commit, cores, gemm_peak, machine, versions
from benchmarks.ndcg import quality
from benchmarks.peers import ENGINES, LENGTH, Material, Score, Setting, absent
from benchmarks.probe import probe
from benchmarks.report import Line, Report, markdown
from benchmarks.stock import stock
from crossrank import Limits, Reranker
from crossrank.hub import find

HERE = Path(__file__).parent
QUERY = "how do I make sure that a file is closed when an exception is raised?"
# Thread pools spin for a while after their work; the next engine should not share its cores with that.
PAUSE = 0.3
# A run during which other processes took more of the cores than this is run again, whatever the engine, so many times.
DISTURBED, AGAIN = 0.05, 4


def main() -> None:
    options = read_options()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(options.threads)
    rows = (HERE / "documents.jsonl").read_text(encoding="utf-8").splitlines()[: options.documents]
    texts = [json.loads(row)["text"] for row in rows]
    missing = {name: lacks for name in options.engines if (lacks := absent(ENGINES[name]))}
    names = [name for name in options.engines if name not in missing]
    with tempfile.TemporaryDirectory() as work:
        folder = find(options.model) if options.model else stock(Path(work))
        material = Material(folder=folder, exports=Path(work), threads=options.threads)
        report = measured(material, names, missing, texts, options.rounds)
    if options.ndcg:
        report.quality = quality(options.ndcg, find(options.model), options.limit_queries)
    if options.json:
        options.json.write_text(json.dumps(report.plain(), indent=1) + "\n", encoding="utf-8")
    print(markdown(report))


def measured(
    material: Material, names: Sequence[str], missing: dict[str, list[str]], texts: list[str], rounds: int
) -> Report:
    lengths, shape, truth = ground(material.folder, texts)
    if any("onnx" in ENGINES[name].needs for name in names):
        from benchmarks.export import export

        say("exporting to ONNX")
        export(material.folder, material.exports)
    chosen: dict[str, Setting] = {}
    scores: dict[str, Score] = {}
    lines: dict[str, Line] = {}
    for name in names:
        setting, tried, score, logits = fastest(name, material, texts)
        chosen[name], scores[name] = setting, score
        error = max(abs(a - b) for a, b in zip(logits, truth, strict=True))
        lines[name] = Line(name, ENGINES[name].label, ENGINES[name].precision, str(setting), tried, error)
    peaks: dict[str, list[float]] = {ENGINES[name].precision: [] for name in names}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        # Each round begins with another engine, so that none always follows the same neighbour.
        for name in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            run = timed(partial(scores[name], QUERY, texts), AGAIN)
            lines[name].seconds.append(run.wall)
            lines[name].cpu_seconds.append(run.cpu)
            lines[name].others.append(run.others)
        for precision, found in peaks.items():
            time.sleep(PAUSE)
            found.append(gemm_peak(shape, precision))
    scores.clear()
    gc.collect()
    for name in names:
        say(f"{name} on its own")
        lines[name].probe = probe(name, chosen[name], material, QUERY, texts, min(rounds, 3))
    return Report(
        machine=machine(),
        commit=commit(),
        versions=versions(),
        threads=material.threads,
        model=material.folder.name,
        rounds=rounds,
        lengths=lengths,
        flops_needed=shape.needed(lengths),
        flops_full=shape.full(lengths),
        peaks={precision: max(found) for precision, found in peaks.items()},
        missing=missing,
        lines=list(lines.values()),
    )


def fastest(name: str, material: Material, texts: list[str]) -> tuple[Setting, dict[str, float], Score, list[float]]:
    """Open an engine in each of its settings, and keep the one that is fastest on every fourth document.

    Returns also what was tried, in seconds, and the kept one's logits of all documents.
    """
    sample = texts[::4]
    best: tuple[float, Setting, Score] | None = None
    tried: dict[str, float] = {}
    for setting in ENGINES[name].settings:
        score = ENGINES[name].open(material, setting)
        seconds = 0.0
        if len(ENGINES[name].settings) > 1:
            score(QUERY, sample)
            seconds = timed(partial(score, QUERY, sample), 1).wall
            tried[str(setting)] = seconds
            say(f"{name} {setting}: {len(sample) / seconds:.1f} documents/s")
        if best is None or seconds < best[0]:
            best = seconds, setting, score
    assert best is not None
    return best[1], tried, best[2], best[2](QUERY, texts)


class Run(NamedTuple):
    """others: the share of the cores that other processes had meanwhile. wall, cpu: seconds."""

    others: float
    wall: float
    cpu: float


def timed(work: Callable[[], object], again: int = 0) -> Run:
    """Run it, up to `again` times more while other processes disturb it; the least disturbed run counts."""
    found: list[Run] = []
    while not found or (min(found).others > DISTURBED and len(found) <= again):
        gc.collect()
        time.sleep(PAUSE)
        watch, wall, cpu = Others(), time.perf_counter(), time.process_time()
        work()
        found.append(Run(watch.share(), time.perf_counter() - wall, time.process_time() - cpu))
    return min(found)


def ground(folder: Path, texts: list[str]) -> tuple[list[int], Shape, list[float]]:
    """Tokens of each pair, the model's sizes, and logits of transformers' own BERT in float64, a pair at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    reranker = Reranker.load(folder, device="cpu", limits=Limits(max_length=LENGTH))
    hits = sorted(reranker.rank(QUERY, texts), key=lambda hit: hit.index)
    if any(hit.windows > 1 for hit in hits):
        raise SystemExit(f"{folder}: a document does not fit beside the query; engines would read different tokens")
    settings = reranker.checkpoint.settings
    shape = Shape(settings["hidden_size"], settings["intermediate_size"], settings["num_hidden_layers"])
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64, local_files_only=True)
    tokenizer = reranker.checkpoint.tokenizer.raw
    logits = []
    with torch.inference_mode():
        for text in texts:
            pair = tokenizer.encode(QUERY, text)
            ids, types = torch.tensor([pair.ids]), torch.tensor([pair.type_ids])
            logits.append(model(input_ids=ids, token_type_ids=types).logits.item())
    return [hit.tokens for hit in hits], shape, logits


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", help="a BERT checkpoint's folder; by default MiniLM's shape, random weights")
    parser.add_argument("--engines", type=listed, default=list(ENGINES), help=f"of {', '.join(ENGINES)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each engine; default 5")
    parser.add_argument("--documents", type=int, help="only the first N of the hundred")
    parser.add_argument("--threads", type=int, default=cores(), help="of every engine; default as many as cores")
    parser.add_argument(
        "--ndcg",
        type=Path,
        metavar="FOLDER",
        help="also compare float32 and int8 on this collection, without --model of mini-en",
    )
    parser.add_argument("--limit-queries", type=int, metavar="N", help="for --ndcg: a sample of its queries")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number here")
    return parser.parse_args()


def listed(names: str) -> list[str]:
    found = names.split(",")
    for name in found:
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"no engine {name!r}; there are {', '.join(ENGINES)}")
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
