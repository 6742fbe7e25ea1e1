"""`crossrank trim`: a copy of a model whose vocabulary has only what some texts or languages need."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli import options
from crossrank.cli.reading import Format, opened, parsed
from crossrank.cli.writing import counted, note, progress, write_json
from crossrank.inputs import Text

if TYPE_CHECKING:
    from crossrank.tools.trim import Trimmed

__all__ = ["command"]

JSONL_SUFFIXES = (".jsonl", ".ndjson")


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|-]...", help="Texts whose pieces stay: lines, or JSONL.", show_default=False),
    ] = None,
    model: options.Model = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="For the smaller model; must not exist.")
    ] = None,
    min_count: Annotated[
        int, typer.Option("--min-count", metavar="N", min=1, help="How often a piece must occur in the texts.")
    ] = 1,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows", metavar="N", min=1, help="At most so many pieces, the most frequent ones of texts and languages."
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Keep all of the language's scripts; may be repeated."),
    ] = None,
    script: Annotated[
        list[str] | None,
        typer.Option("--script", metavar="NAME", help="Keep all of a script, by Unicode's name; may be repeated."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Of the files; auto goes by the name: .jsonl and .ndjson are JSONL.")
    ] = Format.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, and write nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a copy of a model without the vocabulary that your texts do not need.

    Kept are the pieces that occur in the files (of JSONL, in every string), those of the languages and scripts,
    special tokens and all single characters. A text whose pieces were all kept gets the same logit to the last bit;
    others are spelled in smaller pieces.
    """
    if (out is None) != dry_run:
        raise typer.BadParameter("give a folder, or --dry-run", param_hint="--out")
    from crossrank.hub import find
    from crossrank.tools.scripts import scripts_of
    from crossrank.tools.trim import trim

    scripts = (*scripts_of(language or ()), *(script or ()))
    trimmed = trim(find(model), out, _texts(files or (), form), scripts=scripts, min_count=min_count, rows=rows)
    if as_json or not sys.stdout.isatty():
        write_json(asdict(trimmed))
    else:
        typer.echo(_sentences(trimmed))
    if trimmed.left_out:
        note(f"crossrank: left out, since they may speak of the old ids or weights: {', '.join(trimmed.left_out)}")
    if out is not None:
        note(f"crossrank: written to {out}")


def _texts(files: Sequence[Path], form: Format) -> Iterator[str]:
    """Every text of the files, one after another, read as it is asked for."""
    for path in files:
        jsonl = form is Format.jsonl or (form is Format.auto and path.suffix.lower() in JSONL_SUFFIXES)
        with opened(path) as source, progress(source.name) as advance:
            done = 0
            for line in source:
                done += len(line.raw)
                if advance and source.size:
                    advance(done, source.size)
                yield from (_strings(parsed(line)) if jsonl else [Text(line.text).text])


def _strings(value: object) -> Iterator[str]:
    """The strings of a JSON value, at any depth; keys are not among them."""
    match value:
        case str():
            yield Text(value).text
        case dict():
            for each in value.values():
                yield from _strings(each)
        case list():
            for each in value:
                yield from _strings(each)


def _sentences(trimmed: Trimmed) -> str:
    lines = [
        f"vocabulary  {trimmed.rows_before:,} -> {trimmed.rows:,} rows ({trimmed.rows / trimmed.rows_before:.1%})",
        f"weights     {_change(trimmed.weight_bytes_before, trimmed.weight_bytes)}",
        f"tokenizer   {_change(trimmed.tokenizer_bytes_before, trimmed.tokenizer_bytes)}",
    ]
    if trimmed.tokens:
        lines.append(
            f"texts       {counted(trimmed.texts, 'text')}, {counted(trimmed.tokens, 'token')}; "
            f"{trimmed.tokens_kept / trimmed.tokens:.2%} of them keep their piece"
        )
    return "\n".join(lines)


def _change(before: int, after: int) -> str:
    return f"{before / 1e6:,.1f} -> {after / 1e6:,.1f} MB ({after / before:.1%})"
