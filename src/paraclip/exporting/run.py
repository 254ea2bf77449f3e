"""`export`: from a checkpoint to the files that another system loads, with a model card."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paraclip.errors import UserError
from paraclip.files import (
    OTHER_PATH,
    atomic_folder,
    check_output,
    check_room,
    disk_errors,
    refuse_overwriting,
    write_text,
)
from paraclip.models.sources import QUICK, check_model, model_files
from paraclip.output_folder import RECORD, OutputFolder
from paraclip.progress import steps
from paraclip.provenance import package_versions
from paraclip.systems import FORMATS, SYSTEMS, ExportOptions, exported
from paraclip.systems.system import Layout, System

if TYPE_CHECKING:
    from paraclip.exporting.source import Drift, Source
    from paraclip.models.encoder import Model

_WEIGHTS = ".safetensors"
_CARD = "README.md"
EXPORT = "export"
"""Kind of the outputs."""
_KEPT = """\
## What an index depends on

Vectors of pictures stay valid as long as these three are those of the base (SHA-256, first 16
digits, as ParaCLIP computes them):

- image encoder, with activation and preprocessing: {image_tower}
- preprocessing alone: {preprocessing}
- tokenizer: {tokenizer}
"""


@dataclass(frozen=True)
class Exported:
    """Result of an export."""

    path: Path  # of the folder or file
    steps: tuple[str, ...]  # for using it
    drift: "Drift | None"  # of text vectors with shortened weights; None if all weights are float


def export_model(model: "Model", out: Path | str, options: ExportOptions) -> Exported:
    """Write a model, or one by its path or name, for another system, with a model card.

    Raises:
        UserError: the options contradict each other, the output holds what no export wrote, the
            checkpoint is damaged or its image tower was trained, the model does not fit the format
            or the target, or shortened weights change its vectors too much.
    """
    out = Path(out)
    layout, system = _choose_layout(out, options)
    named = [str(one) for one in (model, options.base) if isinstance(one, Path | str)]
    for name in named:
        check_model(name)
    files = [file for name in named for file in model_files(name)]
    refuse_overwriting(out, files)
    # `out` is replaced as a whole, and links may lead into it.
    real = os.path.realpath(out)  # unlike `Path.resolve`, also of a loop of links
    if inside := [file for file in files if file.resolve().is_relative_to(real)]:
        hint = "Name another folder; this one is read."
        raise UserError(out, f"holds {inside[0].name}, which is exported", hint)
    is_file = layout is FORMATS["weights"]
    card = out.with_suffix(".md") if is_file else out / _CARD
    if is_file:
        OutputFolder(out.parent, EXPORT).refuse_foreign(out, card)
    else:
        _check_folder(out)
    from paraclip.exporting.layouts import write_layout
    from paraclip.exporting.source import (  # torch, only now
        check_half,
        check_vectors,
        find_base,
        load_source,
    )
    from paraclip.models.tensors import count_bytes

    named = ["loading the model", *["measuring 16 bits"] * options.half, "writing"]
    with steps("export", *named) as begin_next:
        begin_next()
        base = None if options.base is None else str(options.base)
        source = load_source(model, base, options.tag)
        check_vectors(source.model, source.name)
        # What is certainly written: both towers, or at least that of texts.
        part = source.model if "half" in layout.takes else source.model.text_tower
        check_room(out.parent, count_bytes(part) / (2 if options.half else 1))
        written = {name: value for name, value in asdict(options).items() if value}
        drift = None
        if options.half:
            begin_next()
            drift = check_half(source.model)  # before anything is written
        if system is not None:  # refused before writing if it does not use the base
            system, _ = find_base(source, system)
            layout = system.layout or layout
        then = _steps_of(layout, system, source, out)
        begin_next()
        if is_file:
            outputs = OutputFolder(out.parent, EXPORT)
            with outputs.replacing(out) as temporary:
                write_layout(layout, source, temporary, options)
            with outputs.replacing(card) as temporary:
                _write_card(source, temporary, out.name, layout.format, written, drift=drift)
        else:
            with _new_folder(out) as folder:
                drift = write_layout(layout, source, folder, options, system) or drift
                on_card = then if system else ()
                _write_card(
                    source, folder / _CARD, out.name, layout.format, written, on_card, drift
                )
    return Exported(out, then, drift)


def _choose_layout(out: Path, options: ExportOptions) -> tuple[Layout, System | None]:
    """The layout of a system, or of a format, given or derived from the name of the output."""
    if options.to and options.target:
        what = "names a format, and --for names a system, which determines its format"
        raise UserError("--to", what, "Leave one of them out.")
    named = options.to or ("weights" if out.suffix == _WEIGHTS else "open-clip")
    layout, system, choice = FORMATS[named], None, f"--to {named}"
    if options.target:
        layout, system = exported()[options.target], SYSTEMS[options.target]
        choice = f"--for {options.target}"
    if layout is FORMATS["weights"] and out.suffix != _WEIGHTS:
        raise UserError(out, "is not the name of a safetensors file", f"End it in {_WEIGHTS}.")
    for name in ("half", "int8", "image_tower"):
        if getattr(options, name) and name not in layout.takes:
            known = {f"--to {one}": found for one, found in FORMATS.items()}
            # The only layout of a program with an option that its format has not.
            known |= {f"--for {one}": found for one, found in exported().items() if found.small}
            fitting = [one for one, found in known.items() if name in found.takes]
            option, what = f"--{name.replace('_', '-')}", f"does not apply to {choice}"
            raise UserError(option, what, f"Use {' or '.join(fitting)}, or leave it out.")
    return layout, system


def _steps_of(
    layout: Layout, system: System | None, source: "Source", out: Path
) -> tuple[str, ...]:
    """What the user does next; for a system, the first step is a check of the index."""
    from paraclip.exporting.source import find_base
    from paraclip.models.openclip import OpenClip

    if layout is FORMATS["weights"] and not isinstance(source.model, OpenClip):
        others = "--to sentence-transformers and --to onnx do not"
        return (f"The weights in {out} have ParaCLIP's own names; {others}.",)
    path, architecture = str((out / layout.file).resolve()), source.architecture
    values = {  # absolute, so that a step can be pasted in any folder
        "folder": str(out), "name": out.name, "file": layout.file, "path": path,
        "architecture": architecture, "local": f"local-dir:{out}",
        "all_clip": f"open_clip:{architecture}/{path}",
    }  # fmt: skip
    if system is None:
        return tuple(step.format(**values) for step in layout.steps)
    base = architecture.removesuffix(QUICK)
    if isinstance(source.model, OpenClip):
        # The user fills in a tag that was not recorded.
        base += f":{source.tags[0] if len(source.tags) == 1 else 'TAG'}"
    first = (
        "Check that your index was made with this base: paraclip swap-check --index"
        f" {system.index} --base {base} --tuned {shlex.quote(source.name)}"
    )
    _, values["base"] = find_base(source, system)
    return (first, *(step.format(**values) for step in layout.steps))


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that replaces `path`, or an export there, if the block succeeds."""
    _check_folder(path)
    with atomic_folder(path) as folder:
        yield folder
        written = [folder / name for name in sorted(_files_below(folder))]
        OutputFolder(folder, EXPORT).record(dict(zip(written, written, strict=True)))
        _check_folder(path)  # meanwhile, something else may have been written there


