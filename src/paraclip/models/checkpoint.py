"""ParaCLIP checkpoints: one safetensors file with the complete model and its provenance."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from paraclip.data.untrusted_json import check_depth
from paraclip.errors import UserError
from paraclip.files import check_file, check_readable
from paraclip.models.card import model_card
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats import untrusted
from paraclip.models.mini import Mini, SentenceModel
from paraclip.models.sources import LAST, MERGED, RUN_RECORD, TEXT_ONLY
from paraclip.models.tensors import check_fit, fill_weights, hash_tensors, read_shapes, save_tensors
from paraclip.output_folder import OutputFolder
from paraclip.provenance import publishable

KINDS: dict[str, type[DualEncoder]] = {"mini": Mini, TEXT_ONLY: SentenceModel}
"""Classes of models by the kind that a header states; others are open_clip's."""
_FORMAT = "paraclip-model-1"
_MISFIT = "its weights do not fit its header"


def save_model(
    model: DualEncoder,
    path: Path | str,
    extra: dict[str, Any] | None = None,
    folder: OutputFolder | None = None,
) -> Path:
    """Write the complete model to a checkpoint, and a model card next to it.

    Args:
        model: the model, in float32.
        path: path that ends in `.safetensors`.
        extra: JSON-serialisable facts for the header: provenance, configuration, base, generator.
        folder: the outputs to which the files belong, of which the caller has checked that they
            may be replaced; by default, they are a pair of their own.

    Raises:
        UserError: the disk is full, the path is not writable, or `check_checkpoint_path` refuses
            it; no partial file is left.
    """
    path = Path(path)
    if folder is None:
        check_checkpoint_path(path)
        folder = OutputFolder(path.parent, "model")
    made_from = {"made_from": publishable(model.made_from)} if model.made_from else {}
    header = header_of(model) | made_from | publishable(extra or {})
    # `format` is for transformers 4, which refuses a file without it.
    metadata = {"format": "pt", "paraclip": json.dumps(header, default=str)}
    save_tensors(model.state_dict(), path, metadata, folder.replacing)
    folder.write(path.with_suffix(".md"), model_card(path.name, header))
    return path


def check_checkpoint_path(path: Path | str) -> None:
    """Raise UserError for a path that `save_model` would refuse; for use before a long computation.

    It replaces a checkpoint and its card that it wrote, unless they were edited.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(path, "is not the name of a safetensors file", "End it in .safetensors.")
    OutputFolder(path.parent, "model").refuse_foreign(path, path.with_suffix(".md"))


def header_of(model: DualEncoder) -> dict[str, Any]:
    """The header of a model's checkpoint, without its provenance."""
    return {
        "format": _FORMAT,
        "architecture": model.architecture.as_dict(),
        "logit_scale": float(model.logit_scale.detach()),
        "weights": hash_tensors(model.state_dict()),  # compared after loading
        **model.header(),
    }


