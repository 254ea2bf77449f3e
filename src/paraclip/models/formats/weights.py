"""Weights from files; code in them is never run."""

import warnings
import zipfile
from argparse import Namespace
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError

import torch
from open_clip import get_pretrained_cfg, list_pretrained
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from paraclip.errors import UserError
from paraclip.models.formats.untrusted import lay_out
from paraclip.models.openclip import ClipSpec, build_clip

_State = dict[str, Tensor]
_BROKEN = "Download it again, or name another file."
# A weight needs at least one byte, but tied weights are stored once.
_WEIGHTS_PER_BYTE = 4
_POSITIONS = "text.transformer.embeddings.position_ids"  # older transformers stored them


def read_state(path: Path) -> _State:
    """Tensors by name from .safetensors, or from .pt, .pth and .bin read with `weights_only`.

    Training checkpoints with the weights under `state_dict` are supported, and names that begin
    with `module.`. OpenAI's files are TorchScript, which is code: they are read only if their
    SHA-256 was published by OpenAI.
    """
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except UserError:
        raise
    except UnpicklingError as error:
        hint = "Convert it to .safetensors if you trust it; ParaCLIP runs no code from files."
        raise UserError(path, "holds more than tensors", hint) from error
    except Exception as error:  # a damaged archive or pickle can raise any
        raise UserError(path, "is not a readable file of weights", _BROKEN) from error
    weights = _named_tensors(state, path)
    if sum(value.numel() for value in weights.values()) > _WEIGHTS_PER_BYTE * path.stat().st_size:
        raise UserError(path, "describes more weights than it holds", _BROKEN)
    return weights


def _read_torch(path: Path) -> object:
    """The content of a file in one of torch's formats."""
    if is_torchscript(path):
        if not from_openai(path):
            hint = "Save its state_dict() as .safetensors and name that."
            raise UserError(path, "is a TorchScript program, not weights", hint)
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        others = ("input_resolution", "context_length", "vocab_size")
        return {name: value for name, value in script.state_dict().items() if name not in others}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                hint = "Save the state_dict() with torch.save, which does not compress."
                raise UserError(path, "is a compressed archive", hint)
    # Training programs store their arguments next to the weights; a namespace runs no code.
    with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def from_openai(path: Path) -> bool:
    """Whether OpenAI published the file; its download URLs contain the SHA-256."""
    addresses = [get_pretrained_cfg(*names).get("url", "") for names in list_pretrained()]
    published = {address.split("/")[-2] for address in addresses if "openaipublic" in address}
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() in published


def _named_tensors(state: object, path: Path) -> _State:
    """The dictionary of tensors, with a leading `module.` removed from names."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise UserError(path, "holds no weights by name", _BROKEN)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(path, "holds other things among the weights", _BROKEN)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def fitted_clip(spec: ClipSpec, state: _State, path: object) -> nn.Module:
    """Build the open_clip model that `spec` describes, with these weights.

    Raises:
        UserError: the weights belong to another architecture; nothing was allocated.
        Exception: any error of open_clip, timm or transformers for an invalid specification.
    """
    empty = lay_out(lambda: build_clip(spec), len(state))
    state = open_clip_names(empty, state)
    _check_state(empty.state_dict(), state, path, spec.name)
    clip = build_clip(spec)
    clip.load_state_dict(state)
    return clip


def open_clip_names(clip: nn.Module, state: _State) -> _State:
    """Weights under the names of a model from `build_clip`."""
    state = convert_to_custom_text_state_dict(convert_state_dict(clip, state))
    state.pop(_POSITIONS, None)
    scale = clip.state_dict()["logit_scale"]
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(scale.shape)
    return state


def _check_state(ours: _State, theirs: _State, path: object, name: str) -> None:
    """Check that weights match a model exactly."""
    hint = "Name the architecture that the weights were trained with."
    for key in ours:
        if key not in theirs:
            raise UserError(path, f"does not fit {name}: it has no {key}", hint)
        if ours[key].shape != theirs[key].shape:
            shapes = f"{list(theirs[key].shape)}, not {list(ours[key].shape)}"
            raise UserError(path, f"does not fit {name}: {key} is {shapes}", hint)
    for key in theirs:
        if key not in ours:
            raise UserError(path, f"does not fit {name}: it has an extra {key}", hint)
