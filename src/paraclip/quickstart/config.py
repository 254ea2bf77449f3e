"""Options of `paraclip quickstart`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Le

from paraclip.options import Checked, Count, Positive, Seed, Share
from paraclip.paraphrase.config import GenerateConfig
from paraclip.quickstart.stamps import PACKAGE
from paraclip.training.config import AlignOptions, BatchSize, TrainOptions


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole job: from captions and pictures to a tuned text encoder and a table of scores."""

    source: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PICTURES]")] = None
    """Folder of pictures with a .txt beside each (its first line is the caption), or a captions
    file. Default: Debian's Tux Paint stamps (about 840 pictures), fetched with apt-get into the
    cache folder, without root."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart, or
    runs/quickstart-NAME with the name of your source."""

    held_out: Annotated[int, Ge(10)] = 200
    """Pictures held out of alignment and training and used for the scores; at least ten, at most a
    third of all."""

    align_epochs: Count = 12
    """Passes over the training pictures when `mini` is fitted to them, which gives the base."""

    align_learning_rate: Positive = 5e-5
    """Peak learning rate of the text encoder in alignment (AdamW)."""

    train_epochs: Count = 8
    """Passes over the triples in tuning."""

    learning_rate: Positive = 5e-5
    """Peak learning rate in tuning (AdamW)."""

    batch_size: BatchSize = 128
    """Triples in a step."""

    text_temperature: Positive = 0.2
    """Temperature of the two losses between texts; a higher one brings wordings closer together."""

    paraphrase: Count = 400
    """Most training captions to paraphrase, besides the held-out ones. This is the slowest stage;
    more captions give a better tuned model."""

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

    @property
    def align_options(self) -> AlignOptions:
        """Options of the stage that fits the base."""
        return AlignOptions(
            epochs=self.align_epochs,
            learning_rate=self.align_learning_rate,
            dropout=0.0,
            seed=self.seed,
        )

    def generate_config(self, folder: Path) -> GenerateConfig:
        """Options of the stage that paraphrases."""
        return GenerateConfig(
            source=self.source or PACKAGE, out=folder, candidates=self.candidates, fresh=self.fresh
        )

    def train_options(self, control: bool) -> TrainOptions:
        """Options of the stage that trains; control and tuned differ only in their texts."""
        return TrainOptions(
            epochs=self.train_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            dropout=0.0,
            image_loss_on=("caption", "paraphrase_1", "paraphrase_2"),
            text_temperature=self.text_temperature,
            control=control,
            held_out=0.0,
            seed=self.seed,
        )
