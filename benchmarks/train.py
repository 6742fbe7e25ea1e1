"""How fast crossrank trains, beside sentence-transformers' own training of the same checkpoint, in one run.

    python -m benchmarks.train --json train.json > train.md
    python -m benchmarks.train --model FOLDER --steps 2 --rounds 1 --batch 2 --documents 4

Both train with sentence-transformers' trainer, ListNetLoss and AdamW on the same lists in the same order: one with
crossrank's packed forward pass, one with its own, padded, in transformers' model. Rounds alternate, and the model of
each round is fresh. The lists are passages of Python's documentation, as short and as long as they come.
Attention is what each takes by itself: sdpa there, variable-length flash or sdpa here. Dropout is off on both sides.
The padded side is timed in two ways, a batch's pairs at once and in parts of `--chunk` pairs (its loss's
`mini_batch_size`), which hold less padding; the ratio is to the better of the two.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from benchmarks.machine import commit, machine, versions
from benchmarks.stock import stock
from crossrank.checkpoint import read_checkpoint
from crossrank.hub import find
from crossrank.train.bridge import PackedModule, cross_encoder
from crossrank.train.feeding import InOrder

HERE = Path(__file__).parent
QUERIES = ("how is a file closed", "what does this function return", "sort a list", "threads and locks", "parse a date")


class Clock(TrainerCallback):
    """Times every step but the first, which also warms caches and kernels up."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **others) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def lists(count: int, documents: int) -> Dataset:
    """Queries with `documents` passages each, drawn at random: as short and as long as they come."""
    texts = [json.loads(line)["text"] for line in (HERE / "documents.jsonl").read_text("utf-8").splitlines()]
    chance = random.Random(1)
    return Dataset.from_dict(
        {
            "query": [chance.choice(QUERIES) for _ in range(count)],
            "documents": [chance.sample(texts, documents) for _ in range(count)],
            "labels": [[1.0] + [0.0] * (documents - 1) for _ in range(count)],
        }
    )


def packed(folder: Path, max_length: int) -> CrossEncoder:
    return cross_encoder(PackedModule(read_checkpoint(folder), max_length=max_length))


def padded(folder: Path, max_length: int) -> CrossEncoder:
    none = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "classifier_dropout": 0.0}
    kept = {"dtype": torch.float32}
    return CrossEncoder(str(folder), num_labels=1, max_length=max_length, model_kwargs=kept, config_kwargs=none)


def timed(model: CrossEncoder, data: Dataset, options: argparse.Namespace, chunk: int) -> float:
    """Seconds a step."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as work:
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                output_dir=work,
                max_steps=options.steps + 1,
                per_device_train_batch_size=options.batch,
                learning_rate=1e-5,
                bf16=options.bf16,
                batch_sampler=InOrder,
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                save_strategy="no",
                dataloader_pin_memory=False,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=data,
            loss=losses.ListNetLoss(model, mini_batch_size=chunk or -1),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a BERT or XLM-RoBERTa that transformers knows; default: MiniLM's shape")
    parser.add_argument("--steps", type=int, default=12, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="queries a step")
    parser.add_argument("--documents", type=int, default=8, help="of a query")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a pair")
    parser.add_argument("--chunk", type=int, default=8, help="pairs a forward pass, of the second padded engine")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16 on both sides")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    options = parser.parse_args()
    logging.set_verbosity_error()
    work = tempfile.TemporaryDirectory()
    folder = find(options.model) if options.model else stock(Path(work.name))
    data = lists((options.steps + 1) * options.batch, options.documents)
    engines: dict[str, tuple[Callable[[Path, int], CrossEncoder], int]] = {
        "crossrank, packed": (packed, 0),
        "sentence-transformers, whole batch": (padded, 0),
        f"sentence-transformers, {options.chunk} pairs a pass": (padded, options.chunk),
    }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(options.rounds):
        names = list(engines)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            make, chunk = engines[name]
            seconds[name].append(timed(make(folder, options.max_length), data, options, chunk))
            print(f"round {turn + 1}: {name}: {seconds[name][-1]:.3f} s a step", file=sys.stderr)
    filled = PackedModule(read_checkpoint(folder), max_length=options.max_length).fill(
        [(row["query"], text) for row in data for text in row["documents"]]
    )
    lengths = [len(each) for each in filled]
    pairs = options.batch * options.documents
    ours, *theirs = (statistics.median(times) for times in seconds.values())
    report = {
        "machine": machine(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
        "options": {key: str(value) for key, value in vars(options).items()},
        "mean_tokens": statistics.fmean(lengths),
        "longest": max(lengths),
        "seconds_a_step": seconds,
        "pairs_per_second": {name: pairs / statistics.median(times) for name, times in seconds.items()},
        "ratio": min(theirs) / ours,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    mean = statistics.fmean(lengths)
    print(f"{folder.name}, {pairs} pairs a step, {mean:.0f} tokens on average, {max(lengths)} at most;")
    print(f"{report['gpu'] or report['machine']}, {'bfloat16' if options.bf16 else 'float32'}, {report['commit']}\n")
    print("| engine | pairs/s | times the best padded |\n|---|---:|---:|")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"| {name} | {pairs / middle:,.1f} | {min(theirs) / middle:.2f} |")


if __name__ == "__main__":
    main()
