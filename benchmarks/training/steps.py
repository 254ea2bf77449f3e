"""Training steps that benchmarks time, on synthetic rows: `paraclip train`'s own and plain ones."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.weights import open_clip_names
from paraclip.models.mini import Mini
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.training.config import TrainOptions
from paraclip.training.examples import padding_id
from paraclip.training.loop import batch_of, batches_ahead
from paraclip.training.losses.objective import ALL_TEXTS, info_nce
from paraclip.training.optimizer import Part, set_dropout, train_only
from paraclip.training.prepare import TrainingData
from paraclip.training.run import Run, precision_of, start
from paraclip.training.step import take_step
from paraclip.training.task import task_of

RATE = 1e-4
MANY = 1_000_000
"""Number of epochs; after the few timed steps, the learning rate is still at its peak."""
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
"""A CLIP that runs in milliseconds, for tests; its figures are meaningless."""

WHO = ["a man", "two women", "a small child", "an old fisherman", "three hikers", "a black dog",
       "a girl in a yellow coat", "the players", "a street musician", "some tourists", "a nurse",
       "four boys", "an angry cook", "the last guest", "a tall dancer", "my neighbour",
       "a painter with a beard", "both sisters", "a farmer", "the mail carrier"]  # fmt: skip
DOES = ["holds", "carries", "looks at", "sits beside", "runs past", "photographs", "waits near",
        "points to", "walks around", "leans on", "paints", "sells", "pushes", "cleans"]  # fmt: skip
WHAT = ["a wooden boat", "a red bicycle", "the market stall", "a stone bridge", "an open window",
        "a pile of oranges", "a sleeping cat", "the old tram", "a tall fence", "a broken piano",
        "the blue door", "a box of tools", "a paper kite", "the empty bench", "a row of lamps",
        "a wet umbrella"]  # fmt: skip
WHERE = ["", "", "in the rain", "at night", "on a crowded beach", "under a row of trees",
         "in front of a brick house with green shutters", "by the canal", "after the storm",
         "next to a bus stop", "on the roof", "in thick fog", "on a Sunday morning",
         "while others watch from a balcony"]  # fmt: skip


def made_up_triples(rows: int) -> pa.Table:
    """Triples that all differ, with about 14 tokens per text, like captions from the web."""
    chance = random.Random(0)
    found: dict[str, dict[str, str]] = {}
    while len(found) < rows:
        who, does, what, where = (chance.choice(parts) for parts in (WHO, DOES, WHAT, WHERE))
        caption = " ".join(f"{who} {does} {what} {where}".split())
        row = {
            "image_id": str(len(found)),
            "caption": caption,
            "paraphrase_1": " ".join(f"{who}: {does} {what}, {where}".split()),
            "paraphrase_2": " ".join(f"{where} there is {what} that {who} {does}".split()),
        }
        found.setdefault(caption, row)
    return pa.Table.from_pylist(list(found.values()))


def random_features(model: DualEncoder, rows: int) -> Tensor:
    """Image features float32 [N, F] like those of the frozen image tower."""
    side = model.image_size
    with torch.no_grad():
        width = model.embed_pixels(torch.zeros(1, 3, side, side, device=model.device)).shape[1]
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def random_pixels(rows: int, side: int) -> Tensor:
    """Prepared pictures float32 [N, 3, side, side] of noise."""
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(0))


def model_of(name: str) -> DualEncoder:
    """`mini`, or a model of open_clip with random weights."""
    return Mini.from_wheels() if name == "mini" else random_clip(name)[1]


def random_clip(name: str) -> tuple[nn.Module, OpenClip]:
    """open_clip's model of a name, or a tiny one, with random weights, and ours with the same."""
    torch.manual_seed(0)
    config = TINY if name == "tiny" else open_clip.get_model_config(name)
    clip = open_clip.CLIP(**deepcopy(config)).eval()
    spec = ClipSpec(name, config, asdict(PreprocessCfg()))
    inside = build_clip(spec)
    inside.load_state_dict(open_clip_names(inside, clip.state_dict()))
    ours = OpenClip(spec, inside)
    clip.visual.requires_grad_(False)
    train_only(ours, (Part(ours.text_tower, RATE),), freeze_temperature=False)
    return clip, ours


