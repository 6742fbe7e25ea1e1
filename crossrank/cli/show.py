"""`crossrank show`: what a model is, and where each part of that comes from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.writing import write_json

if TYPE_CHECKING:
    from crossrank.checkpoint import Checkpoint

__all__ = ["command"]

# Read from the tensors' shapes and names, whatever config.json says of them.
FROM_TENSORS = ("vocab_size", "query_key_norm")

Fact = tuple[str, object, str]  # name, value, source


def command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A folder, a bundled name or a hub name; default: mini-en."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what a model is: sizes, limits, template, and where each comes from."""
    from crossrank.checkpoint import read_checkpoint
    from crossrank.hub import find

    facts = _facts(read_checkpoint(find(model)))
    if as_json or not sys.stdout.isatty():
        write_json({name: {"value": value, "from": source} for name, value, source in facts}, indent=2)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    table.add_column(style="dim", no_wrap=True)
    for name, value, source in facts:
        table.add_row(name, Text(_shown(value)), source)
    Console().print(table)


def _facts(checkpoint: Checkpoint) -> list[Fact]:
    import torch

    from crossrank.scorer import default_budget
    from crossrank.windows import Limits

    longest, usual = checkpoint.max_length, checkpoint.usual_length
    limits = Limits().within(longest, default_budget(torch.device("cpu")), usual, checkpoint.template.beside)
    facts: list[Fact] = [
        ("folder", str(checkpoint.folder), "as found"),
        ("architecture", checkpoint.architecture, "config.json and tensors"),
        ("parameters", checkpoint.parameters, "tensors"),
        ("stored dtypes", list(checkpoint.stored), "tensors"),
        ("weights", list(checkpoint.weights), "as found"),
    ]
    for name, value in checkpoint.settings.items():
        source = "tensors" if name in FROM_TENSORS else "config.json" if name in checkpoint.config else "default"
        facts.append((name, value, source))
    return [
        *facts,
        ("max_length", limits.max_length, "tokenizer_config.json" if usual < longest else "tensors and config.json"),
        ("max_query", limits.max_query, "default"),
        ("overlap", limits.overlap, "default"),
        ("template", _template(checkpoint), "tokenizer.json"),
        ("score", "sigmoid(logit)", "crossrank"),
    ]


def _template(checkpoint: Checkpoint) -> list[str]:
    """The template as tokens, with QUERY and DOCUMENT where they go."""
    template, token = checkpoint.template, checkpoint.tokenizer.raw.id_to_token
    before, between, after = (
        [(token(id_) or f"<{id_}>").strip() for id_ in ids]
        for ids in (template.before, template.between, template.after)
    )
    return [*before, "QUERY", *between, "DOCUMENT", *after]


def _shown(value: object) -> str:
    match value:
        case bool() | float() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case list():
            return " ".join(map(str, value))
    return repr(value)
