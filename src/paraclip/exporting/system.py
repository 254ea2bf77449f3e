"""What writes a layout: a format (`--to`) or a system (`--for`), and checks that several share."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip

from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.formats.published import QUICK, preprocessing_of
from paraclip.models.openclip import OpenClip

Steps = tuple[str, ...]
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color")
"""Fields of open_clip's `PreprocessCfg` that change a picture's vector, besides its size."""


@dataclass(frozen=True)
class System:
    """A format, or a system that loads a text encoder."""

    # Writes the layout into an empty folder, and returns the drift of 8-bit vectors, if it wrote
    # any; raises UserError if the system does not use the model's base, or cannot load it.
    write: Callable[[Source, Path, ExportOptions], Drift | None]
    # Where to put it, which cache to clear, how to go back, given the folder's path.
    steps: Callable[[Source, Path], Steps]
    takes: tuple[str, ...] = ()  # options of the export that apply to it
    # Where it keeps vectors of pictures, as for `paraclip swap-check --index`; None for a format.
    index: str | None = "INDEX"

    def instructions(self, source: Source, folder: Path) -> Steps:
        """The steps, of which a system's first one is a check of the index."""
        if self.index is None:
            return self.steps(source, folder)
        base = source.architecture.removesuffix(QUICK)
        if isinstance(source.model, OpenClip):
            base += f":{source.tags[0] if len(source.tags) == 1 else 'TAG'}"
        first = (
            "Check that your index was made with this base: paraclip swap-check --index"
            f" {self.index} --base {base} --model {shlex.quote(source.name)}"
        )
        return (first, *self.steps(source, folder))


def write_files(folder: Path, files: Mapping[str, object]) -> None:
    """Write small files by name: texts as they are, other values as JSON."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        write_text(folder / name, text)


def check_base(source: Source, system: str, architecture: str, tag: str) -> None:
    """Raise UserError if the base is not the only one, by open_clip's names, that a system uses."""
    wanted = f"{architecture}:{tag}"
    if source.architecture.removesuffix(QUICK) != architecture or tag not in (source.tags or [tag]):
        base = f"{source.architecture}:{' or '.join(source.tags) or '?'}"
        what = f"its base is {base}, and {system} uses {wanted}"
        raise UserError(source.name, what, f"Tune {wanted} for {system}.")
    if not source.tags:
        what = f"the checkpoint does not record its base, and {system} uses {wanted}"
        hint = f"Add --tag {tag} if it was tuned from these weights."
        raise UserError(source.name, what, hint)
    check_settings(source, system, architecture, tag)


def check_settings(source: Source, system: str, architecture: str, tag: str) -> None:
    """Raise UserError if activation or preprocessing are not those of a system's base."""
    published = open_clip.get_pretrained_cfg(architecture, tag)
    quick = architecture.endswith(QUICK) or bool(published.get("quick_gelu"))
    hint = "Tune the base that the system uses."
    if source.model.architecture.quick_gelu != quick:
        names = ("GELU", "QuickGELU")
        what = f"it has {names[not quick]}, and the base of {system} {names[quick]}"
        raise UserError(source.name, what, hint)
    if isinstance(source.model, OpenClip):
        ours, theirs = source.model.spec.preprocessing, preprocessing_of(published)
        for name in PREPROCESSING:
            first, second = (json.dumps(one.get(name)) for one in (ours, theirs))
            if first != second:
                what = f"its preprocessing has the {name} {first}, and that of {system} {second}"
                raise UserError(source.name, what, hint)
