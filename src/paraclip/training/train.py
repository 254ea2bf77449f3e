"""The training loop, shared by tuning and the control: read `_run_steps` first.

A step processes only text. Shape suffixes: B rows, b of which belong to this process; T texts of a
row; K rows have a picture, k of them in this process, of F features; vectors have width D.

    token chunks --text tower--> texts [T * b, D] ---+
    cached features [k, F] --projection--> [k, D] ---+--> losses --> gradients --> AdamW

The image tower is not run unless it is trained: its features are rows of a matrix (`prepare`).
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from paraclip.data.captions import label
from paraclip.data.images import pictures_hash
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.files import locked
from paraclip.models.checkpoint import copy_weights
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import read_pictures
from paraclip.models.sources import sentence_files
from paraclip.models.tensors import hash_tensors
from paraclip.progress import bar
from paraclip.training import checkpoint
from paraclip.training.choice import (
    RATES,
    SHORT,
    SMALLER,
    SceneJudge,
    kept_weights,
    make_judge,
    nearest_to_judge,
)
from paraclip.training.config import (
    LEARNING_RATE,
    SENTENCES,
    WEIGHT_DECAY,
    WEIGHT_DECAYS,
    TrainOptions,
    hyperparameters,
    resolved,
)
from paraclip.training.data import Batch, Examples, TrainingData, make_examples
from paraclip.training.distributed import ALONE, Processes, this_process
from paraclip.training.gradcache import count_kept, encode_cached, encode_plain, token_limit
from paraclip.training.log import MetricsLog, OnStep, find_divergence, notice, peak_memory
from paraclip.training.losses import Objective, Vectors, make_objective
from paraclip.training.optimizer import (
    Parts,
    clamp_scale,
    frozen_tensors,
    learning_rate_share,
    make_optimizer,
    set_dropout,
    set_learning_rates,
    train_mode,
    train_only,
)
from paraclip.training.ranking import Ranking, bank_of

CLIP_NORM = 1.0
_FEW_STEPS = 50
_SAVE_SECONDS = 300.0  # a state takes three times the memory of the trained weights
DTYPES = {"fp32": None, "bf16": torch.bfloat16}
_PICTURES_AT_ONCE = 32
_PLAIN_PICTURES = 256
"""Largest batch of pictures whose graph is kept, if the image encoder is trained: 5 GB in that of
ViT-B/32."""


def train(
    data: TrainingData,
    options: TrainOptions,
    out: Path,
    *,
    fresh: bool = False,
    save_seconds: float = _SAVE_SECONDS,
    on_step: OnStep | None = None,
) -> Path:
    """Fine-tune the text tower on triples; the image tower only with an `image_learning_rate`.

    Args:
        data: the base and the rows; afterwards, the base has the weights of the last step.
        options: hyperparameters; with `control`, L1 on the original captions only, for the same
            number of steps.
        out: folder of the checkpoint (`last.safetensors`), of the same merged with base
            (`merged.safetensors`, unless `control`), log and states; a stopped run resumes.
        fresh: whether to start from scratch in a folder that holds another run.
        save_seconds: time between two states from which a stopped run resumes.
        on_step: called in the first process after each step, with its line of `metrics.jsonl`.

    Returns:
        The checkpoint.

    Raises:
        UserError: there is nothing to learn from, the features are from another model, `out`
            contains another run or files of something else, the loss is not a number, or the disk
            is full.

    Source: paper, section 3: L = L1 + L2 + L3.
    """
    options = resolved(options, data.model.architecture.kind)
    plan, judge = plan_training(data, options), None
    rate, done = options.learning_rate, False
    if not fresh:
        there = checkpoint.RunFolder(out)
        rate, done = this_process().from_first(
            [rate or _recorded_rate(there), bool(there.finished())]
        )
    if rate is None or not done:  # a finished run has been judged
        judge = _judge_of(data, plan)
    if rate is None:
        assert judge is not None  # of the loss that finds its rate
        rate = _choose_rate(data, plan, judge)
    plan = plan.with_rate(rate)
    facts = _facts_of(data, plan.objective)
    return fit(data, plan, facts, out, fresh, save_seconds, judge, on_step)


def check_training(options: TrainOptions, out: Path, fresh: bool, model: DualEncoder) -> None:
    """Raise UserError, before long work, if a run of `train` from a base could not be written, or
    lacks MiniLM, which S needs."""
    if SENTENCES in options.losses:
        sentence_files()
    if this_process().first:
        known = hyperparameters(resolved(options, model.architecture.kind))
        known["precision"] = precision_of(options.precision, model.device)
        if known["learning_rate"] is None:  # is found later, or is that of the run there
            del known["learning_rate"]
        checkpoint.check_run(checkpoint.RunFolder(out), model, known, fresh)


class Plan(NamedTuple):
    """What is learned, from what, and by which parts."""

    examples: Examples  # the rows of the run as numbers
    objective: Objective  # the losses
    parts: Parts  # the trained modules with their learning rates; all other weights stay

    def with_rate(self, rate: float, steps: int | None = None) -> "Plan":
        """The same at another learning rate of the text tower, for so many steps at most."""
        options = replace(self.examples.options, learning_rate=rate)
        examples = replace(self.examples, options=options, most_steps=steps)
        (tower, _), *others = self.parts
        return self._replace(examples=examples, parts=[(tower, rate), *others])


def plan_training(data: TrainingData, options: TrainOptions) -> Plan:
    """What `train` does with resolved options; raises UserError if no row has a picture and L1
    needs some, and like `make_examples`."""
    model, objective = data.model, make_objective(options)
    unfrozen = options.image_learning_rate is not None
    examples = make_examples(data, objective.texts, options, pictures=unfrozen)
    if unknown := examples.tokens.unknown:
        what = "are mostly unknown to the tokenizer of this base, which cannot learn them"
        notice(f"{len(unknown):,} texts {what}; the first is {label(unknown[0])}")
    need_pictures = all(loss.reads_pictures for loss in objective.losses.values())
    if not examples.has_image.any() and (unfrozen or need_pictures):
        hint = "Give the folder of the pictures with --images."
        raise UserError("training rows", "no row has a picture, and L1 needs some", hint)
    for loss in objective.losses.values():
        loss.prepare(data, examples)
    made = [loss.constants for loss in objective.losses.values()]
    examples = replace(examples, constants=made)
    parts = [(model.text_tower, options.learning_rate or LEARNING_RATE)]  # or what is found
    if options.image_learning_rate is not None:
        parts.append((model.image_tower, options.image_learning_rate))
    return Plan(examples, objective, parts)


def _judge_of(data: TrainingData, plan: Plan) -> SceneJudge | None:
    """What measures a run: the teachers of R or, without it, the base over the bank or the rows'
    pictures; None for fewer than two, for a control, and if the image tower is trained, which
    leaves these vectors behind."""
    for loss in plan.objective.losses.values():
        if isinstance(loss, Ranking):
            return make_judge(data.model, loss.bank, loss.rankers)
    if plan.objective.is_control or plan.examples.pictures is not None:
        return None
    bank = bank_of(data, plan.examples)
    return make_judge(data.model, bank.vectors) if len(bank.vectors) > 1 else None


def _recorded_rate(folder: checkpoint.RunFolder) -> float | None:
    """The learning rate of the run that is in a folder already, which keeps it."""
    if folder.identity_file.is_file():
        match read_json_object(folder.identity_file, checkpoint.START_OVER):
            case {"identity": {"learning_rate": float(rate)}}:
                return rate
    return None  # of another record, `fit` says what is wrong


def _choose_rate(data: TrainingData, plan: Plan, judge: SceneJudge) -> float:
    """The learning rate at which a short run from the base comes nearest to the judge.

    Raises UserError if all short runs diverge.
    """
    _check_rows(plan.examples)
    weights, losses = train_only(data.model, plan.parts), dict[float, float]()
    set_dropout(plan.parts, plan.examples.options.dropout)
    precision = precision_of(plan.examples.options.precision, data.model.device)
    for rate in RATES:
        with kept_weights(weights), TemporaryDirectory() as folder:
            short = checkpoint.RunFolder(Path(folder), {"identity": {"precision": precision}})
            try:
                with _reproducible(data.model.device):
                    _run_steps(data, plan.with_rate(rate, SHORT), short, math.inf)
            except checkpoint.Diverged as error:  # as a larger rate would
                if not losses:  # the folder of which its hint speaks is not kept
                    raise UserError(error.where, error.what, SMALLER) from error
                break
            losses[rate] = this_process().from_first(judge.loss(data.model))
            notice(f"a short run at the learning rate {rate:g}: {losses[rate]:.3f} from the judge")
    return nearest_to_judge(losses)


def _check_rows(examples: Examples) -> None:
    """Raise UserError if a step has fewer rows than there are processes, which each need one."""
    count = this_process().count
    if len(examples) // examples.epoch_steps < count:
        what = f"{len(examples)} rows in {examples.epoch_steps} steps, {count} processes"
        raise UserError("processes", what, "Start fewer, or raise --batch-size.")


def fit(
    data: TrainingData,
    plan: Plan,
    facts: Mapping[str, Any],
    out: Path,
    fresh: bool = False,
    save_seconds: float = _SAVE_SECONDS,
    judge: SceneJudge | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Train, or resume a stopped run; a finished one gives the model its last weights at once.

    Args:
        data: the model and its rows, which are kept if a step fails.
        plan: rows, losses and trained parts; its hyperparameters have a learning rate.
        facts: for the checkpoint.
        out: see `train`, as for `fresh`, `save_seconds` and `on_step`.
        judge: what chooses the share of tuned to use; None: half of tuned is merged.
    """
    model, processes, examples = data.model, this_process(), plan.examples
    options = examples.options
    train_only(model, plan.parts)
    set_dropout(plan.parts, options.dropout)
    identity = _identify_run(model, plan)
    header = {
        "config": asdict(options), "objective": plan.objective.facts(), "identity": identity,
        "facts": dict(facts),
    }  # fmt: skip
    processes.check_alike(identity)
    _check_rows(examples)
    folder = checkpoint.RunFolder(out, header)
    with locked(out) if processes.first else nullcontext():
        if processes.first:
            checkpoint.open_run(folder, identity, fresh)
        if processes.from_first(folder.finished()):
            notice(f"{out} is finished already; --fresh starts it over")
            if processes.first:
                folder.remove(*checkpoint.STATES)  # a kill after the summary left them
            copy_weights(model, folder.last)
        else:
            stay = frozen_tensors(model)
            # Shares what stays as it is.
            base = deepcopy(model, {id(one): one for one in stay.values()})
            frozen = hash_tensors(stay)
            _warn_of_few_steps(examples)
            with _reproducible(model.device):
                progress = _run_steps(data, plan, folder, save_seconds, on_step)
            model.eval()
            if hash_tensors(frozen_tensors(model)) != frozen:
                raise AssertionError("a frozen weight changed in training")
            if processes.first:
                mixed = None if plan.objective.is_control else base
                checkpoint.finish_run(folder, mixed, model, progress, examples, judge)
        if processes.first and data.problems.count:
            data.problems.write(folder.problems_file, folder.files.kind)
            notice(f"{data.problems.summary()}\nListed in {folder.problems_file}")
    return folder.last


