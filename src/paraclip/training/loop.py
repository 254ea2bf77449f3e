"""The training loop, shared by tuning, the control and alignment.

The image tower is usually not run at all: its features are computed once (`prepare.py`).
"""

import json
import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paraclip.data.problems import Problems
from paraclip.files import locked, text_hash
from paraclip.models.checkpoint import copy_weights
from paraclip.models.features import ahead
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar
from paraclip.training.config import AlignOptions, RunSettings, TrainOptions
from paraclip.training.examples import Batch, epoch_batches, row_batches
from paraclip.training.folder import STATES, RunFolder, notice, open_run
from paraclip.training.losses.contrast import Integers
from paraclip.training.losses.objective import three_losses, weighted_sum
from paraclip.training.metrics import Watched, Watchers, geometry, is_judged, peak_memory
from paraclip.training.optimizer import frozen_tensors, merge_adapters, set_dropout, train_only
from paraclip.training.prepare import TrainingData
from paraclip.training.processes import this_process
from paraclip.training.run import (
    Run,
    StepFailed,
    Task,
    arithmetic_of,
    finish,
    identity_of,
    keep_failed_step,
    keep_state,
    kept_random_state,
    start,
    write_checkpoint,
)
from paraclip.training.step import encode_whole, start_biases, take_step
from paraclip.training.task import alignment_of, task_of

MOST_WATCHED = 512


def train(
    data: TrainingData, options: TrainOptions, out: Path, settings: RunSettings | None = None
) -> Path:
    """Fine-tune the text tower on triples; the image side does not change by a bit.

    Args:
        data: the base and the rows; afterwards, the base has the weights of the last step.
        options: hyperparameters; with `control`, L1 on the original captions only, for as many
            steps.
        out: folder of checkpoints (`best.safetensors`, `last.safetensors`), logs and states.
        settings: how the run is saved and monitored; None: those in `options` if they are from a
            command, or else the defaults.

    Returns:
        The checkpoint selected by `settings.choose`.

    Raises:
        UserError: there is nothing to learn from, the features are from another model, `out`
            contains another run, the loss is not a number, or the disk is full.

    Source: paper, section 3: L = L1 + L2 + L3.
    """
    return fit(task_of(data, options, settings), out, data.problems)


def align(
    data: TrainingData, options: AlignOptions, out: Path, settings: RunSettings | None = None
) -> Path:
    """Fit heads and text tower of a `Mini` to captions and pictures; the backbone is not changed.

    Uses L1 on the captions, with the image head among the trained parts; captions of the same
    picture are not negatives of each other. Arguments, result and errors are those of `train`.
    """
    return fit(alignment_of(data, options, settings), out, data.problems)


def fit(task: Task, out: Path, problems: Problems) -> Path:
    """Train, or resume a killed run; the result of a finished run is returned immediately."""
    train_only(task.model, task.parts, task.options.freeze_temperature)
    set_dropout(task.parts, task.options.dropout)
    identity = identity_of(task)
    processes = this_process()
    processes.check_alike(identity)
    with locked(out) if processes.first else nullcontext():
        folder = RunFolder(out)
        if processes.first:
            open_run(folder, identity, task.settings.fresh)
        if processes.from_first(folder.finished()):
            notice(f"{out} is finished already; --fresh starts it over")
            if processes.first:
                folder.remove(*STATES)  # a kill after the summary left them
            copy_weights(merge_adapters(task.model), folder.last)
        else:
            fit_in(folder, task, identity)
        if processes.first and problems.count:
            problems.write(folder.problems_file)
    return folder.best if task.settings.choose == "best" else folder.last


def fit_in(folder: RunFolder, task: Task, identity: dict[str, Any]) -> None:
    """Train in a folder that no other run writes to; verify that frozen weights are unchanged."""
    model = task.model
    frozen = hash_tensors(frozen_tensors(model))
    with kept_random_state(model.device), arithmetic_of(task.options, model):
        run = start(task, identity, folder.states)
        if not run.course.stops(task.options.patience):  # otherwise killed after an early stop
            run_steps(run, folder)
    model.eval()
    if hash_tensors(frozen_tensors(model)) != frozen:
        raise AssertionError("a frozen weight changed in training")
    if run.processes.first:
        finish(run, folder)
    merge_adapters(model)


