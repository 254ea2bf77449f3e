"""CLIPs of open_clip and Hugging Face, by name or folder; code in files of weights is never run.

A name becomes an architecture, preprocessing and a file of weights, which are checked before
anything is built. A model is first laid out without memory, and built only if the weights fit.
"""

import os
import re
import sys
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError
from paraclip.files import check_file, check_input
from paraclip.models.checkpoint import header_or_none, load_checkpoint, provenance_of
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats import hugging_face, published, untrusted
from paraclip.models.formats.clip_tokenizer import siglip_tokenizer_files
from paraclip.models.formats.sentences import MODULES, describe_sentences
from paraclip.models.openclip import AS_TRANSFORMERS, ClipSpec, OpenClip, build_clip
from paraclip.models.sources import FOLDER, HUB, QUICK, SUFFIXES, text_files_of
from paraclip.models.tensors import check_fit, fill_weights, hash_tensors

_State = dict[str, Tensor]
_CONFIG = "open_clip_config.json"
PROVENANCE = "paraclip"
"""Key of that file under which an export states where the model comes from."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")  # transformers' names of parts
_BROKEN = "Download it again, or name another file."
_FIT = "Name the architecture of the weights; quantised ones cannot be read."
# A weight needs at least one byte, but tied weights are stored once.
_WEIGHTS_PER_BYTE = 4
_POSITIONS = "text.transformer.embeddings.position_ids"  # older transformers stored them


def describe_clip(name: str) -> Callable[[], DualEncoder]:
    """How to build the CLIP of a name, which `check_model` has passed."""
    if (repository := name.removeprefix(HUB)) != name:
        return _in_folder(published.download_folder(repository), repository.partition("/")[2])
    if name.startswith(FOLDER) or os.path.isdir(name):
        return _in_folder(Path(name.removeprefix(FOLDER)))
    return _by_name(name)


def _in_folder(folder: Path, name: str | None = None) -> Callable[[], DualEncoder]:
    """The model in a folder of open_clip, transformers or sentence-transformers; nothing is
    downloaded."""
    check_input(folder)
    stated: Any = {}
    if (path := folder / _CONFIG).is_file():
        preferred: tuple[str, ...] = ("open_clip_",)
        with untrusted.build_errors(path, "is not an open_clip configuration"):
            content = read_json_object(path, _BROKEN)
            # As in open_clip, the file may also be the model's configuration itself.
            config = content.get("model_cfg", content)
            preprocessing = dict(content.get("preprocess_cfg") or {})
            untrusted.check_config(config)
            untrusted.check_preprocessing(preprocessing)
        stated = content.get(PROVENANCE, {})
    elif found := hugging_face.open_clip_config_of(folder):
        preferred = ("model", "pytorch_model")
        config, preprocessing = found, hugging_face.preprocessing_of_folder(folder)
    elif (folder / MODULES).is_file():

        def read_weights(inner: Path) -> _State:
            return _read_state(_weights_in(inner, ("model", "pytorch_model")))

        return describe_sentences(folder, name or folder.resolve().name, read_weights)
    else:
        own = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*/*.safetensors"))][:3]
        hint = f"Name one: {', '.join(map(str, own))}" if own else "Check the path."
        what = f"is not the folder of a model: it has no {_CONFIG}, and no config.json of CLIP"
        raise UserError(folder, what, hint)
    stated = stated if isinstance(stated, dict) else {}
    known = stated.get("architecture")
    name = known if isinstance(known, str) else name or folder.resolve().name
    build = _checked(_weights_in(folder, preferred), name, config, preprocessing, hub=False)
    return partial(_with_provenance, build, stated, path) if stated else build


def _with_provenance(
    build: Callable[[], DualEncoder], stated: dict[str, Any], path: Path
) -> DualEncoder:
    """The model of an export, with what it states of its origin; raises UserError for others'
    weights."""
    model = build()
    if stated.get("weights") not in (None, hash_tensors(model.state_dict())):
        raise UserError(path, "states the hash of other weights", _BROKEN)
    model.made_from = provenance_of(model, stated)
    return model


def _by_name(full_name: str) -> Callable[[], DualEncoder]:
    """An architecture of open_clip with the weights of a tag or a file.

    Activation and preprocessing are those of the tag: the given one, or that of a published file,
    recognised by its name or hash. For other files, the name of the architecture determines the
    activation, and the preprocessing is that of its published weights.
    """
    name, _, weights = full_name.partition(":")
    name = name.replace("/", "-")
    config: dict[str, Any] = open_clip.get_model_config(name)
    tag: dict[str, Any] | None = open_clip.get_pretrained_cfg(name, weights)
    if tag:
        path = published.download(name, weights, tag)
    else:
        named, _, file = weights.partition(":")
        tag = open_clip.get_pretrained_cfg(name, named) if file else {}
        path = Path(os.path.expanduser(file if tag else weights))
        # A checkpoint of ours states all that follows.
        if path.suffix == ".safetensors" and header_or_none(path) is not None:
            return partial(load_checkpoint, path, (name, bool(config.get("quick_gelu", False))))
        tag = tag or published.published_as(name.removesuffix(QUICK), path)
        if tag and name.endswith(QUICK) and not tag.get("quick_gelu"):
            hint = f"Use {name.removesuffix(QUICK)}:{path}"
            raise UserError(path, "was trained without QuickGELU", hint)
    # open_clip itself follows the configuration and warns if the tag differs. Here a tag without
    # the field overrides nothing (`roberta-ViT-B-32`), and one that requires QuickGELU gets it even
    # under a name without it (`ViT-B-32:openai`).
    config["quick_gelu"] = any(one.get("quick_gelu") for one in (config, tag or {}))
    preprocessing = published.agreed_preprocessing(name, path) if tag is None else tag
    if tag is None and not config["quick_gelu"] and name + QUICK in open_clip.list_models():
        print(
            f"{path}: the file does not state its activation; using GELU because of the name"
            f" {name}. If it was trained with QuickGELU, use {name}{QUICK}:{path}",
            file=sys.stderr,
        )
    return _checked(path, name, config, preprocessing, hub=True)


def _weights_in(folder: Path, preferred: tuple[str, ...]) -> Path:
    """The file of weights in a folder; preferred names come first, then safetensors.

    A repository may hold the same model in the layouts of open_clip and of Hugging Face, and in
    half precision next to it (`model.fp16.safetensors`), which has the longer name.

    Raises:
        UserError: there are no weights, or they are spread over several files.
    """
    weights = [file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES]
    weights.sort(
        key=lambda file: (
            not file.name.startswith(preferred), file.suffix != ".safetensors", len(file.name)
        )
    )  # fmt: skip
    if not weights:
        raise UserError(folder, "holds no weights", "Put model.safetensors there.")
    if _SHARD.search(weights[0].name):
        hint = "Save the model as one file: save_pretrained(FOLDER, max_shard_size='100GB')."
        raise UserError(folder, "spreads its weights over several files", hint)
    return weights[0]


def _checked(
    weights: Path, name: str, config: dict[str, Any], preprocessing: dict[str, Any], *, hub: bool
) -> Callable[[], DualEncoder]:
    """How to build a model of open_clip from its configuration, fields of a tag and weights.

    With `hub`, the configuration is open_clip's own, and the tokenizer that it names may be
    downloaded; else it is that of the folder that holds all of the model.
    """
    where = weights if hub else weights.parent
    texts = text_files_of(config["text_cfg"], weights.parent, hub)
    with untrusted.build_errors(where):
        untrusted.check_text_files(texts)
        if texts and config["text_cfg"].get("tokenizer_mode") == AS_TRANSFORMERS:
            texts = siglip_tokenizer_files(texts)
    name = published.quick_name(name, bool(config.get("quick_gelu")))
    spec = ClipSpec(name, config, published.preprocessing_of(preprocessing), texts)
    return partial(_build, spec, weights, where)


def _build(spec: ClipSpec, path: Path, where: Path) -> OpenClip:
    """The model that `spec` describes, with the weights in a file; raises UserError, before memory
    is allocated, for weights of another architecture."""
    state = _read_state(path)
    with untrusted.build_errors(where):
        return clip_of_weights(spec, state, path)


def clip_of_weights(spec: ClipSpec, state: _State, path: Path | str) -> OpenClip:
    """The model that `spec` describes, with weights from `path`."""
    empty = untrusted.lay_out(lambda: build_clip(spec), len(state))
    with untrusted.build_errors(path, f"does not fit {spec.name}", _FIT):
        state = open_clip_names(empty, state)
        check_fit({name: list(value.shape) for name, value in state.items()}, empty)
    clip = build_clip(spec)  # only now with memory: the file holds weights of all these shapes
    fill_weights(clip, state.__getitem__, path)
    return OpenClip(spec, clip)


def open_clip_names(clip: nn.Module, state: _State) -> _State:
    """Weights of any of the layouts, under the names of a model from `build_clip`; raises
    ValueError for weights of transformers that such a model lacks."""
    if (known := hugging_face.from_hugging_face(state)) is None:
        known = convert_to_custom_text_state_dict(convert_state_dict(clip, state))
    state = {name: value for name, value in known.items() if name != _POSITIONS}
    ours = clip.state_dict()
    for name in ("logit_scale", "logit_bias"):  # of one number, stored with or without a dimension
        if name in ours and name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(ours[name].shape)
    return state


def _read_state(path: Path) -> _State:
    """Tensors by name from .safetensors, or from .pt, .pth and .bin read with `weights_only`.

    Training checkpoints with the weights under `state_dict` are supported, and names that begin
    with `module.`. OpenAI's files are TorchScript, which is code: they are read only if their
    SHA-256 was published by OpenAI.
    """
    check_file(path)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except UserError:
        raise
    except UnpicklingError as error:
        hint = "Convert it to .safetensors if you trust it; ParaCLIP runs no code from files."
        raise UserError(path, "holds more than tensors", hint) from error
    except Exception as error:  # a damaged archive or pickle can raise any
        raise UserError(path, "is not a readable file of weights", _BROKEN) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise UserError(path, "holds no weights by name", _BROKEN)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(path, "holds other things among the weights", _BROKEN)
    if sum(value.numel() for value in state.values()) > _WEIGHTS_PER_BYTE * path.stat().st_size:
        raise UserError(path, "describes more weights than it holds", _BROKEN)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _read_torch(path: Path) -> object:
    """The content of a file in one of torch's formats."""
    if published.is_torchscript(path):
        if not published.from_openai(path):
            hint = "Save its state_dict() as .safetensors and name that."
            raise UserError(path, "is a TorchScript program, not weights", hint)
        script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        # Constants of OpenAI's program, which open_clip leaves out as well.
        others = ("input_resolution", "context_length", "vocab_size")
        return {name: value for name, value in script.state_dict().items() if name not in others}
    # torch.load would expand an archive of zeros to any size; files before torch 1.6 are no zip.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                hint = "Save the state_dict() with torch.save, which does not compress."
                raise UserError(path, "is a compressed archive", hint)
    # Training programs store their arguments next to the weights; a namespace runs no code.
    with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
        warnings.simplefilter("ignore")  # about pickle protocols
        return torch.load(path, map_location="cpu", weights_only=True)