def _warn_of_few_steps(examples: Examples) -> None:
    """Say so if a run takes too few steps to change the model, and how many epochs would do."""
    if examples.steps < _FEW_STEPS:
        epochs = math.ceil(_FEW_STEPS / examples.epoch_steps)
        steps = f"{examples.steps} step{'s' * (examples.steps > 1)}"
        what = f"--epochs {epochs} would make {epochs * examples.epoch_steps}"
        notice(f"{steps} may leave the model nearly as it is: {what}, or use more rows")


def _run_steps(
    data: TrainingData,
    plan: Plan,
    folder: checkpoint.RunFolder,
    save_seconds: float,
    on_step: OnStep | None = None,
) -> checkpoint.Progress:
    """Take all remaining steps: forward, losses, backward, clip, step, log, save."""
    model, processes = data.model, this_process()
    examples, objective, parts = plan
    options = examples.options
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    decay = WEIGHT_DECAYS.get(model.architecture.kind, WEIGHT_DECAY)
    assert options.learning_rate is not None  # resolved
    optimizer = make_optimizer(weights, parts, options.learning_rate, decay)
    optimizer.zero_grad()  # a run that diverged left its last gradients
    scale, start_scale = model.logit_scale, float(model.logit_scale.detach())
    progress = checkpoint.resume(folder.states, weights, optimizer, processes)
    encode = partial(
        encode_batch, model, names=examples.names, micro_batch=options.micro_batch,
        dtype=DTYPES[folder.header["identity"]["precision"]],
    )  # fmt: skip
    train_mode(model, parts)
    saved, began = time.monotonic(), progress.step
    with (
        MetricsLog(folder.path, progress.step, processes.first, on_step) as log,
        bar("training", examples.steps, "step", progress.step) as moving,
        closing(examples.batches_from(progress.step, model.device)) as batches,
    ):
        for step, batch in enumerate(log.timed(batches), progress.step + 1):
            share = learning_rate_share(step - 1, examples.steps)
            set_learning_rates(optimizer, share)

            # Each process encodes its own rows, gathers the vectors of the others, and computes its
            # part of every loss and gradient; the parts add up.
            vectors = encode(batch, processes=processes, seed=(options.seed, step - 1))
            if step == began + 1 and processes.count > 1:
                objective.check_parts(vectors, processes.count)
            losses = objective.values(vectors, processes.share)
            losses["loss"] = objective.total(losses)
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            losses = {name: loss.detach() for name, loss in losses.items()}
            gradients = gradients_of(weights)
            processes.add_up([*losses.values(), *gradients])

            figures = {name: float(loss) for name, loss in losses.items()}
            figures["gradient_norm"] = float(norm := get_total_norm(gradients))
            if problem := find_divergence(
                figures, progress.first_loss, objective.weights, batch.size
            ):
                # Before clipping, which would spread a NaN; no weight has changed.
                raise checkpoint.save_failed_step(
                    folder, step, problem, figures, data, examples, batch
                )
            clip_grads_with_norm_(weights.values(), CLIP_NORM, norm)
            optimizer.step()
            optimizer.zero_grad()
            clamp_scale(scale, start_scale)

            first = figures["loss"] if progress.first_loss is None else progress.first_loss
            progress = replace(progress, step=step, first_loss=first)
            figures |= {
                "learning_rate": optimizer.defaults["lr"] * share,
                "epoch": step / examples.epoch_steps,
                "logit_scale": float(scale.detach()), **peak_memory(model.device),
            }  # fmt: skip
            log.write(step, figures, batch.size)
            if processes.first and time.monotonic() - saved >= save_seconds:
                checkpoint.save_state(folder.states, weights, optimizer, progress)
                saved = time.monotonic()
            moving.set_postfix(loss=f"{figures['loss']:.3f}", refresh=False)
            moving.update()
    return progress