def run_steps(run: Run, folder: RunFolder) -> None:
    """Run all remaining steps, with logs, held-out loss and states."""
    options, first = run.options, run.processes.first
    if run.step == 0:
        start_biases(run, next(row_batches(run.learn, options.batch_size, options.seed, 0, 1)))
    run.train_mode()
    with (
        Watchers(run.settings.track if first else (), watched(run, folder)) as watchers,
        bar("training", run.total_steps, "step", run.step) as moving,
        closing(batches_ahead(run)) as batches,
    ):
        for batch in batches:
            figures = timed_step(run, batch, folder)
            if is_judged(options, run.step, run.epoch_steps, run.total_steps):
                figures |= judge(run, folder)
            watchers.write(run.step, figures)
            stops = run.course.stops(options.patience)
            is_kept = stops or 0 in (run.step % run.epoch_steps, run.step % run.settings.save_every)
            if is_kept and first:
                keep_state(run, folder)
            moving.set_postfix(loss=f"{figures['loss']:.3f}", refresh=False)
            moving.update()
            if stops:
                notice(f"stopped early after step {run.step}; step {run.best_step} was the best")
                break


def watched(run: Run, folder: RunFolder) -> Watched:
    """Facts about the run for the watchers."""
    settings = {**run.settings_by_name, "identity": run.identity}
    return Watched(folder.path, run.step, text_hash(json.dumps(run.identity)), settings)


def timed_step(run: Run, batch: Batch, folder: RunFolder) -> dict[str, float]:
    """Run one step and add its speed and memory; save the batch of a step that fails.

    `input_wait` is the share of its time spent waiting for its rows and pictures.
    """
    began = time.perf_counter() - run.waited
    try:
        figures = take_step(run, batch)
    except StepFailed as failure:
        raise keep_failed_step(run, batch.numbers, folder.path, failure) from failure
    run.step += 1
    seconds = time.perf_counter() - began
    figures["triples_per_second"] = len(batch.numbers) / seconds
    figures["input_wait"] = run.waited / seconds
    return {**figures, "epoch": run.step / run.epoch_steps, **peak_memory(run.device)}


def judge(run: Run, folder: RunFolder) -> dict[str, float]:
    """Compute geometry and held-out losses; keep the checkpoint with the lowest loss so far."""
    first = run.processes.first  # the other processes wait
    figures = geometry_of(run) if first else {}
    if not len(run.held_out):
        return figures
    losses = run.processes.from_first(held_out_losses(run) if first else None)
    better = losses["loss"] < run.best_loss
    run.course.judged(better)
    if better:
        run.best_loss, run.best_step = losses["loss"], run.step
        if first:
            write_checkpoint(run, folder.best)
    return figures | {f"held_out_{name}": value for name, value in losses.items()}


def geometry_of(run: Run) -> dict[str, float]:
    """The geometry of the vectors of the monitored rows."""
    batch = run.examples.batch(watched_rows(run)).to(run.device)
    run.model.eval()
    vectors = encode_whole(run, batch)
    run.train_mode()
    tied = run.objective.image_loss_on if run.objective.weights[0] else ()
    return geometry(vectors, batch.rows, tied)


def watched_rows(run: Run) -> Integers:
    """A fixed sample of held-out rows, or of training rows if none are held out."""
    rows = run.held_out if len(run.held_out) > 1 else run.learn
    chosen = np.random.default_rng([run.options.seed, 0x9E0]).permutation(len(rows))
    return rows[np.sort(chosen[:MOST_WATCHED])]


@torch.no_grad()
def held_out_losses(run: Run) -> dict[str, float]:
    """Mean of each loss over the held-out rows, always in the same batches, without dropout."""
    batches = epoch_batches(run.held_out, run.options.batch_size, run.options.seed, 0)
    run.model.eval()
    sums: dict[str, float] = {}
    for rows in batches:
        batch = run.examples.batch(rows).to(run.device)
        vectors = encode_whole(run, batch)
        losses = three_losses(vectors, run.temperatures, batch.rows, run.objective)
        losses["loss"] = weighted_sum(losses, run.objective)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
    run.train_mode()
    return sums


def batches_ahead(run: Run) -> Generator[Batch]:
    """The batches of all remaining steps; `run.waited` is the time waited for each, in seconds."""
    options = run.options
    rows = row_batches(run.learn, options.batch_size, options.seed, run.step, run.total_steps)
    with closing(ahead(partial(batch_of, run), rows, workers=1, most=2)) as batches:
        began = time.perf_counter()
        for _, batch in batches:
            run.waited = time.perf_counter() - began
            yield batch
            began = time.perf_counter()


def batch_of(run: Run, rows: Integers) -> Batch:
    """This process's part of a step's rows [B], on the model's device."""
    return run.examples.batch(rows, run.processes.share).to(run.device)
