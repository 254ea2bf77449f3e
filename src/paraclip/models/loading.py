"""`load_model`: load a model by its name."""

import os
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch

from paraclip.errors import UserError
from paraclip.files import readable
from paraclip.models.checkpoint import load_checkpoint
from paraclip.models.encoder import DualEncoder
from paraclip.models.mini import Mini, SentenceModel
from paraclip.models.sources import check_model, model_of_run, sentence_origin
from paraclip.progress import is_quiet


def load_model(name: str, device: str = "auto") -> DualEncoder:
    """Load a model, in evaluation mode.

    Args:
        name: one of `mini`; `minilm` (text encoder only); a ParaCLIP checkpoint (`.safetensors`);
            `NAME:TAG`, an architecture of open_clip and a pretrained tag, which is downloaded;
            `NAME:FILE` or `NAME:TAG:FILE`, weights in a local file, the latter with the activation
            and the preprocessing of that tag; `local-dir:FOLDER` or just the folder, with
            `open_clip_config.json` or the `config.json` of a CLIP, SigLIP or MetaCLIP 2 of
            Hugging Face, and weights;
            `hf-hub:OWNER/NAME`, such a folder on the Hugging Face hub; the folder of a run, for its
            merged model, or the tuned one if the run recommends that.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        UserError: the name or the device is unknown, the file is missing, broken or of another
            architecture, or the download failed.
    """
    with readable(name):
        return _describe(model_of_run(name))().to(find_device(device)).eval()


def find_device(device: str) -> torch.device:
    """The device with that name; auto is a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).item()  # fails on `meta`, which holds no values
    # In this order: an unknown name, a device that torch was built without, and one of a plug-in.
    except (RuntimeError, AssertionError, ImportError) as error:
        what = f"this machine has no device {device!r}"
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"
        raise UserError("--device", what, f"Choose {usable}.") from error
    return torch.device(device)


@cache  # once a process
def _say_what_mini_is(name: str) -> None:
    """Say where weights of others are from, and what a built-in model is for."""
    if is_quiet():
        return
    toy = "mini is a toy to try things out, name a CLIP for your own pictures; " * (name == "mini")
    print(f"paraclip: {toy}all-MiniLM-L6-v2 is that of {sentence_origin()}", file=sys.stderr)


def _describe(name: str) -> Callable[[], DualEncoder]:
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
        _say_what_mini_is(name)
        return built_in[name]
    check_model(name)
    # With a colon, it is an architecture and its weights.
    if ":" not in name and os.path.isfile(name):
        return partial(load_checkpoint, Path(name))
    from paraclip.models.formats.clips import describe_clip  # takes seconds to import

    return describe_clip(name)
