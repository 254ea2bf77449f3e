"""The float64 gradient of one step on tiny rows of all kinds: by the engine, and plainly."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from training_rows import make_features, make_options

from paraclip.data.triples import WORDINGS
from paraclip.training import sentences
from paraclip.training.config import resolved
from paraclip.training.data import Teacher, TrainingData
from paraclip.training.distributed import this_process
from paraclip.training.gradcache import encode_plain
from paraclip.training.losses import info_nce
from paraclip.training.optimizer import set_dropout, train_mode, train_only
from paraclip.training.ranking import BANK, HUBS, TEACHERS, TEACHERS_BANK
from paraclip.training.sentences import MEANINGS
from paraclip.training.sources import BASE
from paraclip.training.train import encode_batch, gradients_of, plan_training
from tiny import PAINTS, OtherModel, TinyModel, make_triples

ROWS = np.random.default_rng(3).permutation(24)[:17]
WEIGHTS = {"L1": 1.0, "L2": 0.5, "L3": 2.0}
USUAL = {
    "loss_weights": WEIGHTS, "image_loss_on": ("caption", "paraphrase_2"), "dropout": 0.3,
}  # fmt: skip
VARIANTS = {
    "three": {},
    "warm": {"text_temperature": 0.2},
    "ranking": {"loss_weights": WEIGHTS | {"R": 3.0}},
    "teachers": {"loss_weights": WEIGHTS | {"R": 3.0}, "teachers": True},
    "sentences": {"loss_weights": WEIGHTS | {"S": 2.0}},
    "image_tower": {"image_learning_rate": 1e-3, "image_loss_on": ("paraphrase_2",)},
}
SEED = (0, 4)


def rows_of_all_kinds(folder: Path) -> pa.Table:
    """Triples with and without pictures, and a text that two rows share."""
    folder.mkdir(parents=True, exist_ok=True)
    table = make_triples().to_pylist()
    for index, row in enumerate(table):
        row["image"] = str(folder / f"{row['image_id']}.png")
        shade = (255 * PAINTS.index(row["caption"].split()[0]) // 4, 9 * index, 100)
        if index not in (3, 8):
            Image.new("RGB", (4, 4), shade).save(row["image"])
    table[4]["paraphrase_2"] = table[11]["caption"]
    table[3]["image"] = table[8]["image"] = None
    for index, texts in ((3, ["a drum"]), (6, ["some cat", "cat?"]), (8, ["ein Boot"])):
        lang = "de" if index == 8 else None
        table[index]["wordings"] = [{"text": text, "kind": "short", "lang": lang} for text in texts]
    columns = {name: [row.get(name) for row in table] for name in table[0] | table[3]}
    return pa.table(columns | {WORDINGS.name: pa.array(columns[WORDINGS.name], WORDINGS.type)})


class Step:
    """A run before a step, all weights in float64, `chunk` texts encoded together."""

    def __init__(
        self, folder: Path, chunk: int = 7, teachers: bool = False, **changes: object
    ) -> None:
        self.model, triples = TinyModel(), rows_of_all_kinds(folder)
        self.options = resolved(make_options(**USUAL | changes), "mini")
        features = make_features(triples, missing=(3, 8))
        base, other = Teacher(BASE, self.model), Teacher("other", OtherModel(), 3.0)
        data = TrainingData(
            self.model, triples, features, languages=("en", "de"),
            teachers=(base, other) if teachers else (),
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:  # MiniLM takes a second to load
            patch.setattr(sentences, "load_model", lambda *_: TinyModel(seed=7))
            self.rows, self.objective, parts = plan_training(data, self.options)
        self.model.double()
        object.__setattr__(self.rows, "chunk", chunk)
        self.weights = train_only(self.model, parts)
        set_dropout(parts, self.options.dropout)
        train_mode(self.model, parts)

    def gradient(self, rows=ROWS):
        """Losses and gradients by the engine, summed over processes."""
        processes = this_process()
        batch = self.rows.batch(rows, processes.share)
        vectors = encode_batch(
            self.model, batch, self.rows.names, self.options.micro_batch, None, processes, SEED
        )
        losses = self.objective.values(vectors, processes.share)
        self.objective.total(losses).backward()
        losses = {name: loss.detach() for name, loss in losses.items()}
        processes.add_up([*losses.values(), *gradients_of(self.weights)])
        return losses, {name: value.grad for name, value in self.weights.items()}

    def plain_gradient(self, rows=ROWS):
        """The same with a single graph and dense similarities."""
        model, batch = self.model, self.rows.batch(rows)
        texts = encode_plain(model.encode_tokens, batch.chunks, (*SEED, 0, 0))
        by_name = dict(
            zip(self.rows.names, texts[batch.restore].chunk(len(self.rows.names)), strict=True)
        )
        if batch.pictures is None:
            images = model.project_images(batch.features)
        else:
            opened = [model.preprocess(Image.open(name)) for name in batch.pictures]
            images = model.project_images(model.embed_pixels(torch.stack(opened).double()))
        losses = self.plain_losses(batch, by_name, images)
        sum(self.objective.weights[name] * loss for name, loss in losses.items()).backward()
        found = dict(zip(self.weights, gradients_of(self.weights), strict=True))
        return {name: loss.detach() for name, loss in losses.items()}, found

    def plain_losses(self, batch, by_name, images):
        """All losses, each from its definition."""
        pairs, count = batch.rows.false_negatives, batch.size
        mask = pairs.dense() if pairs else torch.zeros(count, count, dtype=torch.bool)
        temperature, own = self.options.text_temperature, self.model.logit_scale.exp()
        warm = own if temperature is None else torch.tensor(1 / temperature).double()

        def info(a, b, chosen, scale):
            return info_nce(a, b, scale, mask[chosen][:, chosen])

        shown, (one, two) = batch.rows.with_image, batch.rows.reworded.values()
        caption, first, second = (by_name[name] for name in ("caption", "paraphrase_1",
                                                             "paraphrase_2"))  # fmt: skip
        found = {
            "L1": torch.stack([
                info(images, by_name[name][shown], shown, own)
                for name in self.options.image_loss_on
            ]).mean(),
            "L2": info(caption[one], first[one], one, warm),
            "L3": info(first[two], second[two], two, warm),
        }  # fmt: skip
        if "R" in self.options.losses:
            bank, texts, pictures, hubs = (
                batch.constants[name].double() for name in (BANK, TEACHERS, TEACHERS_BANK, HUBS)
            )
            wanted, start = torch.zeros(()), 0
            ranking = self.objective.losses["R"]
            for one, hub in zip(ranking.rankers, hubs, strict=True):
                own = slice(start, start := start + one.width)
                logits = one.scale * texts[:, own] @ pictures[:, own].T - hub
                wanted = wanted + one.share * logits.softmax(1)
            found["R"] = -torch.stack([
                wanted * (ranking.scale * one @ bank.T).log_softmax(1)
                for one in (caption, first, second)
            ]).sum(2).mean()  # fmt: skip
        if "S" in self.options.losses:
            meanings = batch.constants[MEANINGS].double().unbind(1)
            texts = (caption, first, second)
            found["S"] = -torch.stack([
                (meanings[a] @ meanings[b].T / 0.05).softmax(1)
                * (texts[a] @ texts[b].T / 0.05).log_softmax(1)
                for a, b in ((0, 1), (1, 2), (0, 2))
            ]).sum(2).mean()  # fmt: skip
        return found


def assert_same(one, other, tolerance=1e-5):
    """Assert that two lists of tensor mappings agree, relative to each tensor's largest value."""
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            largest = float(b[name].abs().max())
            assert float((a[name] - b[name]).abs().max()) <= tolerance * largest + 1e-15, name
