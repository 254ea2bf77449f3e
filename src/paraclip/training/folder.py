"""The folder of a run: whose run it is, whether it is finished, where its files are."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.provenance import provenance


class AnotherRun(UserError):
    """The folder holds a run of another configuration, base or data."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def best(self) -> Path:
        """Checkpoint with the lowest held-out loss."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Checkpoint after the last step."""
        return self.path / "last.safetensors"

    @property
    def states(self) -> Path:
        """Folder of the states that a killed run goes on from."""
        return self.path / "states"

    @property
    def identity_file(self) -> Path:
        """What decides the weights of the run in this folder, and its provenance."""
        return self.path / "run.json"

    @property
    def summary_file(self) -> Path:
        """Written at the very end: what came out."""
        return self.path / "summary.json"

    def finished(self) -> dict[str, Any] | None:
        """The summary of a finished run, else None."""
        if not (self.summary_file.exists() and self.best.exists() and self.last.exists()):
            return None
        summary: dict[str, Any] = json.loads(self.summary_file.read_text(encoding="utf-8"))
        return summary

    def clear(self) -> None:
        """Remove a run's own files, and nothing else that lies there."""
        for path in (self.best, self.last, self.summary_file, self.identity_file):
            path.unlink(missing_ok=True)
        (self.path / "metrics.jsonl").unlink(missing_ok=True)
        for folder in ("tensorboard", "inspect"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        shutil.rmtree(self.states, ignore_errors=True)

    def clear_parts(self) -> None:
        """Remove what a killed run was just writing."""
        for folder in (self.path, self.states):
            for part in folder.glob(".*.part"):
                part.unlink(missing_ok=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary; the states have served."""
        write_text(self.summary_file, json.dumps(summary, indent=2) + "\n")
        shutil.rmtree(self.states, ignore_errors=True)


def open_run(out: Path, identity: dict[str, Any], fresh: bool) -> RunFolder:
    """The run's folder, new or gone on with.

    Args:
        out: where.
        identity: JSON-able; everything that decides the weights.
        fresh: remove what another run left there.

    Raises:
        AnotherRun: another run lies there.
    """
    folder = RunFolder(out)
    folder.clear_parts()
    if fresh:
        folder.clear()
    if folder.identity_file.exists():
        check_same(folder.identity_file, identity)
        return folder
    record = provenance(identity=identity)
    write_text(folder.identity_file, json.dumps(record, indent=2) + "\n")
    return folder


def check_same(path: Path, identity: dict[str, Any]) -> None:
    """Refuse to go on with a run that another configuration, base or data started."""
    hint = "Choose another --out, or add --fresh to start anew here."
    try:
        there = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(path, "is not a run's record", hint) from error
    here = json.loads(json.dumps(identity))
    differing = [
        f"{name} (there {there.get(name)}, now {here.get(name)})"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise AnotherRun(path, f"another run lies here: {', '.join(differing)}", hint)
