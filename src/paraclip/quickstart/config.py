"""Options of `paraclip quickstart`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from paraclip.options import Checked, Count, Positive, Seed, Share
from paraclip.paraphrase.config import GenerateConfig
from paraclip.quickstart.stamps import PACKAGE
from paraclip.training.config import BatchSize, TrainOptions


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole job: from captions and pictures to a tuned text encoder and a table of scores."""

    source: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PICTURES]")] = None
    """Folder of pictures with a .txt beside each (its first line is the caption), or a captions
    file. Default: the captioned ones of Debian's Tux Paint stamps (649 pictures), fetched with
    apt-get into the cache folder, without root."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart, or
    runs/quickstart-NAME with the name of your source."""

    held_out: Annotated[int, Ge(10)] = 100
    """Of your own pictures, how many are held out of training and used for the scores; at most a
    third of all. 150 of the stamps are always held out."""

    epochs: Count = 2
    """Passes over the strong triples (the stamps' or your own, with the starter set). All models
    take as many steps."""

    learning_rate: Positive = 1e-4
    """Peak learning rate of the text encoder (AdamW)."""

    image_weight: Positive = 0.2
    """Weight of L1 (image, text) in tuning; L2 and L3 have 1. A higher one fits the captions of the
    few pictures at the cost of consistency."""

    batch_size: BatchSize = 128
    """Triples in a step."""

    text_temperature: Positive = 0.2
    """Temperature of the two losses between texts; a higher one brings wordings closer together."""

    paraphrase: Count = 150
    """Most captions that the built-in LLM paraphrases. This is the slowest stage."""

    starter: Annotated[int, Ge(0), Le(3000)] = 3000
    """How many of the starter set's triples are trained on."""

    candidates: Annotated[int, Ge(1), Le(128)] = 4
    """Answers drawn for each caption and step; the best that passes the filters is kept."""

    seed: Seed = 0
    """Seed of the split, the order and the sampling."""

    fresh: bool = False
    """Run every stage from scratch, except for the image features, also over another run."""

    max_broken: Share = 0.03
    """Share of broken rows or pictures (0 to 1) to skip before giving up."""

    @property
    def folder(self) -> Path:
        """The output folder."""
        if self.out is not None:
            return Path(self.out)
        name = Path(self.source).resolve().stem if self.source else ""
        return Path("runs", f"quickstart-{name}" if name else "quickstart")

    def generate_config(self, folder: Path) -> GenerateConfig:
        """Options of the stage that paraphrases."""
        return GenerateConfig(
            source=self.source or PACKAGE, out=folder, candidates=self.candidates, fresh=self.fresh
        )

    def train_options(self, control: bool, epochs: int | None = None) -> TrainOptions:
        """Options of the stage that trains; control and tuned differ only in their texts.

        Args:
            control: whether to train on the original captions only.
            epochs: passes over the rows; None: `self.epochs`.
        """
        return TrainOptions(
            epochs=epochs or self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            dropout=0.0,
            weights=(self.image_weight, 1.0, 1.0),
            image_loss_on=("caption", "paraphrase_1", "paraphrase_2"),
            text_temperature=self.text_temperature,
            control=control,
            held_out=0.0,
            seed=self.seed,
        )
