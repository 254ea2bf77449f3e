"""Weights from files, without ever running code that lies in them."""

import warnings
import zipfile
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError

import torch
from open_clip import get_pretrained_cfg, list_pretrained
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from paraclip.errors import UserError
from paraclip.models.openclip import ClipSpec, build_clip
from paraclip.models.untrusted import lay_out

State = dict[str, Tensor]
BROKEN = "Download it again, or give another file."
# A weight takes a byte or more, but tied weights are stored once.
MOST_OF_FILE = 4
POSITIONS = "text.transformer.embeddings.position_ids"  # older transformers stored them


def read_state(path: Path) -> State:
    """Tensors by name from .safetensors, or from .pt, .pth and .bin read with `weights_only`.

    Training checkpoints that hold the weights under `state_dict`, and names that begin with
    `module.`, are understood. OpenAI's own files are TorchScript, which is code: they are read
    only if their SHA-256 is one that OpenAI published.

    Raises:
        UserError: the file is missing, broken, or holds more than tensors.
    """
    if not path.is_file():
        raise UserError(path, "there is no such file", "Check the path.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else read_torch(path)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(path, "is no readable file of weights", BROKEN) from error
    except UnpicklingError as error:
        hint = "Convert it to .safetensors where you trust it; ParaCLIP runs no code from files."
        raise UserError(path, "holds more than tensors", hint) from error
    found = plain_names(state, path)
    if sum(value.numel() for value in found.values()) > MOST_OF_FILE * path.stat().st_size:
        raise UserError(path, "describes more weights than it holds", BROKEN)
    return found


def read_torch(path: Path) -> object:
    """What is in a file of torch's."""
    if is_torchscript(path):
        if not from_openai(path):
            hint = "Save its state_dict() as .safetensors and give that."
            raise UserError(path, "is a TorchScript program, not weights", hint)
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        others = ("input_resolution", "context_length", "vocab_size")
        return {name: value for name, value in script.state_dict().items() if name not in others}
    if is_compressed(path):
        hint = "torch compresses nothing: save the state_dict() again."
        raise UserError(path, "is a compressed archive", hint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; errors are told in our words
        return torch.load(path, map_location="cpu", weights_only=True)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def is_compressed(path: Path) -> bool:
    """Whether something in a zip archive would grow when it is read."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def from_openai(path: Path) -> bool:
    """Whether the file is one of OpenAI's, by the SHA-256 in the addresses of its files."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() in openai_hashes()


def openai_hashes() -> set[str]:
    """SHA-256 of the files that OpenAI published."""
    addresses = [get_pretrained_cfg(*names).get("url", "") for names in list_pretrained()]
    return {address.split("/")[-2] for address in addresses if "openaipublic" in address}


def plain_names(state: object, path: Path) -> State:
    """The dictionary of tensors inside, without `module.` before the names."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise UserError(path, "holds no weights by name", BROKEN)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(path, "holds other things between the weights", BROKEN)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def fitted_clip(spec: ClipSpec, state: State, path: object) -> nn.Module:
    """The model of open_clip that `spec` describes, with weights under open_clip's names.

    Raises:
        UserError: they are the weights of another architecture; nothing was allocated then.
        Exception: whatever open_clip, timm and transformers have for a specification that
            describes no model.
    """
    empty = lay_out(lambda: build_clip(spec), len(state))
    state = open_clip_names(empty, state)
    check_state(empty.state_dict(), state, path, spec.name)
    clip = build_clip(spec)
    clip.load_state_dict(state)
    return clip


def load_open_clip_state(clip: nn.Module, state: State, path: object, name: str) -> None:
    """Load weights with open_clip's names into `build_clip`'s model.

    Raises:
        UserError: they are the weights of another architecture; nothing was loaded.
    """
    state = open_clip_names(clip, state)
    check_state(clip.state_dict(), state, path, name)
    clip.load_state_dict(state)


def open_clip_names(clip: nn.Module, state: State) -> State:
    """Weights as `build_clip`'s model names them."""
    state = convert_to_custom_text_state_dict(convert_state_dict(clip, state))
    state.pop(POSITIONS, None)
    scale = clip.state_dict()["logit_scale"]
    if "logit_scale" in state and state["logit_scale"].numel() == 1:
        state["logit_scale"] = state["logit_scale"].reshape(scale.shape)
    return state


def check_state(ours: State, theirs: State, path: object, name: str) -> None:
    """Refuse weights that do not fit to the last tensor.

    Raises:
        UserError: it names the first tensor that is missing, superfluous or of another shape.
    """
    hint = "Name the architecture that the weights were trained with."
    for key in ours:
        if key not in theirs:
            raise UserError(path, f"does not fit {name}: it has no {key}", hint)
        if ours[key].shape != theirs[key].shape:
            shapes = f"{list(theirs[key].shape)}, not {list(ours[key].shape)}"
            raise UserError(path, f"does not fit {name}: {key} is {shapes}", hint)
    for key in theirs:
        if key not in ours:
            raise UserError(path, f"does not fit {name}: it has {key} besides", hint)
