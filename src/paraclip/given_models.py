"""Models that a program passes: by name, or in memory, as ParaCLIP or open_clip returned them."""

from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder, Model
from paraclip.models.loading import load_model
from paraclip.models.sources import UNUSUAL, TextFiles, read_text_files

if TYPE_CHECKING:
    from paraclip.models.openclip import OpenClip

_PARTS = "Pass the model, its tokenizer, and its preprocessing for evaluation."
_SAME = 1e-4  # of numbers that two models compute from the same weights


def loaded_model(model: Model, device: str = "auto") -> DualEncoder:
    """The model itself, or one of open_clip or of this name; raises UserError for anything else."""
    match model:
        case DualEncoder():
            return model
        case Path() | str():
            return load_model(str(model), device)
        case (nn.Module() as clip, tokenizer, preprocess):
            return _copy_clip(clip, tokenizer, preprocess)
    what = "is neither the name of a model, nor a DualEncoder, nor what open_clip returns"
    hint = "Pass a name, a model of paraclip.load_model, or (model, tokenizer, preprocess)."
    raise UserError(type(model).__name__, what, hint)


@torch.no_grad()
def _copy_clip(clip: nn.Module, tokenizer: Any, preprocess: Any) -> "OpenClip":
    """A copy, in float32, of open_clip's model, tokenizer and preprocessing in memory.

    Its architecture is the one of open_clip's list with which its weights give the same vectors.
    Raises UserError if there is none, or another tokenizer or preprocessing belongs to it.
    """
    import open_clip  # which takes seconds, only now

    from paraclip.models.formats import published, untrusted
    from paraclip.models.formats.clips import clip_of_weights
    from paraclip.models.openclip import ClipSpec

    where = type(clip).__name__
    if not isinstance(clip, open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa):
        hint = "Wrap it as a DualEncoder (docs/guide/own-encoders.md)."
        raise UserError(where, "is not a model of open_clip", hint)
    theirs: Any = deepcopy(clip).cpu().float().eval()
    with untrusted.build_errors(where, "does not work with its other parts", _PARTS):
        ids, picture = tokenizer(UNUSUAL), Image.effect_noise((90, 60), 99).convert("RGB")
        pixels = preprocess(picture)[None]
        given = (theirs.encode_text, ids), (theirs.encode_image, pixels)
        vectors = [encode(one, normalize=True) for encode, one in given]
        files = _text_files_in(theirs, tokenizer)
    preprocessing = published.preprocessing_of(open_clip.get_model_preprocess_cfg(theirs))
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        facts = (config["embed_dim"], config["vision_cfg"].get("image_size", pixels.shape[-1]))
        if facts != (vectors[0].shape[-1], pixels.shape[-1]):  # to lay it out would take longer
            continue
        with suppress(UserError), untrusted.build_errors(where):
            spec = ClipSpec(name, config, preprocessing, files)
            ours = clip_of_weights(spec, theirs.state_dict(), where)
            found = ours.encode_tokens(ids), ours.project_images(ours.embed_pixels(pixels))
            if all(map(partial(torch.allclose, atol=_SAME), found, vectors)):
                break
    else:
        what = "is none of open_clip.list_models(), so that no checkpoint of it could be read again"
        raise UserError(where, what, "Describe it: open_clip.add_model_config(FOLDER).")
    if not torch.equal(ours.tokenizer(UNUSUAL, context_length=ids.shape[1]), ids):
        raise UserError(where, f"its tokenizer is not that of {name}", _PARTS)
    if not torch.allclose(ours.preprocess(picture), pixels[0], atol=_SAME):
        raise UserError(where, f"its preprocessing is not that of {name}", _PARTS)
    return ours.to(next(clip.parameters()).device)


def _text_files_in(clip: Any, tokenizer: Any) -> TextFiles | None:
    """The files of a Hugging Face text tower and tokenizer; None if there is neither."""
    tower = getattr(getattr(clip, "text", None), "config", None)
    parts = {"config.json": tower, "tokenizer_config.json": getattr(tokenizer, "tokenizer", None)}
    files: TextFiles = {}
    with TemporaryDirectory(prefix="paraclip-text-") as folder:
        for needed, part in parts.items():
            if part is not None:
                part.save_pretrained(folder)
                files = read_text_files(Path(folder), needed)
    return files or None
