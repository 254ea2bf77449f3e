"""`load_model`: load a model by its name."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from paraclip.data.untrusted_json import parse_json
from paraclip.errors import UserError, nearest
from paraclip.files import check_input, read_bounded, readable
from paraclip.models.checkpoint import header_or_none, load_checkpoint
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.untrusted import (
    build_errors,
    check_config,
    check_preprocessing,
    check_text_files,
    lay_out,
)
from paraclip.models.mini import Mini, SentenceModel, load_bert
from paraclip.models.sources import BUILT_IN, FOLDER, SUFFIXES, read_text_files
from paraclip.models.tensors import read_shapes

_HUB = "hf-hub:"
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_SENTENCE_PARTS = "modules.json"
_TEXT_LIMITS = (
    ("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")
)  # fmt: skip
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


def load_model(name: str, device: str = "auto") -> DualEncoder:
    """Load a model, in evaluation mode.

    Args:
        name: one of `mini`; `mini-flickr8k` (with heads trained on Flickr8k: non-commercial
            research); `minilm` (text encoder only); a ParaCLIP checkpoint (`.safetensors`);
            `NAME:TAG`, an architecture of open_clip and a pretrained tag, which is downloaded;
            `NAME:FILE` or `NAME:TAG:FILE`, weights in a local file, the latter with the activation
            and the preprocessing of that tag; `local-dir:FOLDER` or just the folder, with
            `open_clip_config.json` or a Hugging Face CLIP's `config.json`, and weights, or with
            the `modules.json` of sentence-transformers (text encoder only);
            `hf-hub:OWNER/NAME`, such a folder on the Hugging Face hub.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        UserError: the name or the device is unknown, the file is missing, broken or of another
            architecture, or the download failed.
    """
    with readable(name):
        return _named_model(name).to(find_device(device)).eval()


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


def _named_model(name: str) -> DualEncoder:
    """The model on the CPU."""
    if name == "mini":
        return Mini.from_wheels()
    if name == "mini-flickr8k":
        return Mini.with_linear_heads()
    if name == "minilm":
        return SentenceModel.from_wheel()
    if name.startswith(FOLDER):
        return _from_folder(Path(name.removeprefix(FOLDER)))
    if name.startswith(_HUB):
        from paraclip.models.formats.published import download_folder

        repository = name.removeprefix(_HUB)
        return _from_folder(download_folder(repository), repository.partition("/")[2])
    if os.path.isdir(name):
        return _from_folder(Path(name))
    architecture, colon, weights = name.partition(":")
    if not colon and (os.path.isfile(name) or name.endswith(SUFFIXES)):
        check_input(name)
        if os.path.isfile(name) and not name.endswith(".safetensors"):
            what = "holds weights of an unknown architecture"
            raise UserError(name, what, f"Name it before the path, as in ViT-B-32:{name}")
        return load_checkpoint(Path(name))
    if not colon:
        import open_clip

        what, hint = "is not a known model", nearest(name, [*BUILT_IN, *open_clip.list_models()])
        if name in open_clip.list_models():
            tags = open_clip.list_pretrained_tags_by_model(name)
            what = "names an architecture but no weights"
            hint = f"Name them, as in {name}:{tags[-1] if tags else 'weights.safetensors'}"
        raise UserError(name, what, hint)
    return _from_open_clip(architecture.replace("/", "-"), weights)


def _from_folder(folder: Path, name: str | None = None) -> DualEncoder:
    """Load a folder of open_clip or of a Hugging Face CLIP, without downloads from a hub.

    Args:
        folder: folder with `open_clip_config.json` or `config.json` of a `CLIPModel`, and weights.
        name: name of the model; by default that of the folder.

    Raises:
        UserError: a file is missing, or they do not match.
    """
    from paraclip.models.formats.hugging_face import (
        from_hugging_face,
        is_hugging_face,
        open_clip_config_of,
        preprocessing_of_folder,
    )

    check_input(folder)
    name = name or folder.resolve().name
    if (folder / _OPEN_CLIP_CONFIG).is_file():
        config, preprocessing = _read_open_clip_config(folder / _OPEN_CLIP_CONFIG)
        weights = _weights_in(folder, "open_clip_")
        return _build_open_clip(name, config, preprocessing, weights, hub=False)
    if is_hugging_face(folder):
        config, preprocessing = open_clip_config_of(folder), preprocessing_of_folder(folder)
        weights = _weights_in(folder, "model", "pytorch_model")
        return _build_open_clip(name, config, preprocessing, weights, False, from_hugging_face)
    if (folder / _SENTENCE_PARTS).is_file():
        return _sentence_model(folder, name)
    own = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*/*.safetensors"))][:3]
    hint = f"Name one: {', '.join(map(str, own))}" if own else "Check the path."
    what = (
        f"is not the folder of a model: it has no {_OPEN_CLIP_CONFIG}, and no config.json of CLIP"
    )
    raise UserError(folder, what, hint)


def _sentence_model(folder: Path, name: str) -> DualEncoder:
    """A model of sentence-transformers: the mean of the states of a BERT or a relative of it."""
    with build_errors(folder):
        part = folder / _averaged_part(folder)
        path = part / "model.safetensors"
        if missing := [one for one in (path, part / "tokenizer.json") if not one.is_file()]:
            hint = "Save the model again with a newer version of sentence-transformers."
            raise UserError(missing[0], "there is no such file", hint)
        files = read_text_files(part)
        check_text_files(files)
        shapes = read_shapes(path)
        empty = lay_out(lambda: SentenceModel(files).text_tower.transformer, len(shapes))
        if any(shapes.get(one) != list(value.shape) for one, value in empty.state_dict().items()):
            raise ValueError("its weights do not fit its config.json")
        model = SentenceModel(files, name)
        limit = _text_limit(part, model.architecture.context_length)
        model.architecture = replace(model.architecture, context_length=limit)
        load_bert(model.text_tower.transformer, path)
    return model


def _averaged_part(folder: Path) -> str:
    """The subfolder of the transformer whose states a model of sentence-transformers averages.

    Raises:
        ValueError: the model is made of other parts.
    """
    parts = parse_json(read_bounded(folder / _SENTENCE_PARTS))
    kinds = [part["type"].rpartition(".")[2] for part in parts]
    first, *others = (part["path"] for part in parts)
    if any(Path(path).name != path for path in (first, *others)):
        raise ValueError(f"{_SENTENCE_PARTS} names another folder")
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(f"it is not the mean of a transformer's states, but {', '.join(kinds)}")
    pooling = parse_json(read_bounded(folder / others[0] / "config.json"))
    # Versions before 6 have an entry for each mode.
    modes = {key.removeprefix("pooling_mode_") for key, value in pooling.items() if value is True}
    if pooling.get("pooling_mode", "mean") != "mean" or modes - {"mean_tokens", "include_prompt"}:
        raise ValueError("it pools a transformer's states otherwise than by their mean")
    return str(first)


def _text_limit(part: Path, most: int) -> int:
    """Tokens after which sentence-transformers cuts a text, as the model's files say; or `most`."""
    for name, key in _TEXT_LIMITS:
        known = parse_json(read_bounded(part / name)) if (part / name).is_file() else {}
        if known.get(key):
            return max(2, min(most, int(known[key])))
    return most


