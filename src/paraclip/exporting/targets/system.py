"""The interface of a target, and checks that several targets share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip

from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.source import Source
from paraclip.models.formats.published import QUICK

Steps = tuple[str, ...]


@dataclass(frozen=True)
class System:
    """A system that loads a text encoder.

    Args:
        check: raises UserError if the system does not use the model's base, or cannot load it.
        write: writes the layout that the system loads into an empty folder, and returns the drift
            of 8-bit vectors, if it wrote any.
        steps: where to put it, which cache to clear, how to go back, given the folder's path.
        takes: options of the export that apply to it.
        index: where it keeps vectors of pictures, as for `paraclip swap-check --index`.
    """

    check: Callable[[Source], object]
    write: Callable[[Source, Path, ExportOptions], Drift | None]
    steps: Callable[[Source, Path], Steps]
    takes: tuple[str, ...] = ()
    index: str = "INDEX"

    def first_step(self, source: Source) -> str:
        """Return the step before all others: a check of the index."""
        tag = source.tags[0] if len(source.tags) == 1 else "TAG"
        return (
            f"Check that your index was made with this base: paraclip swap-check --index"
            f" {self.index} --base {source.architecture.removesuffix(QUICK)}:{tag} --model"
            f" {source.name}"
        )


def check_base(source: Source, system: str, architecture: str, tag: str) -> None:
    """Raise UserError if the base is not the only one that a system uses.

    Args:
        source: the model.
        system: name of the system, for the error.
        architecture: open_clip's name, without `-quickgelu`.
        tag: open_clip's tag.
    """
    wanted = f"{architecture}:{tag}"
    if source.architecture.removesuffix(QUICK) != architecture or tag not in (source.tags or [tag]):
        base = f"{source.architecture}:{' or '.join(source.tags) or '?'}"
        what = f"its base is {base}, and {system} uses {wanted}"
        raise UserError(source.name, what, f"Tune {wanted} for {system}.")
    if not source.tags:
        what = f"the checkpoint does not record its base, and {system} uses {wanted}"
        hint = f"Add --tag {tag} if it was tuned from these weights."
        raise UserError(source.name, what, hint)


def check_activation(source: Source, system: str, quick: bool) -> None:
    """Raise UserError if the activation of the model differs from that of a system's base."""
    if source.model.architecture.quick_gelu != quick:
        names = ("GELU", "QuickGELU")
        what = f"it has {names[not quick]}, and the base of {system} {names[quick]}"
        raise UserError(source.name, what, "Tune the base that the system uses.")


def check_built_in(source: Source, system: str) -> None:
    """Raise UserError if open_clip has no architecture with the name by which a system loads it."""
    if source.architecture not in open_clip.list_models():
        what = f"{source.architecture} is not one of open_clip's own architectures"
        raise UserError(source.name, what, f"{system} loads models by such a name.")
