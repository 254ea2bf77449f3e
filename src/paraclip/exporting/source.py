"""The model to export, its provenance, whether an index of its base stays valid, and the drift of
its vectors when weights are shortened."""

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray

from paraclip.errors import UserError, nearest
from paraclip.files import text_hash
from paraclip.given_models import loaded_model
from paraclip.models.card import values_of
from paraclip.models.checkpoint import header_of
from paraclip.models.encoder import DualEncoder, Model
from paraclip.models.features import encode_texts, image_space
from paraclip.models.formats.published import preprocessing_of, quick_name
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip
from paraclip.models.sources import QUICK
from paraclip.starter import QUERIES
from paraclip.systems.system import System

PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "fill_color")
"""Fields of open_clip's `PreprocessCfg` that change a picture's vector, besides its size."""
_VOID = "An index made with the base would be void; re-embed the pictures, or train the text alone."
# Towers differ. In a tower with sharp attention (large logits, a softmax close to one and zero), a
# rounding error in the queries and keys of the first block moves the attention to other words, and
# later blocks amplify this. Only a measurement on the model itself shows it.
_LEAST = {"--half": ("float16", 0.999), "--int8": ("int8", 0.99)}
"""The weights that an option writes, and the lowest cosine that is accepted."""
_QUERY_PAIRS = 30  # of a query and its rewording
_AWKWARD = ("", "a", "two dogs " * 60, "A YOUNG Child's café", "日本の猫 🐈", "3 red cars; 2 blue")
_AT_ONCE = 16  # texts in a batch
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A model to export."""

    model: DualEncoder  # on the CPU, in evaluation mode
    header: dict[str, Any]  # of its checkpoint
    name: str  # in errors
    tag: str | None = None  # open_clip's pretrained tag of the base, if given by the user

    @cached_property
    def architecture(self) -> str:
        """open_clip's name of the architecture, or the model's own name."""
        if isinstance(self.model, OpenClip):
            return _known_architecture(self.model) or self.model.architecture.name
        return self.model.architecture.name

    @cached_property
    def tags(self) -> list[str]:
        """Pretrained tags of the base: the one given by the user, or else the recorded ones."""
        return [self.tag] if self.tag else _recorded_tags(self.header, self.architecture)

    def facts(self) -> dict[str, Any]:
        """JSON-serialisable facts for the card: hashes of what an index depends on."""
        model = self.model
        pictures: object = model.architecture.kind
        # The tokenizer's files, or open_clip's vocabulary and options.
        tokenizer: object = model.header().get("text_files") or {}
        if isinstance(model, OpenClip):
            pictures = model.spec.preprocessing
            if not model.spec.text_files:
                text = model.spec.config["text_cfg"]
                options = {key: text.get(key) for key in ("context_length", "tokenizer_kwargs")}
                tokenizer = [options, list(model.tokenizer.bpe_ranks)]
        return {
            "image_tower": image_space(model),
            "tokenizer": text_hash(json.dumps(tokenizer, sort_keys=True)),
            "preprocessing": text_hash(json.dumps([pictures, model.image_size], sort_keys=True)),
            "base_tags": self.tags,
        }


def load_source(model: Model, base: str | None = None, tag: str | None = None) -> Source:
    """Load a model, or one by its path or name, and check that its image tower is its base's.

    Raises UserError for a checkpoint that is missing, damaged, or whose image tower was trained.
    """
    is_named = isinstance(model, Path | str)
    loaded = deepcopy(loaded_model(model, "cpu")).cpu().eval()  # the caller's stays
    name = str(model) if is_named else loaded.architecture.name
    own = header_of(loaded)
    # Whoever changed a loaded model has other weights than those that it was made from.
    header = {**own, **(loaded.made_from or {}), "weights": own["weights"]}
    if is_named and "weights" not in (loaded.made_from or {}):
        header["base"] = name  # not a checkpoint, which records its base
    source = Source(loaded, header, name, tag)
    if base is not None:
        if image_space(load_model(base, "cpu")) != image_space(source.model):
            what = f"its image encoder or preprocessing is not that of {base}"
            raise UserError(source.name, what, _VOID)
        named = base.split(":")[1] if ":" in base else None  # NAME:TAG or NAME:TAG:FILE
        if tag is None and named in open_clip.list_pretrained_tags_by_model(source.architecture):
            source = replace(source, tag=named)
    elif _image_tower_was_trained(source.header):
        raise UserError(source.name, "its image encoder was trained too", _VOID)
    return source


def _image_tower_was_trained(header: dict[str, Any]) -> bool:
    """Whether the training of a checkpoint, or of a merged one, changed the image tower."""
    made_from = header.get("made_from")
    if "merged" in header and isinstance(made_from, dict):
        # A mixture of weights: its image tower is the base's if that of tuned is.
        tuned = made_from.get("tuned")
        return isinstance(tuned, dict) and _image_tower_was_trained(tuned)
    training = header.get("training")
    config = training.get("config") if isinstance(training, dict) else None
    # Set only where a recipe trains the image tower as well.
    return isinstance(config, dict) and config.get("image_learning_rate") is not None


def _without_trained_image_towers(facts: Any) -> Any:
    """The facts without runs that changed the image tower: their bases have another one."""
    if not isinstance(facts, dict):
        return facts
    return {
        name: _without_trained_image_towers(value)
        for name, value in facts.items()
        if not (isinstance(value, dict) and _image_tower_was_trained(value))
    }


def _recorded_tags(header: dict[str, Any], architecture: str) -> list[str]:
    """Pretrained tags of the base that a header records, for an architecture of open_clip."""
    plain = architecture.removesuffix(QUICK)
    known: set[str] = set()
    for name in (plain, f"{plain}{QUICK}"):
        known.update(open_clip.list_pretrained_tags_by_model(name))
    bases = values_of(_without_trained_image_towers(header), "base")
    named = {name.split(":")[1] for name in bases if ":" in name}
    return sorted(named & known)


def _known_architecture(model: OpenClip) -> str | None:
    """open_clip's name for a model's configuration, independent of the folder's name."""
    config, stated = model.spec.config, model.architecture.name
    essential = ("embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg")  # not the activation
    # The stated name first: several names can have one configuration.
    for name in sorted(open_clip.list_models(), key=lambda name: (name != stated, name)):
        known = open_clip.get_model_config(name) or {}
        if all(known.get(part) == config.get(part) for part in essential):
            return quick_name(name.removesuffix(QUICK), bool(config.get("quick_gelu")))
    return None