def encode_batch(
    model: DualEncoder,
    batch: Batch,
    names: Sequence[str],
    micro_batch: int | None = None,
    dtype: torch.dtype | None = None,
    processes: Processes = ALONE,
    seed: tuple[int, ...] = (),
) -> Vectors:
    """Encode this process's part of a batch, and gather the rest from the other processes.

    Args:
        model: model; under `torch.no_grad` no graph is kept.
        batch: part of this process.
        names: names of the T texts of its rows.
        micro_batch: maximum number of texts encoded together with a graph; None: by memory.
        dtype: dtype of the towers' products, or None for float32.
        processes: processes with the other parts.
        seed: numbers that are unique to this step of the run, for dropout.
    """
    context = partial(_arithmetic, model.device.type, dtype)
    text_seed, image_seed = (*seed, processes.rank, 0), (*seed, processes.rank, 1)
    limit = token_limit(model.text_tower, model.device)
    kept = count_kept(batch.chunks, micro_batch, limit, model.computed_length)
    texts = encode_cached(model.encode_tokens, batch.chunks, text_seed, kept, context)
    if batch.pictures is None:
        images_kD = encode_plain(partial(_project, model), [batch.features], image_seed)
    else:
        at_once = min(_PICTURES_AT_ONCE, micro_batch or _PICTURES_AT_ONCE)
        starts = range(0, max(1, len(batch.pictures)), at_once)  # one part at least, perhaps empty
        parts = [batch.pictures[start : start + at_once] for start in starts]
        kept = len(parts) if len(batch.pictures) <= (micro_batch or _PLAIN_PICTURES) else 0
        images_kD = encode_cached(
            partial(_encode_pictures, model), parts, image_seed, kept, context
        )
    # One gathering for all texts: a row's texts stand side by side.
    texts_TbD = texts.index_select(0, batch.restore).view(len(names), -1, texts.shape[1])
    texts_BTD = processes.gather(texts_TbD.transpose(0, 1).flatten(1), batch.text_sizes)
    texts_BD = texts_BTD.chunk(len(names), dim=1)
    images_KD = processes.gather(images_kD, batch.image_sizes)
    by_name = dict(zip(names, texts_BD, strict=True))
    return Vectors(images_KD, by_name, batch.rows, model.logit_scale, batch.constants)


