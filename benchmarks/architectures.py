"""Every architecture of open_clip in ParaCLIP, beside open_clip's own `create_model`.

    python benchmarks/architectures.py
    python benchmarks/architectures.py --names ViT-B-32 ViT-B-16-SigLIP

Weights are random and the networks small (two layers, narrow), so that all of them take minutes on
one core; picture sizes, context lengths, pooling, activation and preprocessing are untouched. Text
towers and tokenizers of Hugging Face are replaced by tiny ones of the same kind. The same file of
weights is loaded by tag and by path in ParaCLIP, and by tag in open_clip; an architecture counts as
loaded if activation, prepared pixels and vectors are those of open_clip for each way in which its
published weights differ. No network is used.
"""

import argparse
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import open_clip
import timm
import torch
from open_clip import factory
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from machine import RESULTS, facts_of, keep, markdown, say
from paraclip.errors import UserError
from paraclip.models.hub import offline
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip
from paraclip.models.published import file_name, tags_by_preprocessing

TEXTS = ["a red disc", "a small blue square on white paper", "red " * 90]
CLOSE = 1e-5  # of unit vectors
WORDS = ["a", "red", "blue", "disc", "square", "on", "white", "paper", "small"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
END = 3  # id of [SEP]
FOUR = (1, 1, 1, 1)
SMALL_TIMM = {  # by the beginning of the name; the first that fits
    "convnext": {"depths": FOUR, "dims": (16, 32, 64, 128)},
    "swin": {"depths": FOUR, "embed_dim": 32, "num_heads": (1, 2, 4, 8)},
    "fastvit_mci3": {"layers": (1, *FOUR), "embed_dims": (16, 32, 64, 128, 256)},
    "fastvit_mci4": {"layers": (1, *FOUR), "embed_dims": (16, 32, 64, 128, 256)},
    "fastvit": {"layers": FOUR, "embed_dims": (16, 32, 64, 128)},
    "vitamin": {"depth": 1},
    "vit_base_mci": {"depth": 2},
    "": {"depth": 2, "embed_dim": 128, "num_heads": 2},
}


@dataclass
class Row:
    """What was found for an architecture.

    Args:
        name: as open_clip calls it.
        tags: how many published weights it has.
        settings: of how many kinds these are, in activation and preprocessing.
        reason: why it does not load; empty if it does.
        activation: whether all activations are open_clip's.
        pixels: whether prepared pictures are open_clip's, bit for bit.
        image: largest difference in the image vectors.
        text: largest difference in the text vectors.
        as_file: how its weights are named as a file.
    """

    name: str
    tags: int
    settings: int = 0
    reason: str = ""
    activation: bool = True
    pixels: bool = True
    image: float = 0.0
    text: float = 0.0
    as_file: str = "NAME:FILE"

    @property
    def fits(self) -> bool:
        """Whether it loads, and as open_clip has it."""
        same = self.activation and self.pixels and max(self.image, self.text) <= CLOSE
        return same and not self.reason


def main() -> None:
    """All architectures, or those that are named."""
    options = parser().parse_args()
    names = options.names or open_clip.list_models()
    torch.manual_seed(0)
    with offline(), TemporaryDirectory() as folder, small_models(Path(folder)):
        rows = [compared(name, Path(folder)) for name in names]
    good = sum(row.fits for row in rows)
    note = f"{good} of {len(rows)} load and match open_clip {open_clip.__version__}. {facts_of()}"
    heads = ["architecture", "tags", "activation", "pixels", "image", "text", "as a file"]
    table = f"{markdown(heads, [cells(row) for row in rows])}\n\n{note}"
    keep("architectures", Path(options.out), table, rows=[asdict(row) for row in rows])


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--names", nargs="+", help="architectures; all without it")
    made.add_argument("--out", default=str(RESULTS), help="folder of the table")
    return made


def compared(name: str, folder: Path) -> Row:
    """One architecture, in each of the ways that its published weights have."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    row = Row(name, len(tags))
    if len(tags_by_preprocessing(name)) > 1:
        row.as_file = "NAME:TAG:FILE"
    weights = folder / "weights.safetensors"
    try:
        random_weights(name, weights)
        with published_as(weights):
            for tag in one_of_each(name, tags) or [None]:
                row.settings += 1
                compare(row, name, tag, weights)
    except UserError as error:
        row.reason = error.what
    say(" ".join(cells(row)))
    return row


def compare(row: Row, name: str, tag: str | None, weights: Path) -> None:
    """Load the weights in every way that a user can name them, and note what differs."""
    spellings = [f"{name}:FILE"] if tag is None else [f"{name}:{tag}", file_name(name, tag)]
    for spelling in spellings:
        ours = load_model(spelling.replace("FILE", str(weights)), "cpu")
        assert isinstance(ours, OpenClip)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a silent tag beside a configuration with QuickGELU
            taken = ours.architecture.name
            theirs, _, transform = open_clip.create_model_and_transforms(
                taken, tag or str(weights), pretrained_text=False
            )
        note_differences(row, ours, theirs.eval(), transform, open_clip.get_tokenizer(taken))


@torch.no_grad()
def note_differences(
    row: Row, ours: OpenClip, theirs: nn.Module, transform: Any, tokenizer: Any
) -> None:
    """Activation, pixels and vectors of both."""
    row.activation &= activations(ours) == activations(theirs)
    noise = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    pixels = ours.preprocess(picture)[None]
    row.pixels &= torch.equal(pixels[0], transform(picture))
    image = ours.project_images(ours.embed_pixels(pixels))
    row.image = max(row.image, apart(image, theirs.encode_image(pixels, normalize=True)))
    for texts in (TEXTS, TEXTS[:2]):  # the second is cut to its longest text by ParaCLIP
        text = ours.encode_tokens(ours.tokenize(texts).ids)
        row.text = max(row.text, apart(text, theirs.encode_text(tokenizer(texts), normalize=True)))


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference of two sets of unit vectors; infinite where one is not finite."""
    largest = float((ours - theirs).abs().max())
    return largest if np.isfinite(largest) else float("inf")


def activations(model: nn.Module) -> list[str]:
    """Kinds of activation in a model, in a fixed order."""
    kinds = (type(module).__name__ for module in model.modules())
    return sorted(kind for kind in kinds if "LU" in kind or kind in ("Tanh", "Sigmoid"))


def cells(row: Row) -> list[str]:
    """The row as the table shows it."""
    found = [row.name, str(row.tags)]
    if row.reason:
        return [*found, row.reason, "", "", "", ""]
    same = ["same" if part else "differs" for part in (row.activation, row.pixels)]
    vectors = [f"{value:.0e}" if value else "0" for value in (row.image, row.text)]
    return [*found, *same, *vectors, row.as_file]


def one_of_each(name: str, tags: list[str]) -> list[str]:
    """A tag for each activation and preprocessing that the published weights have."""
    found: dict[tuple[str, bool], str] = {}
    for way, those in tags_by_preprocessing(name).items():
        for tag in those:
            quick = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
            found.setdefault((way, quick), tag)
    return [tag for tag in tags if tag in found.values()]


def random_weights(name: str, path: Path) -> None:
    """Weights of the small model under open_clip's names, every one of them random."""
    model = open_clip.create_model(name, pretrained_text=False)
    with torch.no_grad():
        for value in model.parameters():  # zeros and ones would hide what reads them
            value.add_(torch.randn_like(value), alpha=0.02)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, path)


