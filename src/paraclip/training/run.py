"""A run: what it trains, what decides its weights, where it starts, what it leaves on disk."""

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
    """What is to be trained, on what, towards what."""

    model: DualEncoder  # changed in place
    examples: Examples  # all rows, the held-out ones among them
    objective: Objective  # which losses
    parts: tuple[Part, ...]  # what is trained; everything else stays bit for bit as it is
    options: LoopOptions  # hyperparameters
    settings: RunSettings = field(default_factory=RunSettings)  # how the run is saved and watched
    # JSON-able, for the checkpoints: where the data came from
    facts: Mapping[str, Any] = field(default_factory=dict)
    # what the rows of these numbers are, for people: ids and texts
    describe: Callable[[Integers], list[dict[str, Any]]] | None = None

    @property
    def settings_by_name(self) -> dict[str, Any]:
        """Every option of the run, for checkpoints and trackers."""
        return asdict(self.settings) | asdict(self.options)


@dataclass(kw_only=True)
class Run(Task):
    """A task under way."""

    optimizer: AdamW  # optimizer of the trained parts
    learn: Integers  # int64, rows that are learned from
    held_out: Integers  # int64, rows that choose the best checkpoint
    dtype: torch.dtype | None  # in which the towers multiply, or None for float32
    identity: dict[str, Any]  # everything that decides the weights
    temperatures: Temperatures  # temperatures of the losses, where they are not the model's own
    processes: Processes = ALONE  # that share each step
    step: int = 0  # steps done
    best_step: int = 0  # the step with the lowest held-out loss so far
    best_loss: float = math.inf  # that loss
    course: Course = field(default_factory=Course)  # what decides whether it stops early
    waited: float = 0.0  # seconds that the step under way has waited for its rows and pictures

    @property
    def epoch_steps(self) -> int:
        """Steps of one pass over the rows."""
        return steps_per_epoch(len(self.learn), self.options.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epoch_steps * self.options.epochs

    @property
    def device(self) -> torch.device:
        """Where the steps are computed."""
        return self.model.device

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name."""
        return trained(self.model, self.temperatures)

    def train_mode(self) -> None:
        """Dropout in the trained parts; the rest of the model stays as in use.

        The image tower, trained or not, keeps the statistics of its norms.
        """
        self.model.eval()
        for part in self.parts:
            if part.module is not self.model.image_tower:
                part.module.train()


def identity_of(task: Task) -> dict[str, Any]:
    """Everything that decides the weights of a run, hashed where it is large."""
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
    """fp32 or bf16; "auto" asks the processor whether it multiplies bf16 natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if device.type == "cpu" and probe() else "fp32"


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
    """Compile something small, so that a missing compiler is reported before the first step."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # as many kinds as there are compilers
        first = str(error).strip().partition("\n")[0]
        hint = "Install a C++ compiler (on a GPU, Triton), or leave the option out."
        raise UserError("--compile", f"torch.compile does not work here ({first})", hint) from error


def start(task: Task, identity: dict[str, Any], states: Path) -> Run:
    """A run at its first step, or where its newest whole state left it.

    Raises:
        UserError: a batch would have fewer rows than there are processes, or no picture can be
            held out where the run is to stop early by them.
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
    """There are too few pictures to hold any out: say so, or refuse to stop early by them."""
    what = "there are too few pictures to hold any out"
    if options.patience is not None:
        raise UserError("--patience", what, "Leave the option out, or raise --held-out.")
    notice(f"{what}; the last checkpoint is the best")


def same_state(states: Path, processes: Processes) -> State | None:
    """The newest whole state that the first process sees; the others read the same file."""
    state = newest_state(states) if processes.first else None
    step = processes.from_first(state and state[1]["step"])
    return state if state or step is None else state_of_step(states, step)


def keep_state(run: Run, folder: RunFolder) -> None:
    """Write the state that a killed run resumes from."""
    tensors = training_tensors(run.weights, run.optimizer)
    position = {"step": run.step, "best_step": run.best_step, "best": run.best_loss}
    save_state(folder.states, run.step, tensors, position | asdict(run.course))


def write_checkpoint(run: Run, path: Path) -> None:
    """The whole model with everything that made it."""
    training = {
        "config": run.settings_by_name,
        "objective": asdict(run.objective),
        "identity": run.identity,
        "step": run.step,
        "held_out_loss": run.best_loss if path.stem == "best" else None,
        "facts": dict(run.facts),
    }
    save_model(plain_copy(run.model), path, provenance(training=training))


def finish(run: Run, folder: RunFolder) -> None:
    """Write the last checkpoint and the summary; without held-out rows the last is the best."""
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
        facts: dict[str, Any] = provenance(identity=run.identity, inspection=record)
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
