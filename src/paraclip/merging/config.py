"""Options of `paraclip merge`. The text under a field is its help on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Count, Resamples, Seed, Share


@dataclass(frozen=True, kw_only=True)
class MergeConfig(Checked):
    """Merge base and tuned by interpolating their weights (WiSE-FT), at one share or the knee."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BASE")]
    """Model before tuning."""

    tuned: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TUNED")]
    """Checkpoint after tuning."""

    alpha: Share = 0.5
    """Share of tuned in the mixture: 0 is base, 1 is tuned. With --sweep the knee is used."""

    image_tower: bool = False
    """Merge the image towers too, for a tuned model whose image tower was trained. Image vectors of
    the base are then no longer valid. Without it, different image towers are an error."""

    out: str = "merged.safetensors"
    """Checkpoint to write."""

    sweep: tuple[Share, ...] = ()
    """Shares to score, such as 0.2 0.4 0.6 0.8 (0 and 1 are added). The knee is written. Among
    the shares at which no standard figure falls beyond chance (95 % interval of the paired
    difference from base below 0), it has the largest mean change of the other figures, each divided
    by its largest change over the sweep."""

    benchmarks: str | None = None
    """Benchmarks of the sweep, separated by commas, as for `paraclip evaluate`. Default: all with
    data."""

    standard: str | None = None
    """Benchmarks that must not fall, separated by commas; the others should gain. Default:
    retrieval and classification."""

    data: str | None = None
    """Folder with the benchmarks' data. Default: the variable PARACLIP_DATA."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval, as for `paraclip evaluate`."""

    pool: str | None = None
    """Pictures to search in paraphrased-retrieval, as for `paraclip evaluate`."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval, as for `paraclip evaluate`."""

    images: str | None = None
    """Folder of the picture names in --captions and in a .txt --pool."""

    k: tuple[Count, ...] = (10,)
    """Ranks to score in paraphrased-retrieval, separated by blanks."""

    report: str = "runs/merge"
    """Folder for sweep.json, sweep.md, sweep.png and the scores of each share. The same command
    again scores only missing shares."""

    resamples: Resamples = 1000
    """Bootstrap resamples for the intervals."""

    seed: Seed = 0
    """Seed of the resamples."""

    cache: str | None = None
    """Folder of cached image features. Default: image_features/ in ParaCLIP's cache folder."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders while scoring."""

    device: str = "auto"
    """Device for a sweep: auto, cpu, cuda or cuda:1."""
