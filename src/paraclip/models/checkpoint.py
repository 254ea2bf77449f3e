"""ParaCLIP checkpoints: one safetensors file that holds the complete model and its provenance."""

import html
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.mini import Mini
from paraclip.models.tensors import hash_tensors, save_tensors
from paraclip.models.untrusted import (
    AGAIN,
    Shapes,
    build_errors,
    check_config,
    check_numbers,
    check_text_files,
    lay_out,
    shapes_of,
)

ASIDE = ("text_files", "open_clip")
WORDS = {  # line of the card: where its values stand in the header
    "base": ("base",),
    "data": ("data", "source"),
    "generator": ("generator", "generators"),
    "licence": ("licence", "license"),
}
TERMS = """\
Weights carry the terms of what they were made from: the base model, the pictures and captions,
and the paraphrases of the generator named above. A language model's licence or its vendor's terms
may bind what is trained on its answers. ParaCLIP itself is Apache-2.0.
"""


def model_card(name: str, header: dict[str, Any]) -> str:
    """Markdown from a checkpoint's header.

    Args:
        name: of the file.
        header: as `checkpoint.read_header` gives it.
    """
    architecture = header["architecture"]
    facts = {key: value for key, value in header.items() if key not in ASIDE}
    lines = [
        f"# {name}",
        "",
        "An image and a text encoder with one vector space, tuned by ParaCLIP.",
        "",
        f"- architecture: {architecture['name']} ({architecture['kind']})",
        f"- width of the vectors: {architecture['embed_dim']}",
        f"- QuickGELU: {'yes' if architecture['quick_gelu'] else 'no'}",
        f"- weights: {header.get('weights', 'unknown')} (SHA-256, first 16 digits)",
    ]
    for word, places in WORDS.items():
        found = sorted(set().union(*(named(facts, place) for place in places)))
        lines += [f"- {word}: {plain(value)}" for value in found or ["not recorded"]]
    lines += ["", "## Terms", "", TERMS, "## Everything in the header", "", "```json"]
    return "\n".join([*lines, json.dumps(facts, indent=2, default=str), "```", ""])


def plain(value: str) -> str:
    """A value from a header on one line of Markdown, where it is no HTML."""
    return html.escape(" ".join(value.split()), quote=False)


def named(facts: Any, word: str) -> set[str]:
    """Texts that stand under `word`, alone or in a list, anywhere in nested dictionaries.

    Hashes under `identity` are passed over: they say sameness, not what a thing is.
    """
    if not isinstance(facts, dict):
        return set()
    held = facts.get(word)
    values = held if isinstance(held, list) else [held]
    found = {value for value in values if isinstance(value, str) and value}
    return found.union(*(named(value, word) for key, value in facts.items() if key != "identity"))


FORMAT = "paraclip-model-1"


def save_model(model: DualEncoder, path: Path | str, extra: dict[str, Any] | None = None) -> Path:
    """Write both towers, the temperature and what builds them; a model card lies beside it.

    Args:
        model: what to save; weights are written as they are (float32).
        path: ends in `.safetensors`.
        extra: JSON-able facts for the header: provenance, configuration, base, generator.

    Raises:
        UserError: the disk is full or the place may not be written; nothing half is left.
    """
    path = Path(path)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    header = {
        "format": FORMAT,
        "architecture": model.architecture.as_dict(),
        "logit_scale": float(model.logit_scale.detach()),
        "weights": hash_tensors(tensors),
        **model.header(),
        **({"made_from": model.made_from} if model.made_from else {}),
        **(extra or {}),
    }
    write_tensors(tensors, path, header)
    write_text(path.with_suffix(".md"), model_card(path.name, header))
    return path


def write_tensors(tensors: dict[str, Tensor], path: Path, header: dict[str, Any]) -> None:
    """Write a safetensors file whole, the header as JSON under the metadata key `paraclip`."""
    metadata = {"format": "pt", "paraclip": json.dumps(header, default=str)}
    save_tensors(tensors, path, metadata)


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of one of our checkpoints; no weight is read.

    Raises:
        UserError: the file is missing, broken, or not a checkpoint of ours.
    """
    header = header_or_none(Path(path))
    if header is None:
        what = "holds weights, but not of ParaCLIP: they do not say which architecture they are"
        raise UserError(path, what, f"Say it before the path, as in ViT-B-32:{path}")
    return header


def header_or_none(path: Path) -> dict[str, Any] | None:
    """The header, or None for a safetensors file of somebody else.

    Raises:
        UserError: the file is missing or broken.
    """
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")
    try:
        with safe_open(path, "pt") as stored:
            text = (stored.metadata() or {}).get("paraclip")
        header = json.loads(text) if text else None
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(path, "is no whole safetensors file", AGAIN) from error
    return header if isinstance(header, dict) and "architecture" in header else None


def load_checkpoint(path: Path | str) -> DualEncoder:
    """The model in one of our checkpoints, on the CPU.

    Raises:
        UserError: the file is missing, broken, of another format, or holds other weights than
            its header says.
    """
    path = Path(path)
    header = read_header(path)
    if header.get("format") != FORMAT:
        what = f"has the format {header.get('format')}, this version reads {FORMAT}"
        raise UserError(path, what, "Use the version of ParaCLIP that wrote it.")
    model = build(path, header)
    copy_weights(model, path)
    if hash_tensors(model.state_dict()) != header.get("weights"):
        raise UserError(path, "its weights are not those that its header tells of", AGAIN)
    bulky = {*model.header(), "format", "architecture", "logit_scale"}
    model.made_from = {name: value for name, value in header.items() if name not in bulky}
    return model.eval()


def build(path: Path, header: dict[str, Any]) -> DualEncoder:
    """The model that the header describes, with random weights.

    Its shapes are compared with those of the file's tensors before memory is taken for them.

    Raises:
        UserError: it describes no model, or another one than the tensors are of.
    """
    with build_errors(path):
        if header["architecture"]["kind"] != "mini":
            check_config(header["open_clip"]["config"])
        check_text_files(header["text_files"])
        check_numbers(header["architecture"])
        shapes = stored_shapes(path)
        if shapes_of(lay_out(lambda: described(header), len(shapes))) != shapes:
            raise UserError(path, "its weights do not fit its header", AGAIN)
        return described(header)


def described(header: dict[str, Any]) -> DualEncoder:
    """The model that a header describes, with random weights."""
    from paraclip.models.openclip import OpenClip

    if header["architecture"]["kind"] == "mini":
        return Mini.from_header(header)
    return OpenClip.from_header(header)


def stored_shapes(path: Path) -> Shapes:
    """Shape of each tensor in a safetensors file."""
    with safe_open(path, "pt") as stored:
        return {name: list(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118


def copy_weights(model: DualEncoder, path: Path) -> None:
    """Load the tensors, one at a time."""
    ours = model.state_dict()
    try:
        with safe_open(path, "pt") as stored:
            for name in ours:
                ours[name].copy_(stored.get_tensor(name))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(path, "its weights do not fit its header", AGAIN) from error
