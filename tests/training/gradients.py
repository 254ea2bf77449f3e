"""The float64 gradient of one step of a tiny run: from the engine and from plain code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from tiny_model import TinyModel
from torch.nn import functional as F
from training_rows import COLOURS, make_config, make_features, make_triples

from paraclip.training.loop import batch_of
from paraclip.training.optimizer import set_dropout, train_only
from paraclip.training.prepare import TrainingData
from paraclip.training.run import start
from paraclip.training.step import learn_from, sides_of
from paraclip.training.task import task_of

ROWS = np.random.default_rng(3).permutation(24)[:17]
BASE = {"weights": (1.0, 0.5, 2.0), "image_loss_on": ("caption", "paraphrase_2"), "dropout": 0.3}
VARIANTS = {
    "three": {},
    "negatives": {"negatives": "worse"},
    "own_temperatures": {"learn_text_temperature": True, "l3_temperature": 0.2},
    "one_way": {"loss": "one_way"},
    "sigmoid": {"loss": "sigmoid", "negatives": "worse"},
    "distillation": {"distillation": 2.0},
    "lora": {"text_tower": "lora", "lora_rank": 2},
    "image_tower": {"image_learning_rate": 1e-3, "image_loss_on": ("paraphrase_2",)},
}


def rows_of_all_kinds(folder: Path) -> pa.Table:
    """Triples with pictures, hard negatives on some rows, and a text that two rows share."""
    table = make_triples().to_pylist()
    for index, row in enumerate(table):
        row["worse"] = f"no {row['caption']}" if index % 3 else None
        row["image"] = str(folder / f"{row['image_id']}.png")
        shade = (255 * COLOURS.index(row["caption"].split()[0]) // 4, 9 * index, 100)
        if index not in (3, 8):
            Image.new("RGB", (4, 4), shade).save(row["image"])
    table[4]["paraphrase_2"] = table[11]["caption"]
    table[ROWS[0]]["worse"] = table[ROWS[1]]["caption"]
    table[3]["image"] = table[8]["image"] = None
    return pa.Table.from_pylist(table)


def run_of(folder: Path, chunk: int = 7, **changes: object):
    """A run before its first step, all weights in float64, `chunk` texts a micro-batch."""
    folder.mkdir(parents=True, exist_ok=True)
    model, triples, config = TinyModel(), rows_of_all_kinds(folder), make_config(**BASE | changes)
    task = task_of(TrainingData(model, triples, make_features(triples, missing=(3, 8))), config)
    model.double()
    task = replace(task, examples=replace(task.examples, chunk=chunk))
    train_only(model, task.parts, config.freeze_temperature)
    set_dropout(task.parts, config.dropout)
    run = start(task, {"precision": "fp32"}, folder / "states")
    run.train_mode()
    with torch.no_grad():
        for name, value in run.weights.items():
            if "lora_B" in name:  # at 0 its partner has no gradient
                value.copy_(torch.linspace(-0.1, 0.1, value.numel()).view_as(value))
    return run


def gradient(folder: Path, micro_batch: int = 1000, rows=ROWS, **changes: object):
    """Losses, and the gradient of every trained weight, of one batch."""
    run = run_of(folder, micro_batch=micro_batch, **changes)
    losses = learn_from(run, batch_of(run, rows))
    found = {name: value.grad for name, value in run.weights.items() if value.grad is not None}
    return losses, found


def plain_gradient(folder: Path, rows=ROWS, **changes: object):
    """The same with a single graph and dense similarities."""
    run = run_of(folder, **changes)
    batch = batch_of(run, rows)
    texts, images = (
        torch.cat([side.vectors(place) for place in range(len(side.micro_batches))])
        for side in sides_of(run, batch)
    )
    losses = plain_losses(run, batch, texts[batch.restore], images)
    weights = dict(zip(("L1", "L2", "L3"), run.objective.weights, strict=True))
    weights["distillation"] = run.objective.distillation
    sum(weights[name] * loss for name, loss in losses.items()).backward()
    found = {name: value.grad for name, value in run.weights.items() if value.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, found


def plain_losses(run, batch, texts, images):
    """L1, L2 and L3 of text by text vectors [T * B + M, D] and image vectors [K, D]."""
    names, count = run.examples.names, batch.size
    by_name = {name: texts[i * count : (i + 1) * count] for i, name in enumerate(names)}
    negatives, pairs = texts[len(names) * count :], batch.rows.false_negatives
    nobody = torch.zeros(count, count + len(negatives), dtype=torch.bool)
    mask = pairs.dense() if pairs else nobody
    with_image, objective = batch.rows.with_image, run.objective
    sides = [
        ("L1", images, by_name[name][with_image], with_image) for name in objective.image_loss_on
    ]
    for name, a, b, rows in (
        ("L2", "caption", "paraphrase_1", batch.rows.reworded_1),
        ("L3", "paraphrase_1", "paraphrase_2", batch.rows.reworded_2),
    ):
        sides.append((name, by_name[a][rows], by_name[b][rows], rows))
    found = {}
    for name, a, b, rows in sides:
        hidden = torch.cat([mask[rows][:, rows], mask[rows][:, count:]], dim=1)
        loss = dense(a, b, negatives, hidden, run.temperatures(name), objective.kind, name != "L1")
        found.setdefault(name, []).append(loss)
    if objective.distillation:
        base = run.examples.base[torch.from_numpy(batch.numbers)]
        fresh = torch.cat([caption_vector(TinyModel(), run, row) for row in batch.numbers])
        assert torch.allclose(base, fresh, atol=1e-6)  # a base of the same seed
        found["distillation"] = [(1 - (by_name["caption"] * base).sum(1)).mean()]
    return {name: sum(parts) / len(parts) for name, parts in found.items()}


@torch.no_grad()
def caption_vector(model, run, row):
    """The vector [1, D] of the caption of a row, encoded by itself."""
    text = run.examples.text_rows[run.examples.names.index("caption"), [row]]
    return model.encode_tokens(run.examples.tokens.padded(text))


def dense(a, b, negatives, hidden, scaling, kind, negatives_back):
    """A contrastive loss with all similarities [N, N + M] at once."""

    def logits(rows, columns, hidden):
        found = scaling.scale * rows @ columns.T
        found = found if scaling.bias is None else found + scaling.bias
        return found.masked_fill(hidden[:, : found.shape[1]], -torch.inf)

    if len(a) < 2:  # a single row has no negatives
        return (a.sum() + b.sum()) * 0.0
    own = torch.arange(len(a))
    forth = logits(a, torch.cat([b, negatives]), hidden)
    if kind == "sigmoid":
        signs = torch.eye(*forth.shape).double() * 2 - 1
        return F.softplus(-signs * forth).sum() / len(a)
    if kind == "one_way":
        return F.cross_entropy(forth, own)
    back = logits(b, torch.cat([a, negatives]) if negatives_back else a, hidden)
    return (F.cross_entropy(forth, own) + F.cross_entropy(back, own)) / 2


def assert_same(one, other, tolerance=1e-5):
    """Assert that two lists of tensor mappings agree, relative to each tensor's largest value."""
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            largest = float(b[name].abs().max())
            assert float((a[name] - b[name]).abs().max()) <= tolerance * largest + 1e-15, name
