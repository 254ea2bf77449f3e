"""A run: what it trains, what determines its weights, where it starts, which files it writes."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from paraclip.data.images import pictures_hash
from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import provenance
from paraclip.training.config import LoopOptions, RunSettings, hyperparameters
from paraclip.training.examples import Examples, split_rows, steps_per_epoch
from paraclip.training.folder import (
    FORMAT,
    RunFolder,
    State,
    newest_state,
    notice,
    save_state,
    state_of_step,
    write_tensors,
)
from paraclip.training.losses.contrast import Integers
from paraclip.training.losses.objective import TEMPERATURE_RATE, Objective, Temperatures
from paraclip.training.metrics import Course
from paraclip.training.optimizer import (
    Part,
    make_optimizer,
    plain_copy,
    restore_training,
    trained,
    training_tensors,
)
from paraclip.training.processes import ALONE, Processes, this_process

DTYPES = {"fp32": None, "bf16": torch.bfloat16}
HINT = "Lower --learning-rate or use --precision fp32; look at {file}."


class StepFailed(Exception):
    """A step with a non-finite value or a diverged loss; it changed no weights.

    Args:
        what: the failure, as a clause.
        figures: values of the step, by name.
    """

    def __init__(self, what: str, figures: Mapping[str, float]) -> None:
        super().__init__(what)
        self.what, self.figures = what, dict(figures)


@dataclass
class Task:
    """The model to train, its data and its objective."""

    model: DualEncoder  # changed in place
    examples: Examples  # all rows, including the held-out ones
    objective: Objective  # the losses
    parts: tuple[Part, ...]  # trained parts; everything else does not change by a bit
    options: LoopOptions  # hyperparameters
    settings: RunSettings = field(default_factory=RunSettings)  # how it is saved and monitored
    # JSON-serialisable facts for the checkpoints: origin of the data
    facts: Mapping[str, Any] = field(default_factory=dict)
    # returns human-readable rows, ids and texts, for row numbers
    describe: Callable[[Integers], list[dict[str, Any]]] | None = None

    @property
    def settings_by_name(self) -> dict[str, Any]:
        """Every option of the run, for checkpoints and trackers."""
        return asdict(self.settings) | asdict(self.options)


@dataclass(kw_only=True)
class Run(Task):
    """A task in progress."""

    optimizer: AdamW  # optimizer of the trained parts
    learn: Integers  # int64, training rows
    held_out: Integers  # int64, rows that determine the best checkpoint
    dtype: torch.dtype | None  # dtype of the towers' products, or None for float32
    identity: dict[str, Any]  # everything that determines the weights
    temperatures: Temperatures  # temperatures of the losses that do not use the model's own
    processes: Processes = ALONE  # processes that share each step
    step: int = 0  # number of completed steps
    best_step: int = 0  # step with the lowest held-out loss so far
    best_loss: float = math.inf  # held-out loss at that step
    course: Course = field(default_factory=Course)  # state for divergence and early stopping
    waited: float = 0.0  # seconds that the current step has waited for its rows and pictures

    @property
    def epoch_steps(self) -> int:
        """Number of steps per epoch."""
        return steps_per_epoch(len(self.learn), self.options.batch_size)

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.epoch_steps * self.options.epochs

    @property
    def device(self) -> torch.device:
        """Device of the steps."""
        return self.model.device

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """All trained weights, by name."""
        return trained(self.model, self.temperatures)

    def train_mode(self) -> None:
        """Enable dropout in the trained parts; the rest of the model stays in evaluation mode.

        The image tower, trained or not, keeps the statistics of its norms.
        """
        self.model.eval()
        for part in self.parts:
            if part.module is not self.model.image_tower:
                part.module.train()


def identity_of(task: Task) -> dict[str, Any]:
    """Everything that determines the weights of a run; large parts as hashes."""
    rows, model = task.examples, task.model
    arrays = {
        "tokens": rows.tokens.flat, "offsets": rows.tokens.offsets, "places": rows.text_rows,
        "images": rows.image_keys, "texts": rows.text_keys, "has_image": rows.has_image,
        "negative": rows.negative, "negative_keys": rows.negative_keys,
    }  # fmt: skip
    data = {name: torch.from_numpy(part) for name, part in arrays.items() if part is not None}
    return {
        **hyperparameters(task.options),
        "pictures": rows.pictures and pictures_hash([name or "" for name in rows.pictures]),
        "precision": precision_of(task.options.precision, model.device),
        "architecture": model.architecture.as_dict(),
        "base": hash_tensors(model.state_dict()),
        "data": hash_tensors({**data, "features": rows.features}),
    }


def precision_of(precision: str, device: torch.device) -> str:
    """fp32 or bf16; "auto" selects bf16 if the processor multiplies it natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if device.type == "cpu" and probe() else "fp32"


