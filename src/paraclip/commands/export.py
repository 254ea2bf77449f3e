"""`export`: its values, the function, and what the command prints."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from paraclip.commands.packages import require_packages
from paraclip.options import takes
from paraclip.systems import ExportOptions

if TYPE_CHECKING:  # `paraclip export --help` needs no torch
    from paraclip.exporting.run import Exported
    from paraclip.models.encoder import Model


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ExportOptions):
    """Write a model in the layout that another system loads, with a model card."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint to export (.safetensors), the folder of a run, or any model as for `paraclip train
    --base`."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """Folder to write, or a .safetensors file for `--to weights`. An earlier export there is
    replaced, unless it was changed or holds other files."""


@takes(ExportOptions)
def export(model: "Model", out: Path | str, options: ExportOptions) -> Path:
    """Write a model in the layout that another system loads, with a model card.

    Args:
        model: a model, the path of a checkpoint, or a model's name.
        out: folder to write, or a `.safetensors` file for bare weights with open_clip's names.
        options: those below, such as `to="hf"` (a format), `target="immich"` (a system), `half`.

    Returns:
        What was written.

    Raises:
        UserError: the output exists, the checkpoint is damaged or its image tower was trained, or
            the model does not fit the format or the system.
    """
    return _export(model, out, options).path


def _export(model: "Model", out: Path | str, options: ExportOptions) -> "Exported":
    require_packages("export", options, (model, options.base))
    from paraclip.exporting.run import export_model

    return export_model(model, out, options)


def export_command(config: ExportConfig) -> None:
    """Write a model for another system and print how to load it."""
    exported = _export(config.model, config.out, config)
    print(f"Wrote {exported.path}")
    if exported.drift is not None:  # of shortened weights
        print(exported.drift)
    for number, step in enumerate(exported.steps, 1):
        print(f"{number}. {step}")
