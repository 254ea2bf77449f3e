"""Triples that resemble real ones, matching features, and runs of the tiny model on them."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paraclip.models.encoder import DualEncoder
from paraclip.training import train as loop
from paraclip.training.config import TrainOptions, resolved
from paraclip.training.data import Examples, TrainingData
from paraclip.training.log import read_metrics
from paraclip.training.losses import Objective
from tiny import FEATURES, TinyModel, make_triples

MEASURED = ("triples_per_second", "input_wait", "peak_memory_bytes")
"""Metrics of the machine, which differ when a run is repeated."""


def make_features(triples: pa.Table, missing: tuple[int, ...] = (3,)) -> Tensor:
    """Features [N, FEATURES] that differ between pictures; the missing rows are NaN."""
    ids = triples["image_id"].to_pylist()
    maker = torch.Generator().manual_seed(5)
    of_picture = {name: torch.randn(FEATURES, generator=maker) for name in sorted(set(ids))}
    features = torch.stack([of_picture[name] for name in ids])
    features[list(missing)] = torch.nan
    return features


def make_options(**changes: Any) -> TrainOptions:
    """A short run on the CPU in fp32."""
    settings = {
        "epochs": 3, "batch_size": 8, "learning_rate": 3e-3,
        "precision": "fp32", "recipe": "paper",
    }  # fmt: skip
    return TrainOptions(**(settings | changes))


@dataclass(frozen=True)
class Tuned:
    """A finished run."""

    model: DualEncoder
    out: Path
    checkpoint: Path

    @property
    def steps(self) -> list[dict[str, float]]:
        """The lines of its log."""
        return read_metrics(self.out / "metrics.jsonl")

    @property
    def summary(self) -> dict[str, Any]:
        """Its results."""
        found: dict[str, Any] = json.loads((self.out / "summary.json").read_text())
        return found

    @property
    def merged(self) -> Path:
        """The checkpoint of base and tuned, mixed."""
        return self.out / "merged.safetensors"

    def outcome(self) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        """Its weights and the merged ones, and the log without what is measured on the machine."""
        kept = [{k: v for k, v in step.items() if k not in MEASURED} for step in self.steps]
        merged = {f"merged.{name}": value for name, value in weights_of(self.merged).items()}
        return weights_of(self.checkpoint) | merged, kept


def tune(
    out: Path,
    model: DualEncoder | None = None,
    triples: pa.Table | None = None,
    features: Tensor | str | None = "given",
    data: TrainingData | None = None,
    fresh: bool = False,
    save_seconds: float = 0.0,
    **changes: Any,
) -> Tuned:
    """Train a tiny model on tiny triples, or on data; by default, every step writes a state."""
    if data is None:
        triples, model = triples or make_triples(), model or TinyModel()
        features = make_features(triples) if isinstance(features, str) else features
        data = TrainingData(model, triples, features)
    path = loop.train(data, make_options(**changes), out, fresh=fresh, save_seconds=save_seconds)
    return Tuned(data.model, out, path)


def planned(
    data: TrainingData, kind: str = "mini", **changes: Any
) -> tuple[Examples, Objective, dict[str, nn.Module]]:
    """What a run over data would learn from, by which losses, with which parts of its model."""
    return loop.plan_training(data, resolved(make_options(**changes), kind))


class Stop(Exception):
    """The run is cut off here."""


def stop() -> None:
    """End a run as an error in the middle of a step does."""
    raise Stop


@contextmanager
def before_step(step: int, deed: Callable[[], object] = stop) -> Iterator[None]:
    """Call a function before the step after `step` steps of any run in this block."""
    share = loop.learning_rate_share

    def share_or_deed(at: int, total: int) -> float:
        if at == step:
            deed()
        return share(at, total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate_share", share_or_deed)
        yield


def stopped(out: Path, step: int, **changes: Any) -> None:
    """A run that is cut off after `step` steps."""
    with before_step(step), pytest.raises(Stop):
        tune(out, **changes)


def assert_same_outcome(one: Tuned, other: Tuned) -> None:
    """Assert that two runs agree bit for bit."""
    (a, steps), (b, other_steps) = one.outcome(), other.outcome()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert steps == other_steps


def weights_of(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    return load_file(path)


class Told(TinyModel):
    """Writes a line to a file for each text that it encodes; a batch takes `slow` seconds more."""

    def __init__(self, told: Path, seed: int = 0, slow: float = 0.0) -> None:
        super().__init__(seed)
        self.told, self.slow = told, slow

    def encode_tokens(self, ids: Tensor) -> Tensor:
        with self.told.open("a") as file:
            file.writelines(f"{row}\n" for row in ids.tolist())
        time.sleep(self.slow)
        return super().encode_tokens(ids)


def told_texts(told: Path) -> list[str]:
    """The lines of a file that `Told` has written, if any."""
    return told.read_text().splitlines() if told.exists() else []
