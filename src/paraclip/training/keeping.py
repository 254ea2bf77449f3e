"""What a run leaves on disk: checkpoints, the state it goes on from, the summary."""

import math
from dataclasses import asdict
from pathlib import Path

from paraclip.models.checkpoint import save_model
from paraclip.provenance import provenance
from paraclip.training.adapters import plain_copy
from paraclip.training.folder import RunFolder
from paraclip.training.optimizer import training_tensors
from paraclip.training.run import Run
from paraclip.training.state import save_state


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
    """Write what a killed run goes on from."""
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
