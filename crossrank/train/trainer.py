"""sentence-transformers' trainer over a PackedModule, for one stage of a recipe."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from crossrank.errors import InputError
from crossrank.train.feeding import InOrder
from crossrank.train.losses import LOSSES, flat_loss, label_prior, make_loss
from crossrank.train.monitor import Monitor, logging_steps
from crossrank.train.recipe import Recipe, Stage

__all__ = ["StageTrainer", "arguments", "latest_checkpoint", "prepare"]

STATE = "state.safetensors"
COMPLETE = "complete"
PRIOR_BATCHES = 4
REPORTS = 20  # lines of progress a stage

Say = Callable[[str], None]


class StageTrainer(CrossEncoderTrainer):
    """Checkpoints hold the state as it is in training, LoRA matrices too; the model's own card is the run card."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in self.model.state_dict().items()}, folder / STATE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: object = None) -> None:
        self.model.load_state_dict(load_file(os.path.join(resume_from_checkpoint, STATE)))


def prepare(
    recipe: Recipe, stage: Stage, model: CrossEncoder, rows: Dataset, checkpoints: Path, *, cpu: bool, say: Say
) -> StageTrainer:
    """A trainer that is ready to train `model` on `rows`, its monitor and its reports in place."""
    loss = make_loss(stage.loss, model, stage.options)
    trainer = StageTrainer(
        model=model,
        args=arguments(recipe, stage, checkpoints, cpu=cpu),
        train_dataset=rows,
        loss=loss,
        callbacks=[_Complete(), _Report(stage, say)],
    )
    trainer.remove_callback(PrinterCallback)
    batch = trainer.args.per_device_train_batch_size
    priors = []
    for start in range(0, min(len(rows), PRIOR_BATCHES * batch), batch):
        features = trainer.data_collator([rows[i] for i in range(start, min(start + batch, len(rows)))])
        columns, labels = trainer.collect_features(features)
        if isinstance(labels, torch.Tensor):
            labels = labels.to(model.device)
        elif isinstance(labels, list):
            labels = [each.to(model.device) for each in labels]
        priors.append(flat_loss(loss, model[0], columns, labels, label_prior(stage.loss, labels)))
    trainer.add_callback(Monitor(model[0], recipe.monitor, sum(priors) / len(priors)))
    return trainer


def arguments(recipe: Recipe, stage: Stage, checkpoints: Path, *, cpu: bool) -> CrossEncoderTrainingArguments:
    """The trainer's arguments. A batch is shared out among processes, so that their number does not change training.

    But a loss that learns from other queries' documents has those of a process's share alone. InputError for a batch
    that cannot be shared, or that leaves such a loss other rows than the recipe says, or none.
    """
    state = PartialState(cpu=cpu)
    processes = state.num_processes
    each, rest = divmod(stage.batch, processes * stage.accumulate)
    if rest or not each:
        raise InputError(
            f"stage {stage.name!r}: a batch of {stage.batch} rows cannot be shared equally by {processes} processes "
            f"in {stage.accumulate} parts"
        )
    if LOSSES[stage.loss].shape == "tuples":
        _refuse_parts(stage, each)
    made = CrossEncoderTrainingArguments(
        output_dir=str(checkpoints),
        max_steps=stage.steps,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=stage.accumulate,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.schedule,
        warmup_steps=math.ceil(stage.warmup * stage.steps),
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_gradient,
        bf16=recipe.precision == "bfloat16",
        logging_steps=logging_steps(recipe.monitor),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=stage.save_every,
        save_total_limit=2,
        batch_sampler=InOrder,
        seed=recipe.seed,
        use_cpu=state.device.type == "cpu",  # bfloat16 is refused unless a CPU is asked for by name
        report_to=list(recipe.log_to) or "none",
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,  # a batch of strings has nothing to pin
    )
    if made.n_gpu > 1:
        # One process with several GPUs would split a packed batch among them, which it cannot be.
        made._n_gpu = 1
    return made


def _refuse_parts(stage: Stage, each: int) -> None:
    """`each`: rows that are computed together, among which a loss of tuples finds a query's other documents."""
    if stage.accumulate > 1:
        raise InputError(
            f"stage {stage.name!r}: loss {stage.loss!r} learns from the other queries of a batch, which are not in the "
            f"same part of it; with accumulate = {stage.accumulate} it would be another loss. accumulate = 1 would do, "
            "and loss 'cached_multiple_negatives' with a small chunk is the same in little memory"
        )
    if each == 1 and stage.documents == 1:
        raise InputError(
            f"stage {stage.name!r}: with documents = 1 loss {stage.loss!r} learns from other queries' documents alone, "
            f"and a batch of {stage.batch} leaves each process one query; a larger batch, or documents = 2 and "
            "data with negatives, would do"
        )


def latest_checkpoint(checkpoints: Path) -> Path | None:
    """The last that was written to its end; a run that is killed while it writes one leaves it without the mark."""
    complete = [path.parent for path in checkpoints.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class _Complete(TrainerCallback):
    """Marks checkpoints that every process has written its part of."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class _Report(TrainerCallback):
    """Says how far a stage is, some REPORTS times."""

    def __init__(self, stage: Stage, say: Say) -> None:
        self.stage = stage
        self.say = say
        self.said = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **others: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        step, steps = state.global_step, self.stage.steps
        if step - self.said >= steps / REPORTS:
            self.said = step
            self.say(f"{self.stage.name}: step {step:,} of {steps:,}, loss {logs['loss']:.4f}")