def _check_folder(path: Path) -> None:
    """Refuse a folder that cannot be written, or that holds what no export wrote."""
    check_output(path)
    with disk_errors(path):
        if path.is_file():
            raise UserError(path, "is a file, and a folder is to be written", OTHER_PATH)
        files = _files_below(path) - {RECORD}  # the record may change: it lists the others
        OutputFolder(path, EXPORT).refuse_foreign(*(path / name for name in sorted(files)))


def _write_card(
    source: "Source",
    path: Path,
    name: str,
    form: str,
    written: dict[str, Any],
    steps: tuple[str, ...] = (),
    drift: "Drift | None" = None,
) -> None:
    """Write the card, titled `name`, of files in a format."""
    from paraclip.models.card import model_card

    facts = source.facts()
    header = {
        **source.header,
        "export": {**written, **facts, "versions": package_versions()},
    }
    parts = [_KEPT.format(**facts)]
    if drift is not None:
        parts.append(f"{drift}\n")
    if steps:
        parts += ["## Steps\n", *(f"{number}. {one}" for number, one in enumerate(steps, 1)), ""]
    bases = [f"{source.architecture}:{source.tag}"] if source.tag else []
    write_text(path, model_card(name, header, parts, form=form, bases=bases))


def _files_below(folder: Path) -> set[str]:
    """Files and links below a folder, by their path in it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