def check_kind(model: DualEncoder) -> None:
    """Raise UserError for a model whose checkpoint could not be read again."""
    if (kind := model.architecture.kind) not in (*KINDS, "open_clip"):
        what = f"has the kind {kind!r}, whose checkpoints no class reads"
        hint = f"Set paraclip.models.checkpoint.KINDS[{kind!r}] to its class, with from_header."
        raise UserError(type(model).__name__, what, hint)


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a ParaCLIP checkpoint; the weights are not read."""
    if (header := header_or_none(Path(path))) is None:
        what = "is not a ParaCLIP checkpoint: its architecture is unknown"
        raise UserError(path, what, f"Name it before the path, as in ViT-B-32:{path}")
    return header


def header_or_none(path: Path) -> dict[str, Any] | None:
    """The header, or None for a safetensors file written by another program."""
    check_file(path)
    check_readable(path)
    try:
        with safe_open(path, "pt") as stored:
            text = (stored.metadata() or {}).get("paraclip")
        # Of thousands of brackets, `json.loads` raises RecursionError.
        check_depth(text or "")
        header = json.loads(text) if text else None
    except SafetensorError as error:
        raise UserError(path, "is not a complete safetensors file", untrusted.RETRY) from error
    except ValueError as error:
        raise UserError(
            path, f"its header cannot be read ({untrusted.reason_of(error)})", untrusted.RETRY
        ) from error
    return header if isinstance(header, dict) and "architecture" in header else None


def is_merged_from(merged: Path, tuned: Path) -> bool:
    """Whether a merged checkpoint was made from a tuned one, which may be missing."""
    return not tuned.is_file() or _run_of(read_header(merged)) == _run_of(read_header(tuned))


def _run_of(header: dict[str, Any]) -> Any:
    """The identity of the run that tuned a model, or the one that was merged."""
    match header:
        case {"merged": _, "made_from": {"tuned": {"training": {"identity": identity}}}}:
            return identity
        case {"training": {"identity": identity}}:
            return identity
    return None


def load_checkpoint(path: Path | str, architecture: tuple[str, bool] | None = None) -> DualEncoder:
    """The model of a ParaCLIP checkpoint, on the CPU; `architecture` is the name that the user gave
    for it, and whether it has QuickGELU.

    Its shapes are compared with those that its header describes before memory is allocated. Raises
    UserError for a file that is missing, broken or in another format, for weights that do not match
    its header, and for another architecture.
    """
    from paraclip.models.openclip import OpenClip

    path = Path(path)
    header = read_header(path)
    if header.get("format") != _FORMAT:
        what = f"has the format {header.get('format')}, this version reads {_FORMAT}"
        raise UserError(path, what, "Use the version of ParaCLIP that wrote it.")
    tuned, run = path.with_name(LAST), path.with_name(RUN_RECORD)
    if path.name == MERGED and run.is_file() and not is_merged_from(path, tuned):
        hint = "Move it away, and run the same `paraclip train` again, which makes it."
        raise UserError(path, f"was not made from {LAST} beside it", hint)
    with untrusted.build_errors(path):
        kind = KINDS.get(header["architecture"]["kind"], OpenClip)
        if kind is OpenClip:
            untrusted.check_config(header["open_clip"]["config"])
            untrusted.check_preprocessing(header["open_clip"]["preprocessing"])
            if not isinstance(header["architecture"]["name"], str):
                raise ValueError("its architecture's name is not text")
        untrusted.check_text_files(header.get("text_files"))
        # Widths and lengths, from which memory is allocated.
        untrusted.check_numbers([header["architecture"], header.get("sentence")])
        shapes = read_shapes(path)
        # Only the file's header was read so far, and this takes no memory for weights.
        empty = untrusted.lay_out(lambda: kind.from_header(header), len(shapes))
        with untrusted.build_errors(path, _MISFIT):
            check_fit(shapes, empty)
        model = kind.from_header(header)
    stored = model.architecture
    if architecture not in (None, (stored.name, stored.quick_gelu)):
        what = f"is a checkpoint of {stored.name}, not of {architecture[0]}"
        raise UserError(path, what, "Give the path alone: the checkpoint states its architecture.")
    copy_weights(model, path)
    # Damage inside the file changes no shape.
    if hash_tensors(model.state_dict()) != header.get("weights"):
        raise UserError(
            path, "its weights do not have the hash that its header states", untrusted.RETRY
        )
    model.made_from = provenance_of(model, header)
    return model.eval()


def provenance_of(model: DualEncoder, header: dict[str, Any]) -> dict[str, Any]:
    """What a header says of where its model comes from: data, base, options, weights."""
    excluded = {*model.header(), "format", "architecture", "logit_scale"}
    return {name: value for name, value in header.items() if name not in excluded}


def copy_weights(model: DualEncoder, path: Path) -> None:
    """Load the tensors, one at a time, so that they are not in memory twice."""
    check_readable(path)
    try:
        with safe_open(path, "pt") as stored:
            fill_weights(model, stored.get_tensor, path)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(path, _MISFIT, untrusted.RETRY) from error
