"""`mini-flickr8k`, the first `mini`: the base of the first study. Non-commercial research.

    python -m recipes.mini.flickr8k --out runs/mini-flickr8k.safetensors

It has no class probabilities, and linear heads on both sides into a space of width 256, which were
trained on Flickr8k (README.md says how). The checkpoint loads by its path in a program that imports
this module.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.models.checkpoint import KINDS, save_model
from paraclip.models.mini import Mini, SentenceSettings, read_heads
from paraclip.models.sources import TextFiles

HEADS = Path(__file__).with_name("flickr8k_heads.safetensors")
NAME = "mini-flickr8k"
DIM = 256


class MiniFlickr8k(Mini):
    """The towers of `mini` with linear heads; the bare class has random weights."""

    def __init__(self, text_files: TextFiles) -> None:
        super().__init__(text_files)
        image, text = self.image_tower, self.text_tower
        del image.classifier, image.class_head
        image.head = nn.Linear(image.backbone.num_features, DIM)
        text.head, text.settings = nn.Linear(text.width, DIM), SentenceSettings(embed_dim=DIM)
        self.architecture = replace(self.architecture, kind=NAME, name=NAME, embed_dim=DIM)

    def header(self) -> dict[str, Any]:
        """The fields for `from_header`."""
        return {"text_files": self.text_files}

    def project_images(self, features: Tensor) -> Tensor:
        """Unit image vectors [batch, 256]."""
        return normalize(self.image_tower.head(features).float(), dim=-1)


KINDS[NAME] = MiniFlickr8k


def mini_flickr8k() -> MiniFlickr8k:
    """The model with its heads; raises UserError if a wheel of the towers is not installed."""
    whole = Mini.from_wheels()
    model = MiniFlickr8k(whole.text_files)
    model.image_tower.backbone = whole.image_tower.backbone
    model.text_tower.transformer = whole.text_tower.transformer
    return load_heads(model, HEADS).eval()


def load_heads(model: MiniFlickr8k, path: Path) -> MiniFlickr8k:
    """Load the heads of a file and its temperature, with their provenance."""
    tensors, model.made_from = read_heads(path)
    heads: dict[str, nn.Module] = {"image": model.image_tower.head, "text": model.text_tower.head}
    for name, head in heads.items():
        head.load_state_dict({part: tensors[f"{name}.{part}"] for part in ("weight", "bias")})
    with torch.no_grad():
        model.logit_scale.copy_(tensors["logit_scale"])
    return model


def main(arguments: list[str] | None = None) -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/mini-flickr8k.safetensors"))
    print(f"Written: {save_model(mini_flickr8k(), parser.parse_args(arguments).out)}")


if __name__ == "__main__":
    main()
