"""From the name that a user gives to a model."""

import sys
from pathlib import Path
from typing import Any

import torch

from paraclip.errors import UserError, nearest
from paraclip.files import read_bounded
from paraclip.models.checkpoint import header_or_none, load_checkpoint, read_header
from paraclip.models.encoder import DualEncoder
from paraclip.models.hub import offline_where_unreachable
from paraclip.models.mini import Mini
from paraclip.models.sentence import SentenceModel

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
FOLDER = "local-dir:"


def load_model(name: str, device: str = "auto") -> DualEncoder:
    """A model, in evaluation mode.

    Args:
        name: `mini`; `minilm` (reads texts alone); a ParaCLIP checkpoint (`.safetensors`);
            `NAME:TAG` with an architecture of open_clip and one of its pretrained tags, which is
            downloaded; `NAME:FILE` with weights on this machine; or `local-dir:FOLDER` with
            `open_clip_config.json` and weights.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        UserError: the name is unknown, the file is missing, broken or of another architecture,
            the weights cannot be downloaded, or there is no such device.
    """
    return named_model(name).to(find_device(device)).eval()


def find_device(device: str) -> torch.device:
    """The device of that name; auto is a GPU where there is one.

    Raises:
        UserError: torch knows no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        what = f"{device!r} is no device of this machine"
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise UserError("--device", what, f"Choose {usable}.") from error
    return torch.device(device)


def named_model(name: str) -> DualEncoder:
    """The model on the CPU."""
    if name == "mini":
        return Mini.from_wheels()
    if name == "minilm":
        return SentenceModel.from_wheel()
    if name.startswith(FOLDER):
        return from_folder(Path(name.removeprefix(FOLDER)))
    if Path(name).is_dir():
        return from_folder(Path(name))
    architecture, colon, weights = name.partition(":")
    if not colon and (Path(name).is_file() or name.endswith(SUFFIXES)):
        return from_file(Path(name))
    if not colon:
        raise unknown(name)
    return from_open_clip(architecture.replace("/", "-"), weights)


def from_file(path: Path) -> DualEncoder:
    """A checkpoint of ours."""
    if path.is_file() and path.suffix != ".safetensors":
        what = "holds weights that do not say which architecture they are"
        raise UserError(path, what, f"Say it before the path, as in ViT-B-32:{path}")
    return load_checkpoint(path)


def unknown(name: str) -> UserError:
    """The error for a name alone."""
    import open_clip

    if name in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(name)
        example = f"{name}:{tags[-1]}" if tags else f"{name}:weights.safetensors"
        return UserError(name, "names an architecture but no weights", f"Say {example}")
    return UserError(
        name, "is no known model", nearest(name, ["mini", "minilm", *open_clip.list_models()])
    )


def from_folder(folder: Path) -> DualEncoder:
    """A folder with open_clip's `open_clip_config.json` and weights.

    Raises:
        UserError: one of them is not there, or they do not fit.
    """
    import json

    path = folder / "open_clip_config.json"
    if not path.is_file():
        own = sorted(folder.glob("**/*.safetensors"))[:3] if folder.is_dir() else []
        hint = f"Name one: {', '.join(map(str, own))}" if own else "Check the path."
        raise UserError(folder, "is no folder of a model (no open_clip_config.json)", hint)
    try:
        found = json.loads(read_bounded(path))
        config = found.get("model_cfg", found)
        preprocessing = dict(found.get("preprocess_cfg", {}))
        config["text_cfg"], config["vision_cfg"], config["embed_dim"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(path, f"is no open_clip configuration ({error})", "Mend it.") from error
    weights = [found for found in sorted(folder.iterdir()) if found.suffix in SUFFIXES]
    weights.sort(key=lambda found: found.suffix != ".safetensors")
    if not weights:
        raise UserError(folder, "there are no weights in it", "Put model.safetensors there.")
    return assemble(folder.resolve().name, config, preprocessing, weights[0])


def from_open_clip(name: str, weights: str) -> DualEncoder:
    """An architecture of open_clip with the weights of a tag or a file."""
    import open_clip

    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise UserError(name, "is no known model", nearest(name, open_clip.list_models()))
    tag = open_clip.get_pretrained_cfg(name, weights)
    if tag:
        config["quick_gelu"] = bool(tag.get("quick_gelu", False))
        return assemble(name, config, tag, download(name, weights, tag))
    path = Path(weights).expanduser()
    if not path.is_file():
        if path.suffix in SUFFIXES or "/" in weights:
            raise UserError(weights, "there is no such file", "Check the path.")
        tags = open_clip.list_pretrained_tags_by_model(name)
        hint = nearest(weights, tags) if tags else "Give a file of weights after the colon."
        raise UserError(f"{name}:{weights}", "open_clip has no such weights", hint)
    header = header_or_none(path) if path.suffix == ".safetensors" else None
    if header is not None:
        return own_checkpoint(path, name, config)
    config["quick_gelu"], guessed = decide_quick_gelu(name, config, path)
    model = assemble(name, config, {}, path)
    if guessed:
        print(
            f"{path}: the file does not tell its activation; taken as GELU because of the name"
            f" {name}. If it was trained with QuickGELU, say {name}-quickgelu:{path}",
            file=sys.stderr,
        )
    return model


def own_checkpoint(path: Path, name: str, config: dict[str, Any]) -> DualEncoder:
    """A checkpoint of ours, refused where it is of another architecture than the one named.

    Raises:
        UserError: it is.
    """
    stored = read_header(path)["architecture"]
    asked = (name, bool(config.get("quick_gelu", False)))
    if (stored["name"], stored["quick_gelu"]) != asked:
        what = f"is a checkpoint of {stored['name']}, not of {name}"
        raise UserError(path, what, "Give its path alone: the file knows what it is.")
    return load_checkpoint(path)


def decide_quick_gelu(name: str, config: dict[str, Any], path: Path) -> tuple[bool, bool]:
    """Whether the weights of a file were trained with QuickGELU, and whether that is a guess.

    Weights cannot tell, and the wrong activation gives plausible, worse vectors. OpenAI's files
    and those that open_clip publishes are known by their hash or name; for others the name of the
    architecture decides.

    Raises:
        UserError: the name says QuickGELU, and the file is known to be without it.
    """
    import open_clip

    named = bool(config.get("quick_gelu", False))
    known = known_quick_gelu(name.removesuffix("-quickgelu"), path)
    if known is False and name.endswith("-quickgelu"):
        hint = f"Say {name.removesuffix('-quickgelu')}:{path}"
        raise UserError(path, "was trained without QuickGELU", hint)
    if known is not None:
        return known or named, False
    return named, not named and f"{name}-quickgelu" in open_clip.list_models()


def known_quick_gelu(name: str, path: Path) -> bool | None:
    """Whether a published file needs QuickGELU, or None for files that nobody published."""
    import open_clip

    from paraclip.models.weights import from_openai, is_torchscript

    for tag in open_clip.list_pretrained_tags_by_model(name):
        published = open_clip.get_pretrained_cfg(name, tag)
        if published.get("url", "").rsplit("/", 1)[-1] == path.name:
            return bool(published.get("quick_gelu", False))
    return True if is_torchscript(path) and from_openai(path) else None


def download(name: str, weights: str, tag: dict[str, Any]) -> Path:
    """Fetch the weights of a tag, or find them in the cache.

    Raises:
        UserError: they cannot be had; the hint is how to bring them by hand.
    """
    from open_clip.pretrained import download_pretrained

    hub = tag.get("hf_hub", "").rstrip("/")
    place = f"https://huggingface.co/{hub}" if hub else tag.get("url", "")
    try:
        with offline_where_unreachable():
            return Path(download_pretrained(tag))
    except Exception as error:  # each way of downloading has its own errors
        what = f"the weights could not be downloaded from {place}"
        hint = f"Fetch them on another machine and say {name}:FILE"
        raise UserError(f"{name}:{weights}", what, hint) from error


def assemble(
    name: str, config: dict[str, Any], preprocessing: dict[str, Any], path: Path
) -> DualEncoder:
    """The model of this configuration with the weights of a file."""
    from dataclasses import asdict

    import open_clip
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
    from paraclip.models.text_files import text_files_of
    from paraclip.models.weights import load_open_clip_state, read_state

    if config.get("quick_gelu") and f"{name}-quickgelu" in open_clip.list_models():
        name = f"{name}-quickgelu"
    prepared = merge_preprocess_dict(asdict(PreprocessCfg()), preprocessing)
    files = text_files_of(config["text_cfg"], path.parent)
    spec = ClipSpec(name, config, prepared, files)
    state = read_state(path)
    clip = build_clip(spec)
    load_open_clip_state(clip, state, path, name)
    return OpenClip(spec, clip)
