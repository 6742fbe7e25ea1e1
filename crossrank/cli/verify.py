"""`crossrank verify`: does this model, in this precision, on this machine, give the scores that it should?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.reading import opened, parsed
from crossrank.cli.writing import note, write_json
from crossrank.inputs import Pair, read_pair

if TYPE_CHECKING:
    from crossrank.tools.verify import Agreement

__all__ = ["command"]


def command(
    model: options.Model = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    max_length: options.MaxLength = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", metavar="FILE", help='JSONL of {"query", "document"}; default: built in.')
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option("--golden", metavar="FILE", help='JSON of {"query", "documents", "logits", "atol"}, or a list.'),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", min=0.0, help="Of a logit in float32, else as a share of the logits' spread."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Compare a model on this machine with its float32 reference, or with logits.

    The reference is the same model in float32 on the CPU, each pair scored alone. Largest difference allowed: 1e-4 in
    float32; 5 % of the spread of the logits in bfloat16, 1 % in float16, 10 % in int8. With --golden the reference is
    a file of published logits, each with its own atol. The exit code is 1 when a difference is larger.
    """
    if golden and (pairs or tolerance is not None):
        raise typer.BadParameter("goes without --pairs and --tolerance: the file has its own", param_hint="--golden")
    from crossrank.tools.verify import builtin_pairs, check, compare, read_golden

    published = read_golden(golden) if golden else []
    own = _read_pairs(pairs) if pairs else []
    reranker = options.load(model, dtype=dtype, device=device, max_length=max_length)
    if published:
        results = [check(reranker, one) for one in published]
    else:
        reference = options.load(model, dtype=options.DtypeName.float32, device="cpu", max_length=max_length, budget=1)
        results = [compare(reranker, reference, own if pairs else builtin_pairs(reference), tolerance)]
    for result in results:
        if as_json or not sys.stdout.isatty():
            write_json({**asdict(result), "passed": result.passed})
        else:
            typer.echo(_sentence(result))
    bad = sum(not result.passed for result in results)
    where = f"{reranker.checkpoint.folder.name}, {reranker.dtype} on {reranker.device}"
    note(f"crossrank: {where}: {f'{bad} of {len(results)} comparisons failed' if bad else 'passed'}")
    if bad:
        raise typer.Exit(1)


def _read_pairs(path: Path) -> list[Pair]:
    with opened(path) as source:
        return [read_pair(parsed(line), line.where) for line in source]


def _sentence(result: Agreement) -> str:
    tau = "" if result.kendall_tau is None else f", Kendall tau {result.kendall_tau:.4f}"
    top = "" if result.top_10 is None else f", top 10 shared {result.top_10:.0%}"
    return (
        f"{result.pairs} pairs, {result.queries} queries, logits spread over {result.spread:.3f}\n"
        f"difference: largest {result.max_difference:.2e}, mean {result.mean_difference:.2e}; "
        f"allowed {result.tolerance:.2e}{tau}{top}"
    )
