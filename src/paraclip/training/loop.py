"""The training loop: one for tuning, for the control and for alignment.

A step, with B rows, T texts a row, K rows that have a picture, D the shared width:

    token chunks --text tower--> texts [T, B, D] ---+
    cached features [K, F] --projection--> [K, D] --+--> L1, L2, L3 --> gradients --> AdamW

The image tower is not run at all: its features were computed once.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from paraclip.errors import UserError
from paraclip.files import locked, text_hash
from paraclip.models.checkpoint import copy_weights
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar
from paraclip.training.adapters import has_adapters, merge_adapters
from paraclip.training.batches import ALL_TEXTS, Batch, row_batches
from paraclip.training.checks import check_options
from paraclip.training.config import TrainConfig
from paraclip.training.course import is_judged, peak_memory, trouble
from paraclip.training.examples import make_examples
from paraclip.training.feeding import batches_ahead
from paraclip.training.folder import RunFolder, open_run
from paraclip.training.forward import held_out_losses, learn_from, start_biases
from paraclip.training.geometry import geometry
from paraclip.training.inspection import WentWrong, kept_for_inspection
from paraclip.training.keeping import finish, keep_state, write_checkpoint
from paraclip.training.losses import objective_of, weighted_sum
from paraclip.training.optimizer import (
    frozen_tensors,
    set_dropout,
    set_learning_rates,
    train_only,
)
from paraclip.training.parts import parts_of
from paraclip.training.pictures import picture_keys
from paraclip.training.placebo import shuffled_paraphrases
from paraclip.training.processes import this_process
from paraclip.training.recipes import decided, resolved
from paraclip.training.run import Run, Task, arithmetic_of, identity_of, kept_random_state, start
from paraclip.training.schedule import learning_rate_share
from paraclip.training.state import notice
from paraclip.training.tokens import Integers
from paraclip.training.watchers import Watched, Watchers


def train(
    model: DualEncoder,
    triples: pa.Table,
    features: Tensor | None,
    config: TrainConfig,
    out: Path,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Fine-tune the text tower on triples; the image side stays bit for bit as it is.

    Args:
        model: the base; it is changed in place, and holds the last weights afterwards.
        triples: columns `caption`, `paraphrase_1`, `paraphrase_2`, `image_id`.
        features: `embed_pixels` rows float32 [N, F] of the triples' pictures, a row of NaN
            where there is none; or None where no triple has one (then L1 has nothing to say).
        config: how; with `config.control` L1 on the original captions only, as many steps.
        out: folder of checkpoints (`best.safetensors`, `last.safetensors`), logs and states.
        facts: JSON-able, kept in the checkpoints beside what is known anyway.

    Returns:
        The checkpoint that `config.choose` names.

    Raises:
        UserError: nothing to learn from, features of another model, another run in `out`, a
            loss that is no number, a full disk.

    Source: paper, section 3: L = L1 + L2 + L3.
    """
    check_options(config)
    return fit(task_of(model, triples, features, config, facts), out)


def task_of(
    model: DualEncoder,
    triples: pa.Table,
    features: Tensor | None,
    config: TrainConfig,
    facts: Mapping[str, Any] | None = None,
) -> Task:
    """What `train` trains, with its arguments; LoRA's matrices are in the model then.

    Raises:
        UserError: nothing to learn from, or features of another model.
    """
    config = resolved(config, model.architecture)
    objective = objective_of(config)
    texts = {name: triples[name].to_pylist() for name in ALL_TEXTS}
    if config.shuffle_paraphrases:
        texts = shuffled_paraphrases(texts, config.seed)
    keys, unfrozen = picture_keys(triples), config.image_learning_rate is not None
    examples = make_examples(
        model, texts, keys, None if unfrozen else features, objective.texts, config.micro_batch,
        triples[config.negatives].to_pylist() if objective.hard_negatives else None,
        triples["image"].to_pylist() if unfrozen else None,
    )  # fmt: skip
    if not examples.has_image.any() and not any(objective.weights[1:]):
        hint = "Give the folder of the pictures with --images."
        raise UserError("training rows", "no row has a picture, and L1 needs some", hint)
    generators = sorted({name for name in triples["generator"].to_pylist() if name})[:20]
    known = {"generators": generators, **(facts or {})}
    parts = parts_of(model, config)
    return Task(model, examples, objective, parts, config, known, describing(triples))


def describing(triples: pa.Table) -> Callable[[Integers], list[dict[str, Any]]]:
    """From row numbers to the rows of the table, for people."""
    return lambda rows: [{"row": int(row), **triples.slice(row, 1).to_pylist()[0]} for row in rows]


def fit(task: Task, out: Path) -> Path:
    """Train, or resume where a killed run stopped; the model is changed in place.

    Args:
        task: what, on what, towards what.
        out: folder of checkpoints, logs and states.

    Returns:
        The checkpoint that `config.choose` names. A finished run returns it at once.

    Raises:
        UserError: another run lies in `out`; the loss is no number; the disk is full.
    """
    config, model = task.config, task.model
    train_only(model, task.parts, config.freeze_temperature)
    set_dropout(task.parts, config.dropout)
    identity = identity_of(task)
    processes = this_process()
    processes.check_alike(identity)
    with locked(out) if processes.first else nullcontext():
        folder = open_run(out, identity, config.fresh) if processes.first else RunFolder(out)
        if processes.told_by_first(folder.finished()):
            notice(f"{out} is finished already; --fresh starts it over")
            recall(model, folder.last)
        else:
            fit_in(folder, task, identity)
    return folder.best if config.choose == "best" else folder.last