def find_base(source: Source, system: System) -> tuple[System, str]:
    """The variant of a program that uses the base, and its name of it; empty if it uses any.

    Raises UserError if the program does not use the base, with its activation and preprocessing, or
    the checkpoint does not record it.
    """
    bases = [name for one in system.variants for name in one.bases]
    if not bases:
        return system, ""
    stated = source.architecture
    architectures = {_spelt(stated), _spelt(stated.removesuffix(QUICK))}
    # ARCHITECTURE__TAG, with QuickGELU in the name or as a fact of the tag.
    same = [name for name in bases if _spelt(name.split("__")[0]) in architectures]
    if not same:
        what = f"its base is {stated}, which {system.name} does not load"
        raise UserError(source.name, what, nearest(stated, bases))
    tags = {_spelt(tag) for tag in source.tags}
    matching = [name for name in same if _spelt(name.split("__")[1]) in tags]
    if len(matching) != 1:
        recorded, tag = " or ".join(source.tags) or "not recorded", same[0].split("__")[1]
        what = f"the weights of its base are {recorded}, and {system.name} has {', '.join(same)}"
        hint = f"Add --tag {tag} (or another of them) if it was tuned from these."
        raise UserError(source.name, what, hint)
    architecture, tag = matching[0].split("__")
    for known in open_clip.list_pretrained_tags_by_model(architecture):
        if _spelt(known) == _spelt(tag):
            _check_settings(source, system.name, architecture, known)
    return next(one for one in system.variants if matching[0] in one.bases), matching[0]


