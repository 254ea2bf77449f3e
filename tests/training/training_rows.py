"""Triples that resemble real ones, and matching features."""

from pathlib import Path

import pyarrow as pa
import torch
from tiny_model import FEATURES
from torch import Tensor

from paraclip.training.config import TrainConfig

THINGS = ["cat", "dog", "boat", "tree", "lamp", "fish", "bird", "shoe", "drum", "kite"]
COLOURS = ["red", "blue", "green", "black"]


def make_triples(count: int = 24) -> pa.Table:
    """Triples with a colour and a thing each; some pictures have two captions."""
    rows = []
    for index in range(count):
        thing, colour = THINGS[index % 10], COLOURS[index // 10 % 4]
        rows.append({
            "id": str(index), "image_id": f"picture{index - (index % 7 == 6)}",
            "caption": f"{colour} {thing}", "paraphrase_1": f"{thing} {colour}",
            "paraphrase_2": f"{thing}: {colour}", "image": None, "generator": "by hand",
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


def make_features(triples: pa.Table, missing: tuple[int, ...] = (3,)) -> Tensor:
    """Features [N, FEATURES] that differ between pictures; the missing rows are NaN."""
    ids = triples["image_id"].to_pylist()
    maker = torch.Generator().manual_seed(5)
    of_picture = {name: torch.randn(FEATURES, generator=maker) for name in sorted(set(ids))}
    features = torch.stack([of_picture[name] for name in ids])
    features[list(missing)] = torch.nan
    return features


def make_config(**changes: object) -> TrainConfig:
    """A short run on the CPU in fp32."""
    settings = {
        "triples": "triples.parquet", "epochs": 3, "batch_size": 8, "learning_rate": 3e-3,
        "held_out": 0.2, "precision": "fp32", "save_every": 2,
        "recipe": "paper",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))  # type: ignore[arg-type]


def weights_of(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    from safetensors.torch import load_file

    return load_file(path)