def _read_open_clip_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and preprocessing of an open_clip folder; raises UserError if broken."""
    try:
        content = json.loads(read_bounded(path))
        config = content.get("model_cfg", content)
        preprocessing = dict(content.get("preprocess_cfg") or {})
        check_config(config)
        check_preprocessing(preprocessing)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        what = f"is not an open_clip configuration ({error})"
        raise UserError(path, what, "Correct it, or download it again.") from error
    return config, preprocessing


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


def _from_open_clip(name: str, weights: str) -> DualEncoder:
    """Load an architecture of open_clip with the weights of a tag or a file."""
    import open_clip

    from paraclip.models.formats.published import download, uses_quick_gelu

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise UserError(name, "is not a known model", nearest(name, open_clip.list_models()))
    if tag := open_clip.get_pretrained_cfg(name, weights):
        config["quick_gelu"] = uses_quick_gelu(config, tag)
        return _build_open_clip(name, config, tag, download(name, weights, tag))
    tag_name, _, file = weights.partition(":")
    tag = open_clip.get_pretrained_cfg(name, tag_name) if file else None
    path = Path(os.path.expanduser(file if tag else weights))
    check_input(path)
    if not path.is_file():
        if path.suffix in SUFFIXES or "/" in str(path):
            raise UserError(path, "there is no such file", "Check the path.")
        tags = open_clip.list_pretrained_tags_by_model(name)
        hint = nearest(weights, tags) if tags else "Name a file of weights after the colon."
        raise UserError(f"{name}:{weights}", "open_clip has no such weights", hint)
    if path.suffix != ".safetensors" or header_or_none(path) is None:
        return _from_weights(path, name, config, tag)
    model = load_checkpoint(path)
    stored = model.architecture
    if (stored.name, stored.quick_gelu) != (name, bool(config.get("quick_gelu", False))):
        what = f"is a checkpoint of {stored.name}, not of {name}"
        raise UserError(path, what, "Give the path alone: the checkpoint states its architecture.")
    return model


def _from_weights(
    path: Path, name: str, config: dict[str, Any], tag: dict[str, Any] | None
) -> DualEncoder:
    """Load weights from a file, with the activation and preprocessing of their tag.

    The tag is the one that the user gave, or that of a published file, recognised by its name or
    hash. For other files, the name of the architecture determines the activation, and the
    preprocessing is that of its published weights.
    """
    import open_clip

    from paraclip.models.formats.published import (
        QUICK,
        agreed_preprocessing,
        published_as,
        uses_quick_gelu,
    )
    from paraclip.models.formats.weights import read_state

    state = read_state(path)
    known = tag or published_as(name.removesuffix(QUICK), path)
    if known and name.endswith(QUICK) and not known.get("quick_gelu"):
        hint = f"Use {name.removesuffix(QUICK)}:{path}"
        raise UserError(path, "was trained without QuickGELU", hint)
    config["quick_gelu"] = uses_quick_gelu(config, known or {})
    settings = known if known is not None else agreed_preprocessing(name, path)
    model = _build_open_clip(name, config, settings, path, state=state)
    if known is None and not config["quick_gelu"] and f"{name}{QUICK}" in open_clip.list_models():
        print(
            f"{path}: the file does not state its activation; using GELU because of the name"
            f" {name}. If it was trained with QuickGELU, use {name}{QUICK}:{path}",
            file=sys.stderr,
        )
    return model


def _build_open_clip(
    name: str,
    config: dict[str, Any],
    preprocessing: dict[str, Any],
    path: Path,
    hub: bool = True,
    renamed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
    state: dict[str, torch.Tensor] | None = None,
) -> DualEncoder:
    """Build the open_clip model of a configuration, with the weights of a file.

    Args:
        name: name of the architecture; `-quickgelu` is added if the configuration states QuickGELU.
        config: open_clip's model configuration.
        preprocessing: fields of a tag.
        path: path of the weights.
        hub: whether the configuration is open_clip's own, so that the tokenizer that it names may
            be downloaded.
        renamed: converts the weights to open_clip's names.
        state: the weights, if already read.
    """
    from paraclip.models.formats.published import preprocessing_of, quick_name
    from paraclip.models.formats.weights import fitted_clip, read_state
    from paraclip.models.openclip import ClipSpec, OpenClip
    from paraclip.models.sources import text_files_of

    files = text_files_of(config["text_cfg"], path.parent, hub)
    name = quick_name(name, bool(config.get("quick_gelu")))
    state = read_state(path) if state is None else state
    with build_errors(path if hub else path.parent):
        state = renamed(state) if renamed else state
        check_text_files(files)
        spec = ClipSpec(name, config, preprocessing_of(preprocessing), files)
        return OpenClip(spec, fitted_clip(spec, state, path))
