"""`load_model`: load a model by its name."""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError, nearest
from paraclip.files import check_input, read_bounded, readable
from paraclip.models.checkpoint import header_or_none, load_checkpoint
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.untrusted import (
    build_errors,
    check_config,
    check_preprocessing,
    check_text_files,
)
from paraclip.models.mini import Mini, SentenceModel
from paraclip.models.sources import BUILT_IN, FOLDER, SUFFIXES, text_files_of

_HUB = "hf-hub:"
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


def load_model(name: str, device: str = "auto") -> DualEncoder:
    """Load a model, in evaluation mode.

    Args:
        name: one of `mini`; `minilm` (text encoder only); a ParaCLIP checkpoint (`.safetensors`);
            `NAME:TAG`, an architecture of open_clip and a pretrained tag, which is downloaded;
            `NAME:FILE` or `NAME:TAG:FILE`, weights in a local file, the latter with the activation
            and the preprocessing of that tag; `local-dir:FOLDER` or just the folder, with
            `open_clip_config.json` or a Hugging Face CLIP's `config.json`, and weights;
            `hf-hub:OWNER/NAME`, such a folder on the Hugging Face hub.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        UserError: the name or the device is unknown, the file is missing, broken or of another
            architecture, or the download failed.
    """
    with readable(name):
        return describe(name)().to(find_device(device)).eval()


def loaded_model(model: DualEncoder | Path | str, device: str = "auto") -> DualEncoder:
    """The model itself, or the one of this name from `load_model`."""
    return model if isinstance(model, DualEncoder) else load_model(str(model), device)