def fit_in(folder: RunFolder, task: Task, identity: dict[str, Any]) -> None:
    """Train in a folder that no other run writes to; frozen weights are proved to be unchanged."""
    config, model = task.config, task.model
    frozen = hash_tensors(frozen_tensors(model))
    with kept_random_state(model.device), arithmetic_of(config, model):
        run = start(task, identity, folder.states)
        run_steps(run, folder)
    model.eval()
    if hash_tensors(frozen_tensors(model)) != frozen:
        raise AssertionError("a frozen weight changed in training")
    if run.processes.first:
        finish(run, folder)
    if has_adapters(model):
        merge_adapters(model)


def recall(model: DualEncoder, last: Path) -> None:
    """Give the model the last weights of a run that is finished."""
    if has_adapters(model):
        merge_adapters(model)
    copy_weights(model, last)


def run_steps(run: Run, folder: RunFolder) -> None:
    """All steps that are still to be done, with logs, held-out loss and states."""
    config, total = run.task.config, run.total_steps
    if run.course.stops(config.patience):  # it was killed after it had stopped early
        return
    if run.step == 0:
        start_biases(run, next(row_batches(run.learn, config.batch_size, config.seed, 0, 1)))
    run.train_mode()
    with (
        Watchers(config.track if run.processes.first else (), watched(run, folder)) as watchers,
        bar("training", total, "step", run.step) as moving,
        closing(batches_ahead(run)) as batches,
    ):
        for batch in batches:
            figures = timed_step(run, batch, folder)
            if is_judged(config, run.step, run.epoch_steps, total):
                figures |= judge(run, folder)
            watchers.write(run.step, figures)
            stops = run.course.stops(config.patience)
            at_epoch_end = run.step % run.epoch_steps == 0
            is_kept = stops or at_epoch_end or run.step % config.save_every == 0
            if is_kept and run.processes.first:
                keep_state(run, folder)
            moving.set_postfix(loss=f"{figures['loss']:.3f}", refresh=False)
            moving.update()
            if stops:
                notice(f"stopped early after step {run.step}; step {run.best_step} was the best")
                break


def watched(run: Run, folder: RunFolder) -> Watched:
    """What the watchers are told about the run."""
    settings = {**asdict(run.task.config), "identity": run.identity}
    return Watched(folder.path, run.step, text_hash(json.dumps(run.identity)), settings)


def timed_step(run: Run, batch: Batch, folder: RunFolder) -> dict[str, float]:
    """One step with its speed and memory; where it goes wrong its batch is kept.

    `input_wait` is the share of its time in which it had to wait for its rows and pictures.

    Raises:
        UserError: the figures are no numbers, or have run away; it names what was kept.
    """
    began = time.perf_counter() - run.waited
    try:
        figures = take_step(run, batch)
    except WentWrong as found:
        raise kept_for_inspection(run, batch.numbers, folder.path, found) from found
    run.step += 1
    seconds = time.perf_counter() - began
    figures["triples_per_second"] = len(batch.numbers) / seconds
    figures["input_wait"] = run.waited / seconds
    return {**figures, "epoch": run.step / run.epoch_steps, **peak_memory(run.device)}


def take_step(run: Run, batch: Batch) -> dict[str, float]:
    """One batch: losses, gradients, AdamW. Returns the figures to log.

    Raises:
        WentWrong: the figures are no numbers, or have run away; no weight is changed then.
    """
    task, config = run.task, run.task.config
    share = learning_rate_share(run.step, run.total_steps, config.warmup)
    set_learning_rates(run.optimizer, share)
    losses = learn_from(run, batch)
    loss = weighted_sum(losses, task.objective)
    weights = run.weights.values()
    norm = get_total_norm([value.grad for value in weights if value.grad is not None])
    figures = {name: float(value) for name, value in losses.items()}
    figures |= {"loss": float(loss), "gradient_norm": float(norm)}
    figures["learning_rate"] = decided(config.learning_rate) * share
    chance = sum(task.objective.weights) * math.log(max(len(batch.numbers), 2))
    wrong = trouble(run.course, config, figures, chance)
    if wrong:
        raise WentWrong(wrong, figures)  # before clipping, which would spread what is no number
    clip_grads_with_norm_(weights, config.clip_norm, norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.temperatures.clamp()
    return {**figures, "logit_scale": float(task.model.logit_scale.detach())}


def judge(run: Run, folder: RunFolder) -> dict[str, float]:
    """How the vectors lie and the held-out losses; the checkpoint is kept at the lowest so far."""
    first = run.processes.first  # the others wait
    figures = geometry(run) if first else {}
    if not len(run.held_out):
        return figures
    losses = run.processes.told_by_first(held_out_losses(run) if first else None)
    better = losses["loss"] < run.best_loss
    run.course.judged(better)
    if better:
        run.best_loss, run.best_step = losses["loss"], run.step
        if first:
            write_checkpoint(run, folder.best)
    return figures | {f"held_out_{name}": value for name, value in losses.items()}
