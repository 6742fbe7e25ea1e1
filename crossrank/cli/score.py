"""`crossrank score`: pairs in, the same pairs with scores out, a block at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from crossrank.cli import options
from crossrank.cli.reading import Line, Source, opened, parsed
from crossrank.cli.writing import counted, note, progress, write_json
from crossrank.errors import InputError
from crossrank.inputs import Pair, read_pair

if TYPE_CHECKING:
    from crossrank.reranker import Reranker

__all__ = ["command"]

# A block bounds what is held in memory; its lines share batches.
BLOCK_LINES = 256
BLOCK_BYTES = 1 << 20

ADDED = {"score", "logit"}


@dataclass(frozen=True, slots=True)
class Job:
    """A line of the input: a pair with what was sent, or what is wrong with it."""

    line: Line
    sent: dict[str, object]
    pair: Pair | None
    error: str = ""


def command(
    file: options.Input = None,
    model: options.Model = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    max_query: options.MaxQuery = None,
    overlap: options.Overlap = 80,
    budget: options.Budget = None,
) -> None:
    """Score query-document pairs: JSONL in, the same with scores out, in order.

    A line is {"query": ..., "document": ...}; other keys come back too. Added are score, a probability, and logit, the
    number before the sigmoid, in the place of any that the line had; and query_truncated if so. A bad line gives
    {"line": N, "error": ...} in its place and a word on standard error, the others are scored, and the exit code is 1.
    Blank lines give nothing.
    """
    with opened(file) as source:
        reranker = options.load(
            model,
            dtype=dtype,
            device=device,
            max_length=max_length,
            max_query=max_query,
            overlap=overlap,
            budget=budget,
        )
        done = bad = cut = replaced = 0
        # Where the lines themselves go to a terminal, they are the progress, and a bar would run through them.
        with nullcontext() if sys.stdout.isatty() else progress("scoring") as advance:
            for block in _blocks(source):
                cut += _answer(block, reranker)
                bad += sum(job.pair is None for job in block)
                replaced += sum(not ADDED.isdisjoint(job.sent) for job in block)
                done += sum(len(job.line.raw) for job in block)
                if advance and source.size:
                    advance(done, source.size)
    if cut:
        limit = reranker.limits.max_query
        note(f"crossrank: {counted(cut, 'query', 'queries')} longer than {limit} tokens cut there; --max-query sets it")
    if replaced:
        note(f"crossrank: {counted(replaced, 'line')} had a score or logit already, which the model's replaced")
    if bad:
        note(f"crossrank: {counted(bad, 'bad line')} in {source.name}; the others are scored")
        raise typer.Exit(1)


def _blocks(source: Source) -> Iterator[list[Job]]:
    block: list[Job] = []
    size = 0
    for line in source:
        block.append(_job(line))
        size += len(line.raw)
        if len(block) == BLOCK_LINES or size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _job(line: Line) -> Job:
    try:
        value = parsed(line)
        if not isinstance(value, dict):
            raise InputError(f'{line.where}: expected {{"query": ..., "document": ...}}')
        return Job(line, value, read_pair(value, line.where))
    except InputError as error:
        return Job(line, {}, None, str(error))


def _answer(block: list[Job], reranker: Reranker) -> int:
    """Write a block's lines; returns how many of its queries were cut."""
    from crossrank.reranker import sigmoid

    pairs = [job.pair for job in block if job.pair is not None]
    logits = iter(reranker.pair_logits(pairs))
    cut = {query for query in {pair.query for pair in pairs} if reranker.prepare(query, []).query_truncated}
    for job in block:
        if job.pair is None:
            sys.stdout.flush()  # where both go to one terminal, in the lines' order
            note(f"crossrank: {job.error}")
            write_json({"line": job.line.number, "error": job.error})
            continue
        logit = next(logits)
        truncated = {"query_truncated": True} if job.pair.query in cut else {}
        write_json({**job.sent, "score": sigmoid(logit), "logit": logit, **truncated})
    sys.stdout.flush()
    return sum(pair.query in cut for pair in pairs)