def kept_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Restore the caller's random state at the end of the block."""
    devices = [device] if device.type == "cuda" else []
    return torch.random.fork_rng(devices=devices)  # type: ignore[no-any-return]


@contextmanager
def arithmetic_of(options: LoopOptions, model: DualEncoder) -> Iterator[None]:
    """Enable TF32 and torch.compile if selected, for the duration of the run.

    On a GPU, deterministic kernels are also enabled where they exist, so that a resumed run takes
    the same steps as an uninterrupted one; PyTorch warns about operations without one.
    """
    before = torch.get_float32_matmul_precision()
    strict = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if model.device.type == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
        if options.tf32:
            torch.set_float32_matmul_precision("high")
        if options.compile:
            check_compiler(model.device)
            model.text_tower.compile(dynamic=True)
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        model.text_tower._compiled_call_impl = None


def check_compiler(device: torch.device) -> None:
    """Compile a small function, so that a missing compiler is reported before the first step."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # each compiler raises its own types
        first = str(error).strip().partition("\n")[0]
        hint = "Install a C++ compiler (on a GPU, Triton), or leave the option out."
        raise UserError("--compile", f"torch.compile does not work here ({first})", hint) from error


def start(task: Task, identity: dict[str, Any], states: Path) -> Run:
    """A run at its first step, or resumed from its newest complete state.

    Raises:
        UserError: a batch would have fewer rows than there are processes, or early stopping is
            selected and no picture can be held out.
    """
    torch.manual_seed(task.options.seed)
    temperatures = Temperatures(task.model, task.objective)
    weights = trained(task.model, temperatures)
    parts = (*task.parts, Part(temperatures, TEMPERATURE_RATE))
    learn, held_out = split_rows(task.examples.image_keys, task.options.held_out, task.options.seed)
    if task.options.held_out and not len(held_out):
        nothing_held_out(task.options)
    run = Run(
        **vars(task), optimizer=make_optimizer(weights, parts, task.options), learn=learn,
        held_out=held_out, dtype=DTYPES[identity["precision"]], identity=identity,
        temperatures=temperatures, processes=this_process(),
    )  # fmt: skip
    if len(learn) // run.epoch_steps < run.processes.count:
        what = f"{len(learn)} rows in {run.epoch_steps} steps, {run.processes.count} processes"
        raise UserError("processes", what, "Start fewer, or raise --batch-size.")
    state = same_state(states, run.processes)
    if state is not None:
        tensors, position = state
        restore_training(weights, run.optimizer, tensors)
        run.step, run.best_step = position["step"], position["best_step"]
        run.best_loss, run.course = position["best"], Course.of_position(position)
        notice(f"resuming after step {run.step} of {run.total_steps}")
    return run


def nothing_held_out(options: LoopOptions) -> None:
    """Handle too few pictures to hold any out: report it, or refuse early stopping."""
    what = "there are too few pictures to hold any out"
    if options.patience is not None:
        raise UserError("--patience", what, "Leave the option out, or raise --held-out.")
    notice(f"{what}; the last checkpoint is the best")


def same_state(states: Path, processes: Processes) -> State | None:
    """The newest complete state that the first process finds; the others read the same file."""
    state = newest_state(states) if processes.first else None
    step = processes.from_first(state and state[1]["step"])
    return state if state or step is None else state_of_step(states, step)


def keep_state(run: Run, folder: RunFolder) -> None:
    """Write a state from which a killed run can resume."""
    tensors = training_tensors(run.weights, run.optimizer)
    position = {"step": run.step, "best_step": run.best_step, "best": run.best_loss}
    save_state(folder.states, run.step, tensors, position | asdict(run.course))


def write_checkpoint(run: Run, path: Path) -> None:
    """Write the whole model with its provenance."""
    is_judged = path.stem == "best" and math.isfinite(run.best_loss)
    training = {
        "config": run.settings_by_name,
        "objective": asdict(run.objective),
        "identity": run.identity,
        "step": run.step,
        "held_out_loss": run.best_loss if is_judged else None,
        "facts": dict(run.facts),
    }
    # Checked when the run began; an edit of the card since then must not stop it.
    save_model(plain_copy(run.model), path, provenance(training=training), force=True)


def finish(run: Run, folder: RunFolder) -> None:
    """Write the last checkpoint and the summary; without held-out rows, the last is the best."""
    write_checkpoint(run, folder.last)
    if not run.best_step or not folder.best.exists():
        run.best_step = run.step
        write_checkpoint(run, folder.best)
    folder.finish({
        "steps": run.step,
        "stopped_early": run.step < run.total_steps,
        "best_step": run.best_step,
        "best_held_out_loss": run.best_loss if math.isfinite(run.best_loss) else None,
        "rows": len(run.examples),
        "rows_held_out": len(run.held_out),
        "rows_with_image": int(run.examples.has_image.sum()),
        "texts_cut_to_context": run.examples.tokens.truncated,
        "identity": run.identity,
    })  # fmt: skip


def keep_failed_step(run: Run, rows: Integers, folder: Path, failure: StepFailed) -> UserError:
    """Save the batch of a failed step, and return an error that names the file.

    `inspect/step-N.json` holds the rows [B] with their ids and texts, the hash of the weights, the
    values of the step, and the names of non-finite weights and gradients. `step-N.safetensors` in
    the same folder holds the token ids, features and rows. The first process writes them.
    """
    step = run.step + 1
    path = folder / "inspect" / f"step-{step}.json"
    record = {
        "step": step,
        "what": failure.what,
        "figures": {name: repr(value) for name, value in failure.figures.items()},
        "weights": hash_tensors(run.model.state_dict()),
        "not_finite": not_finite(run.model),
        "rows": run.describe(rows) if run.describe else [{"row": int(row)} for row in rows],
    }
    if run.processes.first:
        batch = run.examples.batch(rows)
        tensors = {f"tokens.{index}": chunk for index, chunk in enumerate(batch.chunks)}
        tensors |= {"rows": torch.from_numpy(rows), "restore": batch.restore}
        tensors["features"] = batch.features
        write_tensors(path.with_suffix(".safetensors"), tensors, {"step": step})
        facts: dict[str, Any] = {
            "format": FORMAT,
            **provenance(identity=run.identity, inspection=record),
        }
        write_text(path, json.dumps(facts, indent=1, ensure_ascii=False, default=str) + "\n")
    run.processes.wait()  # a process that exits stops the others, even during a write
    return UserError(f"step {step}", failure.what, HINT.format(file=path))


def not_finite(model: nn.Module) -> dict[str, list[str]]:
    """Return the names of trained weights, and of gradients, that contain NaN or infinity."""
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    gradients = {name: value.grad for name, value in weights.items()}

    def broken(tensors: Mapping[str, Tensor | None]) -> list[str]:
        named = ((name, value) for name, value in tensors.items() if value is not None)
        return [name for name, value in named if not bool(torch.isfinite(value).all())]

    return {"weights": broken(weights), "gradients": broken(gradients)}
