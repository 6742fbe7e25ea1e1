"""A run of a recipe: its stages in order, each from where the one before ended, and from where it was itself stopped.

While it runs, DIR.training holds all of its state: the rows of each stage, checkpoints, finished stages, scores.
What is left at the end is DIR, a model folder with its run card.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import set_seed
from transformers.integrations.integration_utils import get_available_reporting_integrations

from crossrank.checkpoint import read_checkpoint
from crossrank.errors import InputError
from crossrank.hub import find
from crossrank.train.bridge import PackedModule, cross_encoder
from crossrank.train.card import FILE, better_than, digest, read_card, run_card
from crossrank.train.dev import Judged, mean, measure, read_dev
from crossrank.train.feeding import Sieve, draw, open_rows, write_rows
from crossrank.train.freezing import freeze
from crossrank.train.leakage import Guard
from crossrank.train.lora import add_lora, merged_state
from crossrank.train.losses import make_loss
from crossrank.train.recipe import Recipe, Stage
from crossrank.train.saving import SIDE_FILES, between, install, write_model
from crossrank.train.state import drop_state, hold_state, read_json, stage_folder, write_json
from crossrank.train.trainer import arguments, latest_checkpoint, prepare

__all__ = ["BASELINE", "Run", "train"]

BASELINE = "before training"
ROWS = "rows.arrow"
SCORES = "scores.json"
Say = Callable[[str], None]
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Run:
    """Where a recipe is run. folder: the one it lies in. into: the one that the model will be."""

    recipe: Recipe
    folder: Path
    into: Path
    command: tuple[str, ...] = ()
    cpu: bool = False

    @property
    def data(self) -> Path:
        """What the paths of sources and dev sets are relative to."""
        return self.folder / Path(self.recipe.data).expanduser()

    @property
    def base(self) -> Path:
        """The base model's folder: one beside the recipe, or what crossrank.hub finds by the name."""
        beside = self.folder / Path(self.recipe.base).expanduser()
        return beside if (beside / "config.json").is_file() else find(self.recipe.base)

    @property
    def state(self) -> Path:
        return self.into.with_name(f"{self.into.name}.training")

    def stage_folder(self, stage: Stage) -> Path:
        return stage_folder(self.state, self.recipe.stage.index(stage) + 1, stage.name)


def train(run: Run, *, say: Say, force: bool = False, restart: bool = False) -> Scores:
    """Run a recipe to its end and return nDCG@10 by stage and dev set, BASELINE first.

    say: called with lines of progress, in the first of several processes only. force: put the model in the place of
    one that may be better. restart: throw the state of an earlier run away. Raises InputError for data, recipes and
    folders that will not do, Collapsed when the monitor stops the run, ModelError for the base model.
    """
    process = PartialState(cpu=run.cpu)
    first = process.is_main_process
    tell = say if first else _silent
    begun = time.monotonic()
    base = run.base
    sets = {dev.name: read_dev(dev, run.data) for dev in run.recipe.dev}
    queries: dict[str, Sequence[str]] = {name: [each.query for each in judged] for name, judged in sets.items()}
    guard = Guard(queries, run.recipe.leak_threshold)
    _check(run, base, run.state)
    inputs = _inputs(run, base, sets) if first else {}
    if first:
        _refuse(run, base, inputs, force=force)
        hold_state(run.state, inputs, restart=restart)
        _draw(run, guard, tell)
    process.wait_for_everyone()
    scores: Scores = read_json(run.state / SCORES, {})
    if BASELINE not in scores:
        scores[BASELINE] = _measured(base, sets, run.cpu)
    tell(f"{BASELINE}: {_said(scores[BASELINE])}")
    place = base
    for stage in run.recipe.stage:
        done = run.stage_folder(stage) / "model"
        if not done.is_dir():
            if scores.pop(stage.name, None) is not None and first:  # of a model that was removed
                write_json(run.state / SCORES, scores)
            _run_stage(run, stage, place, done, tell)
        place = done
        if stage.name not in scores:
            scores[stage.name] = _measured(place, sets, run.cpu)
        if first:
            write_json(run.state / SCORES, scores)
        process.wait_for_everyone()
        tell(f"after {stage.name}: {_said(scores[stage.name], scores[BASELINE])}")
    if first:
        seconds = time.monotonic() - begun
        _finish(run, inputs, place, scores, force=force, seconds=seconds, processes=process.num_processes)
    process.wait_for_everyone()
    last = scores[run.recipe.stage[-1].name]
    if last and last["mean"] < scores[BASELINE]["mean"]:
        tell(f"this is worse than before training; {run.recipe.base} ranks the dev sets better")
    tell(f"the model is in {run.into}")
    return scores


