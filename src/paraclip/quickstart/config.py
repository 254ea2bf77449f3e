"""Options of `paraclip quickstart`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.errors import UserError
from paraclip.paraphrase.config import GenerateConfig
from paraclip.quickstart.stamps import PACKAGE
from paraclip.training.config import AlignOptions, TrainOptions


@dataclass(frozen=True)
class QuickstartConfig:
    """The whole job: captions and pictures in, a tuned text encoder and a table out."""

    source: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PICTURES]")] = None
    """Folder of pictures with a .txt beside each (its first line is the caption), or a captions
    file. Left out: Debian's Tux Paint
    stamps (about 840 pictures) are fetched with apt-get into the cache folder; no root needed."""

    out: str | None = None
    """Folder for everything that is made. A second run reuses what is there. Left out:
    runs/quickstart, for your own source runs/quickstart-NAME with the source's name."""

    held_out: int = 200
    """Pictures kept out of alignment and training and used for the scores; ten at least, a third
    of all at most."""

    align_epochs: int = 12
    """Passes over the training pictures that fit `mini` to them; this gives the base."""

    align_learning_rate: float = 5e-5
    """Peak learning rate of the text tower while aligning (per step, AdamW)."""

    train_epochs: int = 8
    """Passes over the triples while tuning."""

    learning_rate: float = 5e-5
    """Peak learning rate while tuning (per step, AdamW)."""

    batch_size: int = 128
    """Triples a step."""

    text_temperature: float = 0.2
    """Temperature of the two losses between texts; higher draws wordings closer together."""

    paraphrase: int = 400
    """Most captions of the learning side to paraphrase, besides the held-out ones. This is
    the slowest stage; more captions make a better tuned model."""

    candidates: int = 4
    """Answers drawn for each caption and step; the best that passes the filters is kept."""

    seed: int = 0
    """Decides the split, the order and the sampling."""

    fresh: bool = False
    """Make everything but the image features anew, in a folder that holds another run."""

    max_broken: float = 0.03
    """Share of broken rows or pictures (0 to 1) to skip before giving up."""

    @property
    def folder(self) -> Path:
        """Where everything is made."""
        if self.out is not None:
            return Path(self.out)
        name = Path(self.source).resolve().stem if self.source else ""
        return Path("runs", f"quickstart-{name}" if name else "quickstart")

    @property
    def align_options(self) -> AlignOptions:
        """Of the stage that makes the base."""
        return AlignOptions(
            epochs=self.align_epochs,
            learning_rate=self.align_learning_rate,
            dropout=0.0,
            seed=self.seed,
        )

    def generate_config(self, folder: Path) -> GenerateConfig:
        """Of the stage that paraphrases."""
        return GenerateConfig(
            source=self.source or PACKAGE, out=folder, candidates=self.candidates, fresh=self.fresh
        )

    def train_options(self, control: bool) -> TrainOptions:
        """Of the stage that trains: the control differs from the tuned in its texts alone."""
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


LEAST = {
    "held_out": 10, "align_epochs": 1, "train_epochs": 1, "batch_size": 2, "paraphrase": 1,
    "candidates": 1, "seed": 0,
}  # fmt: skip


def check_options(config: QuickstartConfig) -> None:
    """Refuse what a later stage would refuse, before the first.

    Raises:
        UserError: naming the option.
    """
    for name, least in LEAST.items():
        value = getattr(config, name)
        if value < least:
            option = f"--{name.replace('_', '-')}"
            raise UserError(option, f"{value} is too few", f"Give at least {least}.")
    for name in ("align_learning_rate", "learning_rate", "text_temperature"):
        if not 0 < getattr(config, name) < math.inf:
            option = f"--{name.replace('_', '-')}"
            raise UserError(option, f"{getattr(config, name)} is not above 0", "Give one above 0.")
