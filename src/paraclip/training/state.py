"""The state that a killed run resumes from: tensors in safetensors, numbers as JSON, no pickle."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import text_hash
from paraclip.models.tensors import hash_tensors, save_tensors

KEPT = 2

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and the place in the run."""


def notice(text: str) -> None:
    """A line for the user beside the progress bar."""
    print(f"paraclip: {text}", file=sys.stderr)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able facts as one safetensors file, whole or not at all.

    Raises:
        UserError: the disk is full or the place may not be written.
    """
    apart = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_tensors(apart, path, {"paraclip": json.dumps(facts)})


def state_name(step: int) -> str:
    """File name of the state after so many steps; names sort as steps do."""
    return f"state-{step:09d}.safetensors"


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], place: dict[str, Any]) -> None:
    """Write the state after `step` steps, then drop all but the newest two."""
    facts = {"step": step, "place": place, "hash": state_hash(tensors, place)}
    write_tensors(folder / state_name(step), tensors, facts)
    for old in sorted(folder.glob("state-*.safetensors"))[:-KEPT]:
        old.unlink()


def load_state(path: Path) -> State:
    """Tensors and place of a state file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as opened:
            facts = json.loads((opened.metadata() or {})["paraclip"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        place, found = facts["place"], facts["hash"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from error
    if state_hash(tensors, place) != found:
        raise ValueError("its content does not match its hash")
    return tensors, place


def state_hash(tensors: Mapping[str, Tensor], place: Mapping[str, Any]) -> str:
    """Hash of all that a state says."""
    return text_hash(f"{hash_tensors(dict(tensors))} {json.dumps(place, sort_keys=True)}")


def state_of_step(folder: Path, step: int) -> State:
    """The state that another process has found to be whole.

    Raises:
        UserError: this process does not see it.
    """
    path = folder / state_name(step)
    try:
        return load_state(path)
    except (ValueError, OSError) as error:
        what = "process 0 resumes from this state, which is not here"
        hint = "Give all processes the same --out, in a folder that all of them share."
        raise UserError(path, what, hint) from error


def newest_state(folder: Path) -> State | None:
    """The newest state that is whole; damaged ones are named and set aside as `.damaged`.

    Left under their names they would count as the newest, and the next states be pruned for them.
    """
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        try:
            return load_state(path)
        except ValueError as error:
            notice(f"{path} is damaged ({error}); going on from the state before it")
            path.replace(path.with_suffix(".damaged"))
    return None