def _check(run: Run, base: Path, checkpoints: Path) -> None:
    """Find what would stop a later stage before an earlier one is trained. InputError names the stage."""
    absent = set(run.recipe.log_to) - set(get_available_reporting_integrations())
    if absent:
        raise InputError(f"log_to: {', '.join(sorted(absent))} is not installed, or not to be used here")
    checkpoint = read_checkpoint(base)
    for stage in run.recipe.stage:
        for source in stage.source:
            if not (run.data / source.path).is_file():
                raise InputError(f"stage {stage.name!r}: source {run.data / source.path} is not a file")
        arguments(run.recipe, stage, checkpoints, cpu=run.cpu)
        try:
            module = PackedModule(checkpoint, max_length=stage.max_length)
            make_loss(stage.loss, cross_encoder(module, "cpu"), stage.options)
            freeze(module.model.requires_grad_(True), stage.frozen)
        except InputError as error:
            raise InputError(f"stage {stage.name!r}: {error}") from error


def _inputs(run: Run, base: Path, sets: dict[str, list[Judged]]) -> dict[str, Any]:
    """What a run is made of, as JSON: its recipe, and the hashes of what that names."""
    weights = sorted(base.glob("*.safetensors")) or sorted(base.glob("*.bin"))
    settings = [path for name in ("config.json", *SIDE_FILES) if (path := base / name).is_file()]
    paths = sorted({source.path for stage in run.recipe.stage for source in stage.source})
    return {
        "recipe": json.loads(json.dumps(asdict(run.recipe))),
        "base": {"folder": base.name, "sha256": digest(weights), "settings": digest(settings)},
        "data": {path: digest([run.data / path]) for path in paths},
        "dev": hashlib.sha256(json.dumps({k: [asdict(j) for j in v] for k, v in sets.items()}).encode()).hexdigest(),
    }


def _refuse(run: Run, base: Path, inputs: dict[str, Any], *, force: bool) -> None:
    """InputError for what could only end in one."""
    into = run.into
    if base.resolve() == into.resolve():
        raise InputError(f"{into} is the base model itself; train into another folder")
    if not into.exists():
        return
    if not into.is_dir():
        raise InputError(f"{into} is a file; a folder to make, or a model's to replace, would do")
    card = read_card(into)
    if not force and card is None:
        raise InputError(
            f"{into} is there already, and has no {FILE} to say how good it is; --force puts the new model in its place"
        )
    if any(into.iterdir()) and not (into / "config.json").is_file():
        raise InputError(f"{into} has no config.json, so it is no model that may be replaced; another folder would do")
    if force or _arrived(run, inputs, read_json(run.state / SCORES, {})):
        return
    reason = better_than(card, math.inf if run.recipe.dev else None, inputs["dev"])
    if reason:
        raise InputError(f"{into} stays: {reason}; --force puts the new model in its place")


def _arrived(run: Run, inputs: dict[str, Any], scores: Scores) -> bool:
    """Whether the model in its place is this run's already: it was killed before it removed its state."""
    card = read_card(run.into)
    return card is not None and all(card.get(key) == value for key, value in {**inputs, "scores": scores}.items())