def _spelt(name: str) -> str:
    """A name in one spelling: immich writes some tags with hyphens."""
    return name.replace("_", "-").lower()


def _check_settings(source: Source, system: str, architecture: str, tag: str) -> None:
    """Raise UserError if activation or preprocessing are not those of a system's base."""
    published = open_clip.get_pretrained_cfg(architecture, tag)
    quick = architecture.endswith(QUICK) or bool(published.get("quick_gelu"))
    hint = "Tune the base that the system uses."
    if source.model.architecture.quick_gelu != quick:
        names = ("GELU", "QuickGELU")
        what = f"it has {names[not quick]}, and the base of {system} {names[quick]}"
        raise UserError(source.name, what, hint)
    if isinstance(source.model, OpenClip):
        ours, theirs = source.model.spec.preprocessing, preprocessing_of(published)
        for name in PREPROCESSING:
            first, second = (json.dumps(one.get(name)) for one in (ours, theirs))
            if first != second:
                what = f"its preprocessing has the {name} {first}, and that of {system} {second}"
                raise UserError(source.name, what, hint)


@dataclass(frozen=True)
class Drift:
    """Cosines of shortened vectors with the float ones, over the texts of `probes`."""

    weights: str  # `int8` or `float16`
    lowest: float  # lowest cosine over the texts
    mean: float
    texts: int  # number of texts

    def __str__(self) -> str:
        """The drift as a sentence."""
        return (
            f"Vectors of {self.weights} weights against float: cosine {self.lowest:.4f} at the"
            f" lowest and {self.mean:.4f} on average of {self.texts} texts."
        )


@cache
def probes() -> tuple[str, ...]:
    """Texts for the measurement: held-out queries of the starter set, then unusual texts."""
    lines = QUERIES.read_text(encoding="utf-8").splitlines()[:_QUERY_PAIRS]
    rows = [json.loads(line) for line in lines]
    return (*(row[key] for row in rows for key in ("query", "rewording")), *_AWKWARD)


def check_vectors(model: DualEncoder, name: str) -> None:
    """Raise UserError for a model with damaged weights, whose text vectors have no direction."""
    lengths = encode_texts(model, list(_AWKWARD), _AT_ONCE).norm(dim=1)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        what = "has vectors of texts that are zero, NaN or infinite"
        raise UserError(name, what, "Train it again, or use an earlier checkpoint.")


def check_half(model: DualEncoder) -> Drift:
    """The drift of a model's text vectors with 16-bit weights, computed in float32.

    Raises:
        UserError: a weight exceeds 16-bit floats, or the vectors are too far from the float ones.
    """
    for name, value in model.state_dict().items():  # of both towers, which are both written
        if value.is_floating_point() and not bool(torch.isfinite(value.half()).all()):
            what = f"weights of {name} exceed the range of 16-bit floats"
            raise UserError("--half", what, "Leave --half out.")
    half = deepcopy(model)
    with torch.no_grad():
        for value in half.text_tower.parameters():
            value.copy_(value.half().float())
    shortened, floats = (
        encode_texts(one, list(probes()), _AT_ONCE).numpy() for one in (half, model)
    )
    return check_drift("--half", shortened, floats)


def check_drift(option: str, shortened: Vectors, floats: Vectors) -> Drift:
    """The drift of vectors [texts, width] from float ones; raises UserError if it is more than the
    option, `--half` or `--int8`, may cause."""
    weights, least = _LEAST[option]
    one, other = np.asarray(shortened, np.float64), np.asarray(floats, np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / lengths
    # A vector of zeros or NaN has no direction, and NaN would pass a comparison.
    cosines = np.where(np.isfinite(cosines), cosines, -1)
    lowest, mean = float(cosines.min()), float(cosines.mean())
    if round(lowest, 6) < least:  # to the digits that are reported
        what = (
            f"changes vectors of this model to a cosine of {lowest:.4f} with the float ones, and"
            f" {least} is the least"
        )
        raise UserError(option, what, f"Leave {option} out.")
    return Drift(weights, round(lowest, 6), round(mean, 6), len(cosines))
