"""A run of a recipe: its stages in order, each from where the one before ended, and from where it was itself stopped.

While it runs, DIR.training holds all of its state: the rows of each stage, checkpoints, finished stages, scores.
What is left at the end is DIR, a model folder with its run card.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import set_seed

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
from crossrank.train.recipe import Recipe, Stage
from crossrank.train.saving import between, install, write_model
from crossrank.train.trainer import latest_checkpoint, prepare

__all__ = ["BASELINE", "Run", "train"]

BASELINE = "before training"
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
        return self.state / f"{self.recipe.stage.index(stage) + 1}-{stage.name}"


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
    dev = _dev_digest(sets)
    queries: dict[str, Sequence[str]] = {name: [each.query for each in judged] for name, judged in sets.items()}
    guard = Guard(queries, run.recipe.leak_threshold)
    if first:
        _open(run, base, force=force, restart=restart)
    process.wait_for_everyone()
    scores: Scores = _read(run.state / "scores.json", {})
    if BASELINE not in scores:
        scores[BASELINE] = _measured(base, sets, run.cpu)
    tell(f"{BASELINE}: {_said(scores[BASELINE])}")
    place = base
    for stage in run.recipe.stage:
        done = run.stage_folder(stage) / "model"
        if not done.is_dir():
            _run_stage(run, stage, place, done, guard, tell)
        place = done
        if stage.name not in scores:
            scores[stage.name] = _measured(place, sets, run.cpu)
        if first:
            _write(run.state / "scores.json", scores)
        process.wait_for_everyone()
        tell(f"after {stage.name}: {_said(scores[stage.name], scores[BASELINE])}")
    if first:
        seconds = time.monotonic() - begun
        _finish(run, base, place, scores, dev, force=force, seconds=seconds, processes=process.num_processes)
    process.wait_for_everyone()
    last = scores[run.recipe.stage[-1].name]
    if last and last["mean"] < scores[BASELINE]["mean"]:
        tell(f"this is worse than before training; {run.recipe.base} ranks the dev sets better")
    tell(f"the model is in {run.into}")
    return scores


def _open(run: Run, base: Path, *, force: bool, restart: bool) -> None:
    """Make or find the state of a run; refuse what could only end in a refusal."""
    if base.resolve() == run.into.resolve():
        raise InputError(f"{run.into} is the base model itself; train into another folder")
    if run.into.exists() and not force and read_card(run.into) is None:
        raise InputError(
            f"{run.into} is there already, and has no {FILE} to say how good it is; "
            "--force puts the new model in its place"
        )
    if restart and run.state.exists():
        shutil.rmtree(run.state)
    run.state.mkdir(parents=True, exist_ok=True)
    recipe = json.loads(json.dumps(asdict(run.recipe)))
    stored = _read(run.state / "recipe.json", recipe)
    if stored != recipe:
        keys = ", ".join(key for key in recipe if recipe[key] != stored.get(key))
        raise InputError(
            f"{run.state} holds a run of another recipe ({keys} differ); --restart throws it away, "
            "another --into leaves it"
        )
    _write(run.state / "recipe.json", recipe)


def _run_stage(run: Run, stage: Stage, start: Path, done: Path, guard: Guard, say: Say) -> None:
    """Train a stage from the folder `start`, or from its last checkpoint, and write the folder `done`."""
    folder = run.stage_folder(stage)
    process = PartialState()
    rows = folder / "rows.arrow"
    if process.is_main_process:
        folder.mkdir(exist_ok=True)
        if not rows.is_file():
            sieve = Sieve(guard)
            write_rows(draw(stage, run.data, run.recipe.seed, sieve), rows)
            if sieve.left_out:
                say(f"{stage.name}: {len(sieve.left_out):,} queries are left out, dev sets ask them too")
    process.wait_for_everyone()
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
    trainer = prepare(run.recipe, stage, model, open_rows(rows), checkpoints, cpu=run.cpu, say=say)
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
    base: Path,
    place: Path,
    scores: Scores,
    dev: str,
    *,
    force: bool,
    seconds: float,
    processes: int,
) -> None:
    """Write the card beside the model, and put the folder in its place unless a better one is there."""
    score = scores[run.recipe.stage[-1].name].get("mean")
    if run.into.exists() and not force:
        reason = better_than(read_card(run.into), score, dev)
        if reason:
            raise InputError(f"{run.into} stays: {reason}. The new model is in {place}; --force puts it there")
    partial = run.into.with_name(f"{run.into.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    checkpoint = read_checkpoint(place)
    write_model(checkpoint, checkpoint.model.state_dict(), partial, dtype=run.recipe.save_as)
    paths = sorted({each.path for stage in run.recipe.stage for each in stage.source})
    card = run_card(
        run.recipe,
        command=run.command,
        base=base,
        files={path: digest([run.data / path]) for path in paths},
        dev=dev,
        scores=scores,
        seconds=seconds,
        processes=processes,
    )
    _write(partial / FILE, card)
    install(partial, run.into)
    shutil.rmtree(run.state)


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


def _dev_digest(sets: dict[str, list[Judged]]) -> str:
    return hashlib.sha256(json.dumps({k: [asdict(j) for j in v] for k, v in sets.items()}).encode()).hexdigest()


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else otherwise


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _silent(_: str) -> None:
    pass
