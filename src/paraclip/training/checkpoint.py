"""The folder of a run: its record, checkpoints, and the states from which a killed run resumes.

A state consists of tensors in safetensors and numbers in JSON; nothing is pickled.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import AdamW

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.files import check_input, check_room, disk_errors, locked, text_hash
from paraclip.merging import SHARE, merge
from paraclip.models.checkpoint import is_merged_from, save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.sources import LAST, MERGED, RUN_RECORD, SUMMARY
from paraclip.models.tensors import count_bytes, hash_tensors, save_tensors
from paraclip.output_folder import OutputFolder
from paraclip.provenance import provenance
from paraclip.training.choice import SceneJudge, choose_model
from paraclip.training.data import Batch, Examples, TrainingData
from paraclip.training.distributed import Processes, this_process
from paraclip.training.log import notice
from paraclip.training.optimizer import restore_training, training_tensors

START_OVER = "Choose another --out, or add --fresh to start over here."
FORMAT = "paraclip-run-1"
"""Value of the key `format` of every JSON file of a run."""


STATES = ("states/state-*.safetensors", "states/state-*.damaged")
FILES = (
    *("last.safetensors", "last.md", "merged.safetensors", "merged.md"),
    *(SUMMARY, "metrics.jsonl", "problems.txt"),
    *("tensorboard/events.out.tfevents.*.paraclip", "inspect/step-*.json"),
    *("inspect/step-*.safetensors", *STATES, RUN_RECORD),
)
"""Every file that a run writes. The record comes last: a run without it is a new one."""
_GROWING = ("metrics.jsonl", "tensorboard/*", "states/*")
"""Files without a hash: those that grow, and states, which have one inside and may be damaged."""


class AnotherRun(UserError):
    """The folder contains a run with another configuration, base or data."""


class Diverged(UserError):
    """A step has a loss or a gradient that is not finite, or a loss far above the first."""


class RunFolder:
    """The files of a run.

    Args:
        path: the folder.
        header: everything about the run that its checkpoint states.
    """

    def __init__(self, path: Path, header: Mapping[str, Any] | None = None) -> None:
        self.path, self.files = path, OutputFolder(path, "training")
        self.header = header or {}
        self.last = path / LAST  # checkpoint after the last step
        self.merged = path / MERGED  # a share of its weights, the rest base's
        self.states = path / "states"  # folder of the states from which a killed run resumes
        self.identity_file = path / RUN_RECORD  # everything that determines the weights of the run
        self.summary_file = path / SUMMARY  # the results, written at the very end
        self.problems_file = path / "problems.txt"  # broken rows and pictures that were skipped

    def finished(self) -> dict[str, Any] | None:
        """The summary of a finished run, else None; raises UserError if it is damaged."""
        if not (self.summary_file.exists() and self.last.exists()):
            return None
        return read_json_object(self.summary_file, START_OVER)

    def has_merged(self) -> bool:
        """Whether the merged checkpoint of this run is there with its card."""
        card = self.merged.with_suffix(".md")
        return card.exists() and self.merged.exists() and is_merged_from(self.merged, self.last)

    def clear(self) -> None:
        """Remove what a run wrote, its record last, and no other files."""
        self.remove(*FILES)

    def remove(self, *patterns: str) -> None:
        """Remove the run's files whose names match, and folders that are empty afterwards."""
        self.files.remove(*self._matching(patterns))

    def _matching(self, patterns: Iterable[str]) -> list[Path]:
        return [path for pattern in patterns for path in sorted(self.path.glob(pattern))]

    def count_bytes(self) -> int:
        """The size of the run's files."""
        return sum(path.stat().st_size for path in self._matching(FILES) if path.is_file())

    def check_owned(self) -> None:
        """Refuse a folder with files that a run would overwrite or delete but that no run wrote."""
        self.files.refuse_foreign(*self._matching(FILES))

    def clear_parts(self) -> None:
        """Remove files that a killed run left unfinished."""
        for pattern in FILES:
            folder, _, name = pattern.rpartition("/")
            for path in (self.path / folder).glob(f".{name}.*.part"):
                with disk_errors(path):
                    path.unlink(missing_ok=True)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary and remove the states, which are no longer needed."""
        content = {"format": FORMAT, **summary}
        self.files.write(self.summary_file, json.dumps(content, indent=2) + "\n")
        self.remove(*STATES)


def check_run(folder: RunFolder, model: DualEncoder, known: Mapping[str, Any], fresh: bool) -> None:
    """Check, before long work, that a run of a base, whose identity is partly known, can be written
    to a folder.

    Raises AnotherRun if the folder contains another run, and UserError if it contains files that no
    run wrote, may not be written, another run is writing there, or its disk is too full.
    """
    if not fresh and folder.identity_file.exists():
        _refuse_another(folder.identity_file, known, list(known))
        if folder.finished():
            return
    folder.check_owned()
    if (folder.path / ".lock").exists():
        with locked(folder.path):
            pass
    size = 2 * count_bytes(model) + _KEPT * _STATE_SIZE * count_bytes(model.text_tower)
    check_room(folder.path, size - folder.count_bytes())  # what is there is replaced


def open_run(folder: RunFolder, identity: dict[str, Any], fresh: bool) -> None:
    """Prepare the folder for a run, new or resumed; raises AnotherRun if it contains another one,
    and UserError for files that no run wrote, whether `fresh` or not."""
    record = folder.identity_file
    if fresh or not (record.exists() and folder.finished()):
        folder.check_owned()  # a finished run is not written to, so its card may be edited
        folder.files.record({folder.path / name: None for name in _GROWING})
    if record.exists():
        folder.clear_parts()
    if fresh:
        folder.clear()
    if not record.exists():
        folder.remove(*STATES)  # of a run whose record was deleted, which may have been another
        facts = {"format": FORMAT, **provenance(identity=identity)}
        folder.files.write(record, json.dumps(facts, indent=2) + "\n")
        return
    _refuse_another(record, identity)


def _refuse_another(
    record: Path, identity: Mapping[str, Any], names: Sequence[str] | None = None
) -> None:
    """Raise AnotherRun if a record has another identity, or other values of some names in it."""
    there = read_json_object(record, START_OVER).get("identity")
    here = json.loads(json.dumps(identity))  # lists instead of tuples
    if not isinstance(there, dict):
        raise UserError(record, "is not a run's record", START_OVER)
    # An option that is off equals one that the other version of ParaCLIP does not have.
    differing = [
        f"{name} (there {there.get(name)}, now {here.get(name)})"
        for name, value in sorted({**there, **here}.items())
        if (names is None or name in names)
        and (there[name] != value if name in there and name in here else value)
    ]
    if differing:
        what = f"belongs to a run with other settings: {', '.join(differing)}"
        raise AnotherRun(record, what, START_OVER)


@dataclass(frozen=True)
class Progress:
    """The position in a run."""

    step: int = 0  # number of completed steps
    first_loss: float | None = None  # loss of the first step; None before it


_KEPT = 2
"""Number of states that are kept."""
_STATE_SIZE = 3
"""Size of a state in sizes of the trained weights: these, and two averages of AdamW."""


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-serialisable facts as one safetensors file, completely or not."""
    save_tensors(tensors, path, {"paraclip": json.dumps(facts)})