@contextmanager
def published_as(path: Path) -> Iterator[None]:
    """Every tag's download gives this file, in ParaCLIP and in open_clip."""

    def give(*rest: object, **options: object) -> str:
        return str(path)

    with (
        patch.object(open_clip, "download_pretrained", give),
        patch.object(factory, "download_pretrained", give),
    ):
        yield


@contextmanager
def small_models(folder: Path) -> Iterator[None]:
    """open_clip's configurations and timm's networks, made small."""
    whole = timm.create_model

    def create(name: str, **options: Any) -> nn.Module:
        small = next(found for start, found in SMALL_TIMM.items() if name.startswith(start))
        return whole(name, **{**options, **small})

    names = open_clip.list_models()
    configs = {name: small_config(open_clip.get_model_config(name), folder) for name in names}
    with (
        patch.object(timm, "create_model", create),
        patch.object(factory, "_MODEL_CONFIGS", configs),
    ):
        yield


def small_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration with few and narrow layers; Hugging Face's names lead to small files."""
    config = deepcopy(config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if isinstance(vision.get("layers"), list):  # a ResNet
        vision |= {"layers": list(FOUR), "width": 16}
    elif "layers" in vision:
        vision |= {"layers": 2, "width": 2 * vision.get("head_width", 64)}
    towers = [text, config["multimodal_cfg"]] if "multimodal_cfg" in config else [text]
    for tower in towers:
        if "layers" in tower:
            tower |= {"layers": 2, "width": 64, "heads": 2}
    if text.get("hf_tokenizer_name"):
        kind = kind_of(text.get("hf_model_name", "roberta"))
        place = str(text_tower(kind, folder / kind))
        text["hf_tokenizer_name"] = place
        if text.get("hf_model_name"):
            text["hf_model_name"] = place
        else:
            text["vocab_size"] = len(SPECIAL) + len(WORDS)
        if "eos_id" in text:
            text["eos_id"] = END
    return config


def kind_of(name: str) -> str:
    """transformers' name for a text tower of that name."""
    kinds = {"mt5": "mt5", "nllb": "m2m_100", "xlm-roberta": "xlm-roberta"}
    return next((kind for part, kind in kinds.items() if part in name), "roberta")


def text_tower(kind: str, folder: Path) -> Path:
    """A folder with a tiny text tower of that kind, and a tokenizer of a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(exist_ok=True)
    vocabulary = {word: place for place, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    sizes = {"vocab_size": len(vocabulary), "max_position_embeddings": 128, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **sizes, **SHAPES[kind]}))
    return folder


BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPES = {
    "roberta": {**BERT, "intermediate_size": 64},
    "xlm-roberta": {**BERT, "intermediate_size": 64},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "m2m_100": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
}


if __name__ == "__main__":
    main()