def _draw(run: Run, guard: Guard, say: Say) -> None:
    """Write the rows of all stages: a line that will not do is found before anything is trained."""
    for stage in run.recipe.stage:
        rows = run.stage_folder(stage) / ROWS
        if rows.is_file():
            continue
        rows.parent.mkdir(exist_ok=True)
        sieve = Sieve(guard)
        write_rows(draw(stage, run.data, run.recipe.seed, sieve), rows)
        if sieve.left_out:
            say(f"{stage.name}: {len(sieve.left_out):,} queries are left out, dev sets ask them too")


def _run_stage(run: Run, stage: Stage, start: Path, done: Path, say: Say) -> None:
    """Train a stage from the folder `start`, or from its last checkpoint, and write the folder `done`."""
    folder = run.stage_folder(stage)
    process = PartialState()
    set_seed(run.recipe.seed)  # LoRA's matrices begin at random
    module = PackedModule(read_checkpoint(start), max_length=stage.max_length)
    if stage.frozen:
        freeze(module.model, stage.frozen)
    if stage.lora is not None:
        add_lora(module.model, stage.lora)
    if stage.gradient_checkpointing:
        module.gradient_checkpointing_enable()
    model = cross_encoder(module, "cpu" if run.cpu else None)
    checkpoints = folder / "checkpoints"
    trainer = prepare(run.recipe, stage, model, open_rows(folder / ROWS), checkpoints, cpu=run.cpu, say=say)
    last = latest_checkpoint(checkpoints)
    if last is not None:
        say(f"{stage.name}: going on from step {last.name.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if process.is_main_process:
        partial = folder / "model.partial"
        state = merged_state(module.model)
        if stage.keep < 1:
            state = between(read_checkpoint(start).model.state_dict(), state, stage.keep)
        write_model(module.checkpoint, state, partial)
        install(partial, done)
        # A finished stage is never read again but for its model.
        shutil.rmtree(checkpoints)
    process.wait_for_everyone()


def _finish(
    run: Run,
    inputs: dict[str, Any],
    place: Path,
    scores: Scores,
    *,
    force: bool,
    seconds: float,
    processes: int,
) -> None:
    """Write the card beside the model, and put the folder in its place unless a better one is there."""
    if _arrived(run, inputs, scores):
        drop_state(run.state)
        return
    score = scores[run.recipe.stage[-1].name].get("mean")
    if run.into.exists() and not force:
        reason = better_than(read_card(run.into), score, inputs["dev"])
        if reason:
            raise InputError(f"{run.into} stays: {reason}. The new model is in {place}; --force puts it there")
    partial = run.into.with_name(f"{run.into.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    checkpoint = read_checkpoint(place)
    write_model(checkpoint, checkpoint.model.state_dict(), partial, dtype=run.recipe.save_as)
    card = run_card(
        run.recipe,
        command=run.command,
        base=inputs["base"],
        files=inputs["data"],
        dev=inputs["dev"],
        scores=scores,
        seconds=seconds,
        processes=processes,
    )
    write_json(partial / FILE, card)
    install(partial, run.into)
    drop_state(run.state)


def _measured(folder: Path, sets: dict[str, list[Judged]], cpu: bool) -> dict[str, float]:
    if not sets:
        return {}
    model = cross_encoder(PackedModule(read_checkpoint(folder)), "cpu" if cpu else None)
    scores = {name: measure(model, judged) for name, judged in sets.items()}
    return {**scores, "mean": mean(list(scores.values()))}


def _said(scores: dict[str, float], before: dict[str, float] | None = None) -> str:
    if not scores:
        return "nothing measured, the recipe has no [[dev]]"
    names = list(scores) if len(scores) > 2 else [name for name in scores if name != "mean"]
    gains = {name: f" ({scores[name] - before[name]:+.4f})" if before else "" for name in names}
    return "nDCG@10 " + ", ".join(f"{name} {scores[name]:.4f}{gains[name]}" for name in names)


def _silent(_: str) -> None:
    pass