def _state_name(step: int) -> str:
    """File name of the state after this number of steps; names sort like steps."""
    return f"state-{step:09d}.safetensors"


def save_state(
    folder: Path, weights: Mapping[str, nn.Parameter], optimizer: AdamW, progress: Progress
) -> None:
    """Write a state from which a killed run resumes, then drop all but the newest two."""
    tensors, place = training_tensors(weights, optimizer), asdict(progress)
    facts = {"step": progress.step, "place": place, "hash": _state_hash(tensors, place)}
    _write_tensors(folder / _state_name(progress.step), tensors, facts)
    for old in sorted(folder.glob("state-*.safetensors"))[:-_KEPT]:
        old.unlink()


def _load_state(path: Path) -> tuple[dict[str, Tensor], Progress]:
    """Tensors and position of a state file; raises ValueError if it is damaged, and UserError if
    the path is a pipe or a device."""
    check_input(path)
    try:
        with safe_open(path, "pt") as opened:
            facts = json.loads((opened.metadata() or {})["paraclip"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        place, stored_hash = facts["place"], facts["hash"]
        progress = Progress(place["step"], place.get("first_loss"))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if _state_hash(tensors, place) != stored_hash:
        raise ValueError("its content does not match its hash")
    return tensors, progress


def _state_hash(tensors: Mapping[str, Tensor], place: Mapping[str, Any]) -> str:
    """Hash of the content of a state."""
    return text_hash(f"{hash_tensors(dict(tensors))} {json.dumps(place, sort_keys=True)}")


def _newest_state(folder: Path) -> tuple[dict[str, Tensor], Progress] | None:
    """The newest complete state; damaged ones are reported and renamed to `.damaged`.

    Under their old names they would count as the newest, and later states would be pruned.
    """
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        try:
            return _load_state(path)
        except ValueError as error:
            notice(f"{path} is damaged ({error}); resuming from the state before it")
            path.replace(path.with_suffix(".damaged"))
    return None


def resume(
    folder: Path, weights: Mapping[str, nn.Parameter], optimizer: AdamW, processes: Processes
) -> Progress:
    """Restore the newest complete state that the first process finds; all read the same file.
    Raises UserError if another process does not see it."""
    state = _newest_state(folder) if processes.first else None
    step = processes.from_first(state and state[1].step)
    if step is None:
        return Progress()
    if state is None:
        path = folder / _state_name(step)
        try:
            state = _load_state(path)
        except (ValueError, OSError) as error:
            what = "process 0 resumes from this state, which is not here"
            hint = "Give all processes the same --out, in a folder that all of them share."
            raise UserError(path, what, hint) from error
    tensors, progress = state
    restore_training(weights, optimizer, tensors)
    notice(f"resuming after step {progress.step}")
    return progress


def finish_run(
    folder: RunFolder,
    base: DualEncoder | None,
    tuned: DualEncoder,
    progress: Progress,
    examples: Examples,
    judge: SceneJudge | None,
) -> None:
    """Write the checkpoints, whole models with their provenance, and at last the summary.

    A base of None is not merged with tuned, and without a judge, half of tuned is.
    """
    # The path was checked when the run began; an edit of the card since must not stop it.
    training = {**folder.header, "step": progress.step}
    choice = None if judge is None or base is None else choose_model(judge, base, tuned)
    chosen = {} if choice is None else {"choice": choice.as_facts()}
    save_model(tuned, folder.last, provenance(training=training, **chosen), folder=folder.files)
    if base is not None:
        share = SHARE if choice is None else choice.share
        merged = merge(base, tuned, share, image_tower=True)
        merged.made_from = {"base": base.made_from, "tuned": {"training": training}}
        extra = provenance(merged={"tuned": folder.last.name, "share": share}, **chosen)
        save_model(merged, folder.merged, extra, folder=folder.files)
    folder.write_summary({
        "steps": progress.step,
        "rows": len(examples),
        "rows_with_image": int(examples.has_image.sum()),
        "texts_cut_to_context": examples.tokens.truncated,
        "identity": folder.header["identity"],
        **chosen,
    })  # fmt: skip


def save_failed_step(
    folder: RunFolder,
    step: int,
    problem: str,
    figures: Mapping[str, float],
    data: TrainingData,
    examples: Examples,
    batch: Batch,
) -> Diverged:
    """Save the batch of a failed step, and return an error that names the file.

    `inspect/step-N.json` holds the rows [B] with their ids and texts, the hash of the weights, the
    values of the step, and the names of non-finite weights and gradients. `step-N.safetensors` in
    the same folder holds the token ids, features and rows. The first process writes them.
    """
    model, processes = data.model, this_process()
    path = folder.path / "inspect" / f"step-{step}.json"
    if processes.first:
        whole = examples.batch(batch.numbers)
        tensors = {f"tokens.{index}": chunk for index, chunk in enumerate(whole.chunks)}
        tensors |= {"rows": torch.from_numpy(whole.numbers), "restore": whole.restore}
        tensors["features"] = whole.features
        folder.files.record({path.with_suffix(".safetensors"): None})
        _write_tensors(path.with_suffix(".safetensors"), tensors, {"step": step})
        weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        numbers, triples = batch.numbers.tolist(), data.triples.take(batch.numbers).to_pylist()
        record = {
            "step": step,
            "what": problem,
            "figures": {name: repr(value) for name, value in figures.items()},
            "weights": hash_tensors(model.state_dict()),
            "not_finite": {
                "weights": _not_finite(weights),
                "gradients": _not_finite({name: value.grad for name, value in weights.items()}),
            },
            "rows": [{"row": row, **triple} for row, triple in zip(numbers, triples, strict=True)],
        }
        facts = {
            "format": FORMAT,
            **provenance(identity=folder.header["identity"], inspection=record),
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False, default=str)
        folder.files.write(path, text + "\n")
    processes.wait()  # a process that exits stops the others, even during a write
    hint = f"Lower --learning-rate or use --precision fp32; look at {path}."
    return Diverged(f"step {step}", problem, hint)


def _not_finite(tensors: Mapping[str, Tensor | None]) -> list[str]:
    """Names of the tensors that contain NaN or infinity."""
    return [
        name
        for name, value in tensors.items()
        if value is not None and not bool(torch.isfinite(value).all())
    ]