class OurStep:
    """`paraclip train`'s own step.

    Args:
        model: model; its text tower and temperature are trained.
        triples: N rows.
        features: float32 [N, F].
        folder: an empty folder.
        options: options of `paraclip train`.
    """

    def __init__(
        self, model: DualEncoder, triples: pa.Table, features: Tensor, folder: Path, **options: Any
    ) -> None:
        known = {
            "learning_rate": RATE, "warmup": 0.0, "epochs": MANY, "held_out": 0.0,
            "batch_size": len(triples), "weight_decay": 0.01, "recipe": "paper",
        }  # fmt: skip
        task = task_of(TrainingData(model, triples, features), TrainOptions(**(known | options)))
        train_only(model, task.parts, task.options.freeze_temperature)
        set_dropout(task.parts, task.options.dropout)
        identity = {"precision": precision_of(task.options.precision, model.device)}
        self.run: Run = start(task, identity, folder)
        self.run.step = 1  # the first step of a run has half the learning rate
        self.run.train_mode()

    def __call__(self, rows: np.ndarray) -> float:
        """One step on these rows; returns the loss."""
        return take_step(self.run, batch_of(self.run, rows))["loss"]

    def input_wait(self, steps: int) -> float:
        """Share of the time of a number of steps spent waiting for rows."""
        began, waited = time.perf_counter(), 0.0
        with closing(batches_ahead(self.run)) as batches:
            for batch in islice(batches, steps):
                waited += self.run.waited
                take_step(self.run, batch)
        return waited / (time.perf_counter() - began)

    def text_lengths(self) -> np.ndarray:
        """Tokens of every text, int64 [T * N]."""
        return np.diff(self.run.examples.tokens.offsets)


def open_clip_adamw(weights: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW as in open_clip's own training: parameters below two dimensions do not decay."""
    large = [weight for weight in weights if weight.ndim >= 2]
    small = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": large, "weight_decay": 0.01}, {"params": small, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)


@dataclass
class PlainStep:
    """The three-loss step written plainly: a pass for each text, all similarities at once.

    Args:
        tokens: ids [N, length] of each text.
        encode: maps ids [B, length] to unit vectors [B, D].
        images: maps rows [B] to unit vectors [B, D].
        weights: trained weights.
        scale: log of the inverse temperature.
        half: whether to use bf16 autocast for both towers.
    """

    tokens: Mapping[str, Tensor]
    encode: Callable[[Tensor], Tensor]
    images: Callable[[Tensor], Tensor]
    weights: Sequence[nn.Parameter]
    scale: Tensor
    half: bool = False

    def __post_init__(self) -> None:
        self.optimizer = open_clip_adamw(self.weights)

    def loss(self, rows: np.ndarray) -> Tensor:
        """L1 + L2 + L3 of these rows."""
        device = self.scale.device
        chosen = torch.from_numpy(rows).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.half):
            caption, first, second = (self.encode(self.tokens[name][chosen]) for name in ALL_TEXTS)
            images = self.images(chosen)
        pairs = ((images, second), (caption, first), (first, second))
        losses = [info_nce(a, b, self.scale.exp()) for a, b in pairs]
        return torch.stack(losses).sum()

    def __call__(self, rows: np.ndarray) -> float:
        """One step; returns the loss."""
        loss = self.loss(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def plain_step(
    model: DualEncoder, triples: pa.Table, features: Tensor, half: bool = False
) -> PlainStep:
    """The plain step of any model, on texts cut to the longest one and with cached features."""
    train_only(model, (Part(model.text_tower, RATE),), freeze_temperature=False)
    model.train()
    device, pad = model.device, padding_id(model)
    features = features.to(device)
    return PlainStep(
        tokens={
            name: model.tokenize(triples[name].to_pylist()).ids.to(device) for name in ALL_TEXTS
        },
        encode=lambda ids: model.encode_tokens(ids[:, : int((ids != pad).sum(1).max())]),
        images=lambda rows: model.project_images(features[rows]),
        weights=[weight for weight in model.parameters() if weight.requires_grad],
        scale=model.logit_scale,
        half=half,
    )
