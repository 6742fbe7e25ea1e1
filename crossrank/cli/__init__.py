"""The command line. One module a command, imported when it is named; `crossrank --help` reads this table alone.

A command is a function `command` in its module. Exit codes are those of crossrank/errors.py.
"""

from __future__ import annotations

import errno
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import crossrank
from crossrank.errors import CrossrankError, MissingExtra

__all__ = ["COMMANDS", "app", "main"]

# name -> (module, one line of help)
COMMANDS = {
    "rank": ("crossrank.cli.rank", "Rank documents for a query: lines or JSONL in, best first out."),
    "score": ("crossrank.cli.score", "Score query-document pairs: JSONL in, the same with scores out, in order."),
    "show": ("crossrank.cli.show", "Show what a model is: sizes, limits, template, and where each comes from."),
    "verify": ("crossrank.cli.verify", "Compare a model on this machine with its float32 reference, or with logits."),
    "evaluate": ("crossrank.cli.evaluate", "Measure ranking quality on judged collections."),
    "calibrate": ("crossrank.cli.calibrate", "Fit scores to labels, so that a threshold means something."),
    "trim": ("crossrank.cli.trim", "Write a smaller copy of a model: without the vocabulary that no text needs."),
    "mine": ("crossrank.cli.mine", "Add hard negatives to training data."),
    "teach": ("crossrank.cli.teach", "Write a teacher's scores into training data."),
    "student": ("crossrank.cli.student", "Build a smaller model out of a teacher's weights."),
    "train": ("crossrank.cli.train", "Train a model by a recipe, resumable."),
    "serve": ("crossrank.cli.serve", "Answer rerank requests over HTTP."),
}

# typer's click is its own copy in newer releases and the package in older ones; Any spells both.
Click = Any

INTERRUPTED = 130  # 128 + SIGINT
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
CLOSED_PIPE = 141  # 128 + SIGPIPE: what `yes | head -1` ends with, too


class Commands(TyperGroup):
    """A group whose commands are imported when they are named, and whose errors become one line and an exit code."""

    def list_commands(self, ctx: Click) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Click, cmd_name: str) -> Click:
        if cmd_name in COMMANDS:
            return loaded(cmd_name)
        near = get_close_matches(cmd_name, COMMANDS, n=1)
        return ctx.fail(f"no command {cmd_name!r}; " + (f"did you mean {near[0]!r}?" if near else "-h lists them"))

    def format_commands(self, ctx: Click, formatter: Click) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: Click) -> Click:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except CrossrankError as error:
            typer.echo(f"crossrank: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # Python flushes stdout once more as it ends, and would complain of the closed pipe there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from error
        except OSError as error:
            if error.errno not in DISK:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            typer.echo(f"crossrank: the output cannot be written: {error.strerror or error}", err=True)
            raise typer.Exit(CrossrankError.exit_code) from error
        return answer


def loaded(name: str) -> Click:
    """The click command of a name in COMMANDS; MissingExtra where this installation has not got its module."""
    module = COMMANDS[name][0]
    if find_spec(module) is None:
        raise MissingExtra(f"this installation has no `{name}` command: {module} is missing; install crossrank again")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(import_module(module).command)
    return typer.main.get_command(single)


app = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"crossrank {crossrank.__version__}")
        raise typer.Exit
    return asked


@app.callback(
    help="Rerank documents with cross-encoders. `crossrank COMMAND --help` says more.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point `crossrank`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `2>&-`; a file opened later must not take its place either
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    try:
        typer.main.get_command(app)(prog_name="crossrank")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
