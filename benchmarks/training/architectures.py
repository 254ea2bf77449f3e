"""Compare every architecture of open_clip in ParaCLIP with open_clip's own `create_model`.

    python -m benchmarks.training.architectures
    python -m benchmarks.training.architectures --names ViT-B-32 ViT-B-16-SigLIP

Weights are random and the networks small (two narrow layers), so that all take minutes on one core.
Picture sizes, context lengths, pooling, activation and preprocessing are unchanged. Text towers and
tokenizers of Hugging Face are replaced by tiny ones of the same kind. The same file of weights is
loaded by tag and by path in ParaCLIP, and by tag in open_clip. An architecture counts as loaded if
activation, pixels and vectors match open_clip for every activation and preprocessing of its
published weights. The network is not used.
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

from benchmarks.machine import RESULTS, facts_of, keep, markdown, say
from paraclip.errors import UserError
from paraclip.models.formats.published import file_name, tags_by_preprocessing
from paraclip.models.hub import offline
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip

TEXTS = ["a red disc", "a small blue square on white paper", "red " * 90]
CLOSE = 1e-5  # maximum difference of unit vectors
WORDS = ["a", "red", "blue", "disc", "square", "on", "white", "paper", "small"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
END = 3  # id of [SEP]
FOUR = (1, 1, 1, 1)
SMALL_TIMM = {  # by the start of the name; the first match is used
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
class ArchitectureRow:
    """Result of an architecture.

    Args:
        name: open_clip's name.
        tags: number of published weights.
        settings: number of different activations and preprocessings among them.
        reason: why it does not load; empty if it does.
        activation: whether all activations match open_clip.
        pixels: whether prepared pictures match open_clip bit for bit.
        image: largest difference in the image vectors.
        text: largest difference in the text vectors.
        as_file: name under which a file of its weights is loaded.
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
        """Whether it loads and matches open_clip."""
        same = self.activation and self.pixels and max(self.image, self.text) <= CLOSE
        return same and not self.reason


def main() -> None:
    """Compare all architectures, or the given ones."""
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", help="architectures (default: all)")
    parser.add_argument("--out", default=str(RESULTS), help="folder of the table")
    return parser


def compared(name: str, folder: Path) -> ArchitectureRow:
    """Compare an architecture for every activation and preprocessing of its published weights."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    row = ArchitectureRow(name, len(tags))
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


def compare(row: ArchitectureRow, name: str, tag: str | None, weights: Path) -> None:
    """Load the weights under every name that a user can give, and record differences."""
    spellings = [f"{name}:FILE"] if tag is None else [f"{name}:{tag}", file_name(name, tag)]
    for spelling in spellings:
        ours = load_model(spelling.replace("FILE", str(weights)), "cpu")
        assert isinstance(ours, OpenClip)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # for a tag without the field and a configuration with QuickGELU
            taken = ours.architecture.name
            theirs, _, transform = open_clip.create_model_and_transforms(
                taken, tag or str(weights), pretrained_text=False
            )
        note_differences(row, ours, theirs.eval(), transform, open_clip.get_tokenizer(taken))


@torch.no_grad()
def note_differences(
    row: ArchitectureRow, ours: OpenClip, theirs: nn.Module, transform: Any, tokenizer: Any
) -> None:
    """Compare activation, pixels and vectors."""
    row.activation &= activations(ours) == activations(theirs)
    noise = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    pixels = ours.preprocess(picture)[None]
    row.pixels &= torch.equal(pixels[0], transform(picture))
    image = ours.project_images(ours.embed_pixels(pixels))
    row.image = max(
        row.image, largest_difference(image, theirs.encode_image(pixels, normalize=True))
    )
    for texts in (TEXTS, TEXTS[:2]):  # ParaCLIP cuts the second to its longest text
        text = ours.encode_tokens(ours.tokenize(texts).ids)
        row.text = max(
            row.text, largest_difference(text, theirs.encode_text(tokenizer(texts), normalize=True))
        )


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference of two sets of unit vectors; infinite if one is not finite."""
    largest = float((ours - theirs).abs().max())
    return largest if np.isfinite(largest) else float("inf")


def activations(model: nn.Module) -> list[str]:
    """Activations in a model, sorted."""
    kinds = (type(module).__name__ for module in model.modules())
    return sorted(kind for kind in kinds if "LU" in kind or kind in ("Tanh", "Sigmoid"))


def cells(row: ArchitectureRow) -> list[str]:
    """The row of the table."""
    start = [row.name, str(row.tags)]
    if row.reason:
        return [*start, row.reason, "", "", "", ""]
    same = ["same" if part else "differs" for part in (row.activation, row.pixels)]
    vectors = [f"{value:.0e}" if value else "0" for value in (row.image, row.text)]
    return [*start, *same, *vectors, row.as_file]


def one_of_each(name: str, tags: list[str]) -> list[str]:
    """A tag for each activation and preprocessing of the published weights."""
    chosen: dict[tuple[str, bool], str] = {}
    for preprocessing, group in tags_by_preprocessing(name).items():
        for tag in group:
            quick = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"))
            chosen.setdefault((preprocessing, quick), tag)
    return [tag for tag in tags if tag in chosen.values()]


def random_weights(name: str, path: Path) -> None:
    """Random weights of the small model under open_clip's names."""
    model = open_clip.create_model(name, pretrained_text=False)
    with torch.no_grad():
        for value in model.parameters():  # zeros and ones would hide errors
            value.add_(torch.randn_like(value), alpha=0.02)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, path)


@contextmanager
def published_as(path: Path) -> Iterator[None]:
    """Patch downloads of every tag to give this file, in ParaCLIP and in open_clip."""

    def local_file(*rest: object, **options: object) -> str:
        return str(path)

    with (
        patch.object(open_clip, "download_pretrained", local_file),
        patch.object(factory, "download_pretrained", local_file),
    ):
        yield


@contextmanager
def small_models(folder: Path) -> Iterator[None]:
    """Patch open_clip's configurations and timm's networks to be small."""
    whole = timm.create_model

    def create(name: str, **options: Any) -> nn.Module:
        small = next(options for start, options in SMALL_TIMM.items() if name.startswith(start))
        return whole(name, **{**options, **small})

    names = open_clip.list_models()
    configs = {name: small_config(open_clip.get_model_config(name), folder) for name in names}
    with (
        patch.object(timm, "create_model", create),
        patch.object(factory, "_MODEL_CONFIGS", configs),
    ):
        yield


def small_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration with few narrow layers; Hugging Face names are replaced by small folders."""
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
        path = str(text_tower(kind, folder / kind))
        text["hf_tokenizer_name"] = path
        if text.get("hf_model_name"):
            text["hf_model_name"] = path
        else:
            text["vocab_size"] = len(SPECIAL) + len(WORDS)
        if "eos_id" in text:
            text["eos_id"] = END
    return config


def kind_of(name: str) -> str:
    """Model type in transformers of a text tower with that name."""
    kinds = {"mt5": "mt5", "nllb": "m2m_100", "xlm-roberta": "xlm-roberta"}
    return next((kind for part, kind in kinds.items() if part in name), "roberta")


def text_tower(kind: str, folder: Path) -> Path:
    """A folder with a tiny text tower of that kind and a tokenizer of a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(exist_ok=True)
    vocabulary = {word: index for index, word in enumerate([*SPECIAL.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
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
