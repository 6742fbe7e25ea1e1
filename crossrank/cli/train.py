"""`crossrank train`: a recipe becomes a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crossrank.cli.writing import note
from crossrank.errors import need

__all__ = ["command"]


def command(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to train, on what and how.")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The folder that the model will be.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override: seed=1, STAGE.steps=500; again for more."),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave a GPU alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take the place of a model that may be better.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run left behind.")] = False,
) -> None:
    """Train a model by a recipe.

    A run that was stopped goes on where it was: DIR.training holds its state until DIR is there. Dev sets are measured
    before training, after each stage and at the end. On several GPUs: `torchrun --nproc-per-node N -m crossrank train`.
    """
    need("accelerate", "datasets", "peft", "pyarrow", "transformers", extra="train")
    from transformers.utils import logging

    from crossrank.train.recipe import read_recipe
    from crossrank.train.stages import Run, train

    logging.set_verbosity_error()  # its advice is for those who call it themselves
    read = read_recipe(recipe, changes or [])
    run = Run(
        recipe=read,
        folder=recipe.absolute().parent,
        into=into if into.name else into.absolute(),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        cpu=cpu,
    )
    train(run, say=note, force=force, restart=restart)
