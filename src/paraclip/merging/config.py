"""Options of `paraclip merge`. The text under a field is its help on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Count, Resamples, Seed, Share


@dataclass(frozen=True, kw_only=True)
class MergeConfig(Checked):
    """Interpolate the weights of base and tuned (WiSE-FT), at one share or at the best of many."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BASE")]
    """Model before tuning."""

    tuned: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TUNED")]
    """Checkpoint after tuning."""

    alpha: Share = 0.5
    """Share of tuned in the mixture: 0 is base, 1 is tuned. With --sweep the knee decides."""

    image_tower: bool = False
    """Mix the image towers as well, where that of the tuned model was trained too: image indexes
    of the base are then void. Otherwise models with different image towers are refused."""

    out: str = "merged.safetensors"
    """Checkpoint to write."""

    sweep: tuple[Share, ...] = ()
    """Shares to score, such as 0.2 0.4 0.6 0.8 (0 and 1 are added). The knee is written: among the
    shares at which no standard figure falls beyond chance (the 95 % interval of its paired
    difference from base lies wholly below 0), the one whose changes of the other figures, each
    divided by its largest over the sweep, have the largest mean."""

    benchmarks: str | None = None
    """Benchmarks of the sweep as for `paraclip evaluate`, with commas between. Left out: all whose
    data is found."""

    standard: str | None = None
    """Benchmarks that must not fall, with commas between. Left out: retrieval and classification;
    all others are to gain."""

    data: str | None = None
    """Folder with the benchmarks' data. Left out: what the variable PARACLIP_DATA names."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval, as for `paraclip evaluate`."""

    pool: str | None = None
    """Pictures to search in paraphrased-retrieval, as for `paraclip evaluate`."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval, as for `paraclip evaluate`."""

    images: str | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    k: tuple[Count, ...] = (10,)
    """Results looked at in paraphrased-retrieval, several with blanks between."""

    report: str = "runs/merge"
    """Folder for sweep.json, sweep.md, sweep.png and each share's scores, which are kept: the same
    command again scores only what is missing."""

    resamples: Resamples = 1000
    """Bootstrap resamples for the intervals."""

    seed: Seed = 0
    """Decides the resamples."""

    cache: str | None = None
    """Folder of computed image features. Left out: image_features/ in ParaCLIP's cache folder."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the encoders while scoring."""

    device: str = "auto"
    """Where a sweep is scored: auto, cpu, cuda or cuda:1."""
