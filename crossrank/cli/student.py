"""`crossrank student`: a smaller model out of a teacher's weights."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crossrank.cli import options
from crossrank.cli.writing import write_json

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(metavar="TEACHER", help="A folder, a bundled name or a hub name.")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The new folder.")],
    layers: Annotated[
        int | None, typer.Option("--layers", metavar="N", help="Spread over the teacher's depth, first and last kept.")
    ] = None,
    pick: Annotated[
        str | None, typer.Option("--pick", metavar="I,J,...", help="Instead: which layers, from 0, in this order.")
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", metavar="N", help="hidden_size: a multiple of the width of a head.")
    ] = None,
    inner: Annotated[
        int | None, typer.Option("--inner", metavar="N", help="intermediate_size; default: narrowed as the width is.")
    ] = None,
    jinabert: Annotated[
        bool, typer.Option("--jinabert", help="ALiBi in place of positions, out of a BERT teacher.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option("--max-length", metavar="TOKENS", help="Of a pair, with --jinabert; default: 8192.")
    ] = None,
    new_head: Annotated[
        int | None, typer.Option("--new-head", metavar="SEED", help="An untrained classifier, where there is none.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Build a smaller model out of a teacher's weights.

    A student with some of the layers ranks like its teacher, only worse; a narrower or a JinaBERT student ranks poorly
    until it is trained. Write the teacher's scores with `crossrank teach`, and train the student on them.
    """
    import crossrank.train  # noqa: F401  # says what is not installed
    from crossrank.hub import find
    from crossrank.train.students import Plan, build_student

    if layers is not None and pick is not None:
        raise typer.BadParameter("goes without --layers", param_hint="--pick")
    if max_length is not None and not jinabert:
        raise typer.BadParameter("goes with --jinabert", param_hint="--max-length")
    plan = Plan(
        layers=layers if pick is None else _numbers(pick),
        width=width,
        inner=inner,
        jinabert=jinabert,
        max_length=8192 if max_length is None else max_length,
        new_head=new_head,
    )
    built = build_student(find(model), into, plan)
    if as_json or not sys.stdout.isatty():
        write_json({**asdict(built), "folder": str(built.folder)}, indent=2)
        return
    typer.echo(f"{built.folder}: {built.parameters:,} parameters of the teacher's {built.teacher_parameters:,}")
    of = ", ".join(map(str, built.layers))
    typer.echo(f"layers {of} of it, width {built.width}, {built.heads} heads, {built.inner} neurons a layer")
    typer.echo(f"{built.max_length:,} tokens a pair")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"should be numbers between commas, not {text!r}", param_hint="--pick") from error