def _project(model: DualEncoder, features: Tensor) -> Tensor:
    """Unit image vectors [k, D] of frozen features [k, F]; F may be 0 if k is."""
    if len(features):
        return model.project_images(features)
    return model.logit_scale.new_zeros(0, model.architecture.embed_dim)


def _encode_pictures(model: DualEncoder, names: list[str]) -> Tensor:
    """Unit image vectors [k, D] of pictures, which are first decoded."""
    pixels = []
    for _, found in read_pictures(model, names):
        if isinstance(found, UserError):
            raise found
        pixels.append(found)
    if not pixels:
        return model.logit_scale.new_zeros(0, model.architecture.embed_dim)
    stacked = torch.stack(pixels).to(model.device, model.logit_scale.dtype)
    return model.project_images(model.embed_pixels(stacked))


@contextmanager
def _arithmetic(kind: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Use half precision if selected.

    On a processor, compute attention as plain matrix products. Fused attention saves memory for the
    length-by-length matrix, which is small at 15 tokens, and its backward pass took a third of the
    whole step there.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(kind, dtype, enabled=dtype is not None))
        if kind == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def gradients_of(weights: Mapping[str, nn.Parameter]) -> list[Tensor]:
    """The gradient of every weight; zero for one that was not used, as with several processes."""
    for weight in weights.values():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    return [weight.grad for weight in weights.values() if weight.grad is not None]


