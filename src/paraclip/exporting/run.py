"""`export`: from a checkpoint to the files that another system loads."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from paraclip.errors import UserError
from paraclip.exporting.card import CARD, is_export, write_card
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import Drift, check_half
from paraclip.exporting.hugging_face import write_hugging_face
from paraclip.exporting.onnx_graph import write_onnx
from paraclip.exporting.source import Source, open_source
from paraclip.exporting.targets import load_target
from paraclip.exporting.targets.open_clip import of_open_clip, open_clip_state, write_open_clip
from paraclip.exporting.targets.sentence_transformers import write_sentence_transformers
from paraclip.exporting.targets.system import System
from paraclip.files import OTHER_PATH, check_output, disk_errors, refuse_foreign
from paraclip.models.checkpoint import write_weights
from paraclip.models.encoder import DualEncoder
from paraclip.models.openclip import OpenClip
from paraclip.models.sources import model_files

WEIGHTS = ".safetensors"

Writer = Callable[[Source, Path, ExportOptions], Drift | None]
FORMATS: dict[str, Writer] = {
    "open-clip": write_open_clip,
    "hf": lambda source, folder, options: write_hugging_face(source, folder, options.half),
    "sentence-transformers": write_sentence_transformers,
    "onnx": write_onnx,
}
"""Formats that are folders; `weights` is one file."""

TAKES = {
    "half": {"weights", "open-clip", "hf"},
    "int8": {"onnx"},
    "image_tower": {"onnx"},
}
"""Formats to which each option applies."""


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Args:
        path: the folder or file.
        source: the exported model.
        steps: instructions for using it in the target system; empty for a format.
        drift: drift of text vectors with shortened weights; None if all weights are float.
    """

    path: Path
    source: Source
    steps: tuple[str, ...] = ()
    drift: Drift | None = None


def export_model(
    model: DualEncoder | Path | str, out: Path | str, options: ExportOptions
) -> Exported:
    """Write a model for another system, with a model card.

    Args:
        model: a model, the path of a checkpoint, or a model's name.
        out: folder, or file for `--to weights`.
        options: format or target, and other options.

    Raises:
        UserError: the options contradict each other, the output exists, the checkpoint is damaged
            or its image tower was trained, the model does not fit the format or the target, or
            shortened weights change its vectors too much.
    """
    out = Path(out)
    kind = _format_of(out, options)
    system = load_target(options.target) if options.target is not None else None
    _check_options(kind, system, options)
    refuse_sources(out, model, options.base)
    outputs = (out, out.with_suffix(".md")) if kind == "weights" else (out,)
    for path in outputs:
        check_free(path, options.force, folder=kind != "weights")
    source = open_source(model, options.base, options.tag)
    written = {name: value for name, value in asdict(options).items() if value}
    drift = check_half(source.model) if options.half else None
    if kind == "weights":
        _write_bare_weights(source, out, options.half)
        write_card(source, out.with_suffix(".md"), out.name, written, drift=drift)
        return Exported(out, source, drift=drift)
    steps: tuple[str, ...] = ()
    if system is not None:
        system.check(source)
        steps = (system.first_step(source), *system.steps(source, out))
    with new_folder(out, options.force) as folder:
        write = FORMATS[kind] if system is None else system.write
        drift = write(source, folder, options) or drift
        write_card(source, folder / CARD, out.name, written, steps, drift)
    return Exported(out, source, steps, drift)


@contextmanager
def new_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, renamed to `path` if the block succeeds.

    Args:
        path: the folder; missing parents are created.
        force: whether to replace an export, which is kept until the new one is complete.

    Raises:
        UserError: see `check_free`; or the disk is full.
    """
    check_free(path, force)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    old = temporary.with_suffix(".old")
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True, mode=0o755)
            yield temporary
            if path.exists():
                path.rename(old)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def check_free(path: Path, force: bool = False, folder: bool = True) -> None:
    """Refuse an output that exists, unless `force` may replace it.

    Raises:
        UserError: it exists and `force` is False, or is a file where a folder is to be written; it
            is a folder that holds more than an export; or its path does not end in a name or
            cannot be written.
    """
    check_output(path)
    with disk_errors(path):
        if folder and path.is_file():
            raise UserError(path, "is a file, and a folder is to be written", OTHER_PATH)
        if not path.exists() or (folder and not any(path.iterdir())):
            return
        if not force:
            raise UserError(path, "exists already", "Name another output, or add --force.")
        if folder:
            refuse_foreign(path, is_export)


def _format_of(out: Path, options: ExportOptions) -> str:
    """The format: the one given, or else derived from the name of the output."""
    if options.to and options.target:
        what = "names a format, and --for names a system, which determines its format"
        raise UserError("--to", what, "Leave one of them out.")
    if options.target is not None:
        return "target"
    kind = options.to or ("weights" if out.suffix == WEIGHTS else "open-clip")
    if kind == "weights" and out.suffix != WEIGHTS:
        raise UserError(out, "is not the name of a safetensors file", f"End it in {WEIGHTS}.")
    return kind


def _check_options(kind: str, system: System | None, options: ExportOptions) -> None:
    """Raise UserError for an option that does not apply to the format or the system."""
    given = [name for name in TAKES if getattr(options, name) != getattr(ExportOptions, name)]
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if system is not None and name not in system.takes:
            what = f"does not apply to --for {options.target}"
            raise UserError(option, what, "Leave it out.")
        if system is None and kind not in TAKES[name]:
            choice = " or ".join(f"--to {one}" for one in sorted(TAKES[name]))
            raise UserError(option, f"does not apply to --to {kind}", f"Use {choice}.")


def refuse_sources(out: Path, *models: DualEncoder | Path | str | None) -> None:
    """Raise UserError if the output is a file of one of the models, or a folder that holds one."""
    for name in models:
        files = model_files(str(name)) if isinstance(name, Path | str) else []
        for file in files:
            if file.resolve() == out.resolve():
                raise UserError(out, "is the checkpoint itself", "Name another file to write.")
            if file.resolve().is_relative_to(out.resolve()):
                hint = "Name another folder; this one is read."
                raise UserError(out, f"holds {file.name}, which is exported", hint)


def _write_bare_weights(source: Source, out: Path, half: bool) -> None:
    """Write one file, with open_clip's names for a model of open_clip and own names for `mini`."""
    if isinstance(source.model, OpenClip):
        tensors = open_clip_state(of_open_clip(source), half)
    else:
        state = source.model.state_dict()
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        if half:
            tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    # The header states no architecture, because the tensors have the names of another program.
    write_weights(tensors, out, {"exported_from": source.header.get("weights"), "half": half})
