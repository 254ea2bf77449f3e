"""A run: what it trains, what decides its weights, where it starts, what it leaves on disk."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from paraclip.data.images import pictures_hash
from paraclip.errors import UserError
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import provenance
from paraclip.training.batches import Examples, split_rows, steps_per_epoch
from paraclip.training.config import LoopOptions, RunSettings, hyperparameters
from paraclip.training.folder import (
    RunFolder,
    State,
    newest_state,
    notice,
    save_state,
    state_of_step,
)
from paraclip.training.losses.objective import Objective
from paraclip.training.losses.temperatures import LEARNING_RATE as TEMPERATURE_RATE
from paraclip.training.losses.temperatures import Temperatures
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
from paraclip.training.tokens import Integers

DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Task:
    """What is to be trained, on what, towards what.

    Args:
        model: changed in place.
        examples: all rows, the held-out ones among them.
        objective: which losses.
        parts: what is trained; everything else stays bit for bit as it is.
        options: hyperparameters.
        settings: how the run is saved and watched.
        facts: JSON-able, for the checkpoints: where the data came from.
        describe: what the rows of these numbers are, for people: ids and texts.
    """

    model: DualEncoder
    examples: Examples
    objective: Objective
    parts: tuple[Part, ...]
    options: LoopOptions
    settings: RunSettings = field(default_factory=RunSettings)
    facts: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Integers], list[dict[str, Any]]] | None = None

    @property
    def settings_by_name(self) -> dict[str, Any]:
        """Every option of the run, for checkpoints and trackers."""
        return asdict(self.settings) | asdict(self.options)


@dataclass
class Run:
    """A task under way.

    Args:
        task: what is trained.
        optimizer: of the trained parts.
        learn: int64, rows that are learned from.
        held_out: int64, rows that choose the best checkpoint.
        dtype: in which the towers multiply, or None for float32.
        identity: everything that decides the weights.
        temperatures: of the losses, where they are not the model's own.
        processes: that share each step.
        step: steps done.
        best_step: the step with the lowest held-out loss so far.
        best_loss: that loss.
        course: what decides whether it stops early.
        waited: seconds that the step under way has waited for its rows and pictures.
    """

    task: Task
    optimizer: AdamW
    learn: Integers
    held_out: Integers
    dtype: torch.dtype | None
    identity: dict[str, Any]
    temperatures: Temperatures
    processes: Processes = ALONE
    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    course: Course = field(default_factory=Course)
    waited: float = 0.0

    @property
    def epoch_steps(self) -> int:
        """Steps of one pass over the rows."""
        return steps_per_epoch(len(self.learn), self.task.options.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epoch_steps * self.task.options.epochs

    @property
    def device(self) -> torch.device:
        """Where the steps are computed."""
        return self.task.model.device

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name."""
        return trained(self.task.model, self.temperatures)

    def train_mode(self) -> None:
        """Dropout in the trained parts; the rest of the model stays as in use.

        The image tower, trained or not, keeps the statistics of its norms.
        """
        self.task.model.eval()
        for part in self.task.parts:
            if part.module is not self.task.model.image_tower:
                part.module.train()


def identity_of(task: Task) -> dict[str, Any]:
    """Everything that decides the weights of a run, hashed where it is large."""
    rows, model = task.examples, task.model
    data = {
        "tokens": torch.from_numpy(rows.tokens.flat),
        "offsets": torch.from_numpy(rows.tokens.offsets),
        "places": torch.from_numpy(rows.places),
        "images": torch.from_numpy(rows.image_keys),
        "texts": torch.from_numpy(rows.text_keys),
        "features": rows.features,
        "has_image": torch.from_numpy(rows.has_image),
    }
    if rows.negative is not None and rows.negative_keys is not None:
        data |= {
            "negative": torch.from_numpy(rows.negative),
            "negative_keys": torch.from_numpy(rows.negative_keys),
        }
    return {
        **hyperparameters(task.options),
        "pictures": rows.pictures and pictures_hash([name or "" for name in rows.pictures]),
        "precision": precision_of(task.options.precision, model.device),
        "architecture": model.architecture.as_dict(),
        "base": hash_tensors(model.state_dict()),
        "data": hash_tensors(data),
    }


def nothing_held_out(options: LoopOptions) -> None:
    """There are too few pictures to hold any out: say so.

    Raises:
        UserError: the run is to stop early by them.
    """
    what = "there are too few pictures to hold any out"
    if options.patience is not None:
        raise UserError("--patience", what, "Leave the option out, or raise --held-out.")
    notice(f"{what}; the last checkpoint is the best")