def find_device(device: str) -> torch.device:
    """The device with that name; auto is a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).item()  # fails on `meta`, which holds no values
    except (RuntimeError, AssertionError, ImportError) as error:
        what = f"this machine has no device {device!r}"
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise UserError("--device", what, f"Choose {usable}.") from error
    return torch.device(device)


def describe(name: str) -> Callable[[], DualEncoder]:
    """What a name stands for, checked before anything is built: the rest of the way is one call.

    The files of a tokenizer and weights that a tag names are downloaded here.

    Returns:
        The function that builds the model on the CPU.
    """
    built_in: dict[str, Callable[[], DualEncoder]] = {
        "mini": Mini.from_wheels,
        "minilm": SentenceModel.from_wheel,
    }
    if name in built_in:
        return built_in[name]
    if name.startswith(_HUB):
        from paraclip.models.formats.published import download_folder

        repository = name.removeprefix(_HUB)
        return _describe_folder(download_folder(repository), repository.partition("/")[2])
    if name.startswith(FOLDER) or os.path.isdir(name):
        return _describe_folder(Path(name.removeprefix(FOLDER)))
    architecture, colon, weights = name.partition(":")
    if not colon and (os.path.isfile(name) or name.endswith(SUFFIXES)):
        check_input(name)
        if os.path.isfile(name) and not name.endswith(".safetensors"):
            what = "holds weights of an unknown architecture"
            raise UserError(name, what, f"Name it before the path, as in ViT-B-32:{name}")
        return partial(load_checkpoint, Path(name))
    if not colon:
        import open_clip

        what, hint = "is not a known model", nearest(name, [*BUILT_IN, *open_clip.list_models()])
        if name in open_clip.list_models():
            tags = open_clip.list_pretrained_tags_by_model(name)
            what = "names an architecture but no weights"
            hint = f"Name them, as in {name}:{tags[-1] if tags else 'weights.safetensors'}"
        raise UserError(name, what, hint)
    return _describe_weights(architecture.replace("/", "-"), weights)


def _describe_folder(folder: Path, name: str | None = None) -> Callable[[], DualEncoder]:
    """A folder of open_clip or of a Hugging Face CLIP; nothing is downloaded."""
    from paraclip.models.formats.hugging_face import (
        from_hugging_face,
        open_clip_config_of,
        preprocessing_of_folder,
    )

    check_input(folder)
    name = name or folder.resolve().name
    if (path := folder / _OPEN_CLIP_CONFIG).is_file():
        with build_errors(path, "is not an open_clip configuration"):
            content = parse_json_object(read_bounded(path))
            config = content.get("model_cfg", content)
            preprocessing = dict(content.get("preprocess_cfg") or {})
            check_config(config)
            check_preprocessing(preprocessing)
        weights = _weights_in(folder, "open_clip_")
        return _clip_from(weights, name, config, preprocessing, folder)
    if config := open_clip_config_of(folder):
        preprocessing = preprocessing_of_folder(folder)
        weights = _weights_in(folder, "model", "pytorch_model")
        return _clip_from(weights, name, config, preprocessing, folder, from_hugging_face)
    own = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*/*.safetensors"))][:3]
    hint = f"Name one: {', '.join(map(str, own))}" if own else "Check the path."
    what = (
        f"is not the folder of a model: it has no {_OPEN_CLIP_CONFIG}, and no config.json of CLIP"
    )
    raise UserError(folder, what, hint)


def _describe_weights(name: str, weights: str) -> Callable[[], DualEncoder]:
    """An architecture of open_clip with the weights of a tag or a file.

    Activation and preprocessing are those of the tag: the given one, or that of a published file,
    recognised by its name or hash. For other files, the name of the architecture determines the
    activation, and the preprocessing is that of its published weights.
    """
    import open_clip

    from paraclip.models.formats import published
    from paraclip.models.formats.published import QUICK

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise UserError(name, "is not a known model", nearest(name, open_clip.list_models()))
    notice = ""
    if settings := open_clip.get_pretrained_cfg(name, weights):
        config["quick_gelu"] = published.uses_quick_gelu(config, settings)
        path = published.download(name, weights, settings)
    else:
        tag, _, file = weights.partition(":")
        settings = open_clip.get_pretrained_cfg(name, tag) if file else {}
        path = Path(os.path.expanduser(file if settings else weights))
        check_input(path)
        if not path.is_file():
            if path.suffix in SUFFIXES or "/" in str(path):
                raise UserError(path, "there is no such file", "Check the path.")
            tags = open_clip.list_pretrained_tags_by_model(name)
            hint = nearest(weights, tags) if tags else "Name a file of weights after the colon."
            raise UserError(f"{name}:{weights}", "open_clip has no such weights", hint)
        if path.suffix == ".safetensors" and header_or_none(path) is not None:
            return partial(load_checkpoint, path, (name, bool(config.get("quick_gelu", False))))
        known = settings or published.published_as(name.removesuffix(QUICK), path)
        if known and name.endswith(QUICK) and not known.get("quick_gelu"):
            hint = f"Use {name.removesuffix(QUICK)}:{path}"
            raise UserError(path, "was trained without QuickGELU", hint)
        settings = known if known is not None else published.agreed_preprocessing(name, path)
        config["quick_gelu"] = published.uses_quick_gelu(config, known or {})
        if known is None and not config["quick_gelu"] and name + QUICK in open_clip.list_models():
            notice = (
                f"{path}: the file does not state its activation; using GELU because of the name"
                f" {name}. If it was trained with QuickGELU, use {name}{QUICK}:{path}"
            )
    return _clip_from(path, name, config, settings, notice=notice)


def _clip_from(
    weights: Path,
    name: str,
    config: dict[str, Any],
    preprocessing: dict[str, Any],
    folder: Path | None = None,
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    notice: str = "",
) -> Callable[[], DualEncoder]:
    """The model of open_clip with this architecture, preprocessing and file of weights.

    Args:
        weights: the file.
        name: name of the architecture; `-quickgelu` is added if the configuration states QuickGELU.
        config: open_clip's model configuration, checked.
        preprocessing: fields of a tag, checked.
        folder: folder that holds all of it; None if the configuration is open_clip's own, so that
            the tokenizer that it names may be downloaded.
        renamed: converts the weights to open_clip's names.
        notice: what the user is told when it is loaded.
    """
    from paraclip.models.formats.published import preprocessing_of, quick_name
    from paraclip.models.formats.weights import fitted_clip, read_state
    from paraclip.models.openclip import ClipSpec, OpenClip

    texts = text_files_of(config["text_cfg"], weights.parent, hub=folder is None)
    with build_errors(folder or weights):
        check_text_files(texts)
    name = quick_name(name, bool(config.get("quick_gelu")))
    spec = ClipSpec(name, config, preprocessing_of(preprocessing), texts)

    def build() -> DualEncoder:
        state = read_state(weights)
        with build_errors(folder or weights):
            state = renamed(state) if renamed else state
            model = OpenClip(spec, fitted_clip(spec, state, weights))
        if notice:
            print(notice, file=sys.stderr)
        return model

    return build


def _weights_in(folder: Path, *preferred: str) -> Path:
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