def _identify_run(model: DualEncoder, plan: Plan) -> dict[str, Any]:
    """Everything that determines the weights of a run; large parts as hashes."""
    examples = plan.examples
    arrays = {
        "tokens": examples.tokens.flat, "offsets": examples.tokens.offsets,
        "places": examples.text_rows, "images": examples.image_keys, "texts": examples.text_keys,
        "has_image": examples.has_image,
    }  # fmt: skip
    data = {name: torch.from_numpy(part) for name, part in arrays.items()}
    return {
        **hyperparameters(examples.options),
        "pictures": examples.pictures and pictures_hash([name or "" for name in examples.pictures]),
        "precision": precision_of(examples.options.precision, model.device),
        "architecture": model.architecture.as_dict(),
        "base": hash_tensors(model.state_dict()),
        "data": hash_tensors({**data, "features": examples.features}),
        "prepared": {name: loss.identity() for name, loss in plan.objective.losses.items()},
    }


def precision_of(precision: str, device: torch.device) -> str:
    """fp32 or bf16; "auto" selects bf16 if the processor multiplies it natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if device.type == "cpu" and probe() else "fp32"


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Restore the caller's random state, and on a GPU use deterministic kernels where they exist.

    A resumed run then takes the same steps as an uninterrupted one; PyTorch warns about operations
    without such a kernel.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            if device.type == "cuda":
                torch.use_deterministic_algorithms(True, warn_only=True)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warns)


def _facts_of(data: TrainingData, objective: Objective) -> dict[str, Any]:
    """Origin of base and rows; without the generator of paraphrases that no loss reads."""
    if not objective.is_control:
        columns = data.triples.column_names
        named = set(data.triples["generator"].to_pylist() if "generator" in columns else ())
        return {"generators": sorted(named - {None, ""})[:20], **data.facts}
    facts = {"generators": [], **data.facts}
    return facts | {
        name: _without_terms(facts[name]) for name in {"triples", "starter"} & facts.keys()
    }


def _without_terms(facts: Any) -> Any:
    """The origin of triples without the generator of their paraphrases and its terms."""
    if not isinstance(facts, Mapping):
        return facts
    used = (name for name in facts if name not in ("generator", "licence"))
    return {name: _without_terms(facts[name]) for name in used}