def kept_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Leave the caller's random state as it was."""
    devices = [device] if device.type == "cuda" else []
    return torch.random.fork_rng(devices=devices)  # type: ignore[no-any-return]


@contextmanager
def arithmetic_of(options: LoopOptions, model: DualEncoder) -> Iterator[None]:
    """TF32 and torch.compile where wanted, only as long as the run is under way.

    On a GPU also the deterministic kernels of those that have one, so that a resumed run takes
    the same steps as one that was never stopped; PyTorch warns of those that have none.
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
    """Compile something small, so that a missing compiler is reported before the first step.

    Raises:
        UserError: torch.compile does not work here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # as many kinds as there are compilers
        first = str(error).strip().partition("\n")[0]
        hint = "Install a C++ compiler (on a GPU, Triton), or leave the option out."
        raise UserError("--compile", f"torch.compile does not work here ({first})", hint) from error


def precision_of(precision: str, device: torch.device) -> str:
    """fp32 or bf16; "auto" asks the processor whether it multiplies bf16 natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if device.type == "cpu" and probe() else "fp32"


def start(task: Task, identity: dict[str, Any], states: Path) -> Run:
    """A run at its first step, or where its newest whole state left it.

    Raises:
        UserError: a batch would have fewer rows than there are processes.
    """
    options, rows, processes = task.options, task.examples, this_process()
    torch.manual_seed(options.seed)
    temperatures = Temperatures(task.model, task.objective)
    of_their_own = Part(temperatures, TEMPERATURE_RATE)
    weights = trained(task.model, temperatures)
    optimizer = make_optimizer(weights, (*task.parts, of_their_own), options)
    learn, held_out = split_rows(rows.image_keys, options.held_out, options.seed)
    if options.held_out and not len(held_out):
        nothing_held_out(options)
    dtype = DTYPES[identity["precision"]]
    run = Run(task, optimizer, learn, held_out, dtype, identity, temperatures, processes)
    if len(learn) // run.epoch_steps < processes.count:
        what = f"{len(learn)} rows in {run.epoch_steps} steps, {processes.count} processes"
        raise UserError("processes", what, "Start fewer, or raise --batch-size.")
    state = same_state(states, processes)
    if state is not None:
        tensors, place = state
        restore_training(weights, optimizer, tensors)
        run.step, run.best_step, run.best_loss = place["step"], place["best_step"], place["best"]
        run.course = Course.of_place(place)
        notice(f"resuming after step {run.step} of {run.total_steps}")
    return run


def same_state(states: Path, processes: Processes) -> State | None:
    """The newest whole state that the first process sees; the others read the same file."""
    state = newest_state(states) if processes.first else None
    step = processes.from_first(state and state[1]["step"])
    return state if state or step is None else state_of_step(states, step)


def write_checkpoint(run: Run, path: Path) -> None:
    """The whole model with everything that made it."""
    training = {
        "config": run.task.settings_by_name,
        "objective": asdict(run.task.objective),
        "identity": run.identity,
        "step": run.step,
        "held_out_loss": run.best_loss if path.stem == "best" else None,
        "facts": dict(run.task.facts),
    }
    save_model(plain_copy(run.task.model), path, provenance(training=training))


def keep_state(run: Run, folder: RunFolder) -> None:
    """Write the state that a killed run resumes from."""
    tensors = training_tensors(run.weights, run.optimizer)
    place = {"step": run.step, "best_step": run.best_step, "best": run.best_loss}
    place |= asdict(run.course)
    save_state(folder.states, run.step, tensors, place)


def finish(run: Run, folder: RunFolder) -> None:
    """Write the last checkpoint and the summary; without held-out rows the last is the best."""
    write_checkpoint(run, folder.last)
    if not run.best_step or not folder.best.exists():
        run.best_step = run.step
        write_checkpoint(run, folder.best)
    rows = run.task.examples
    folder.finish({
        "steps": run.step,
        "stopped_early": run.step < run.total_steps,
        "best_step": run.best_step,
        "best_held_out_loss": run.best_loss if math.isfinite(run.best_loss) else None,
        "rows": len(rows),
        "rows_held_out": len(run.held_out),
        "rows_with_image": int(rows.has_image.sum()),
        "texts_cut_to_context": rows.tokens.truncated,
        "identity": run.identity,
    })  # fmt: skip
