"""Training steps that a benchmark times: `paraclip train`'s own and plain ones."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from paraclip.data.triples import read_triples
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.clips import open_clip_names
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.starter import TEXTS, TRIPLES
from paraclip.training.config import TrainOptions, resolved
from paraclip.training.data import Batch, TrainingData, padding_id
from paraclip.training.distributed import this_process
from paraclip.training.losses import info_nce
from paraclip.training.optimizer import (
    clamp_scale,
    make_optimizer,
    set_dropout,
    set_learning_rates,
    train_mode,
    train_only,
)
from paraclip.training.train import (
    CLIP_NORM,
    DTYPES,
    encode_batch,
    gradients_of,
    plan_training,
    precision_of,
)

DECAY = 0.01
RATE = 1e-4
MANY = 1_000_000
"""Number of epochs; after the few timed steps, the learning rate is still at its peak."""
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
"""A CLIP that runs in milliseconds, for tests; its figures are meaningless."""


def some_triples(rows: int) -> pa.Table:
    """The first rows of the starter set, without further wordings: a picture each."""
    ids = pa.array([str(number) for number in range(rows)])
    return read_triples(TRIPLES).slice(0, rows).select(TEXTS).append_column("image_id", ids)


def random_pixels(rows: int, side: int) -> Tensor:
    """Prepared pictures float32 [N, 3, side, side] of noise."""
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(0))


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
    train_only(ours, [(ours.text_tower, RATE)])
    return clip, ours


class OurStep:
    """`paraclip train`'s own step, at the peak of its learning rate.

    Args:
        data: N rows, and the model, whose text tower and temperature are trained.
        options: options of `paraclip train`.
    """

    def __init__(self, data: TrainingData, **options: Any) -> None:
        known = {"learning_rate": RATE, "epochs": MANY, "recipe": "paper"}
        known |= {"batch_size": len(data.triples)}
        self.model, kind = data.model, data.model.architecture.kind
        self.options = resolved(TrainOptions(**(known | options)), kind)
        self.rows, self.objective, parts = plan_training(data, self.options)
        self.weights = train_only(self.model, parts)
        set_dropout(parts, self.options.dropout)
        self.optimizer = make_optimizer(self.weights, parts, RATE, DECAY)
        set_learning_rates(self.optimizer, 1.0)
        self.dtype = DTYPES[precision_of(self.options.precision, self.model.device)]
        self.start_scale = float(self.model.logit_scale.detach())
        train_mode(self.model, parts)

    def batch(self, rows: np.ndarray) -> Batch:
        """This process's part of the batch of these rows."""
        return self.rows.batch(rows, this_process().share).to(self.model.device)

    def backward(self, batch: Batch) -> tuple[float, list[Tensor]]:
        """Loss and gradients of a batch."""
        model, processes = self.model, this_process()
        vectors = encode_batch(
            model, batch, self.rows.names, self.options.micro_batch, self.dtype, processes, (0, 1)
        )
        loss = self.objective.total(self.objective.values(vectors, processes.share))
        loss.backward()
        loss, gradients = loss.detach(), gradients_of(self.weights)
        processes.add_up([loss, *gradients])
        return float(loss), gradients

    def __call__(self, rows: np.ndarray) -> float:
        """One step on these rows; returns the loss."""
        return self.step(self.batch(rows))

    def step(self, batch: Batch) -> float:
        """One step on a batch; returns the loss."""
        loss, gradients = self.backward(batch)
        clip_grads_with_norm_(self.weights.values(), CLIP_NORM, get_total_norm(gradients))
        self.optimizer.step()
        self.optimizer.zero_grad()
        clamp_scale(self.model.logit_scale, self.start_scale)
        return loss

    def input_wait(self, steps: int) -> float:
        """Share of the time of a number of steps spent waiting for rows."""
        began, waited = time.perf_counter(), 0.0
        with closing(self.rows.batches_from(0, self.model.device)) as batches:
            for _ in range(steps):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                self.step(batch)
        return waited / (time.perf_counter() - began)

    def text_lengths(self) -> np.ndarray:
        """Tokens of every text, int64 [T * N]."""
        return np.diff(self.rows.tokens.offsets)


def open_clip_adamw(weights: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW as in open_clip's own training: parameters below two dimensions do not decay."""
    large = [weight for weight in weights if weight.ndim >= 2]
    small = [weight for weight in weights if weight.ndim < 2]
    groups = [{"params": large, "weight_decay": DECAY}, {"params": small, "weight_decay": 0.0}]
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
            caption, first, second = (self.encode(self.tokens[name][chosen]) for name in TEXTS)
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
    train_only(model, [(model.text_tower, RATE)])
    model.train()
    device, pad = model.device, padding_id(model)
    features = features.to(device)
    return PlainStep(
        tokens={name: model.tokenize(triples[name].to_pylist()).ids.to(device) for name in TEXTS},
        encode=lambda ids: model.encode_tokens(ids[:, : int((ids != pad).sum(1).max())]),
        images=lambda rows: model.project_images(features[rows]),
        weights=[weight for weight in model.parameters() if weight.requires_grad],
        scale=model.logit_scale,
        half=half,
    )
