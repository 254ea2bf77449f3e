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
    """Share of tuned in the merged weights: 0 is base, 1 is tuned. With --sweep, the knee is used
    instead."""

    image_tower: bool = False
    """Merge the image towers as well, for a tuned model whose image tower was trained. Existing
    image vectors of the base become invalid. Without this option, different image towers are an
    error."""

    out: str = "merged.safetensors"
    """Checkpoint to write, with its model card next to it."""

    force: bool = False
    """Also replace files that ParaCLIP did not write, and an edited model card."""

    sweep: tuple[Share, ...] = ()
    """Shares to score, for example 0.2 0.4 0.6 0.8 (0 and 1 are added). The checkpoint at the knee
    is written: of the shares at which no standard metric falls significantly below base (95 %
    interval of the paired difference), the one where the other metrics gain most. Each change is
    divided by the metric's largest change in the sweep, and the mean is taken."""

    benchmarks: str | None = None
    """Comma-separated benchmarks of the sweep, as in `paraclip evaluate`. Default: all whose data
    is available."""

    standard: str | None = None
    """Comma-separated benchmarks that must not get worse; the others should improve. Default:
    retrieval and classification."""

    data: str | None = None
    """Folder with the benchmarks' data. Default: the environment variable PARACLIP_DATA."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval, as in `paraclip evaluate`."""

    pool: str | None = None
    """Pictures to search in paraphrased-retrieval, as in `paraclip evaluate`."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval, as in `paraclip evaluate`."""

    images: str | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    k: tuple[Count, ...] = (10,)
    """Number of results k in paraphrased-retrieval; several values are separated by spaces."""

    report: str = "runs/merge"
    """Folder for sweep.json, sweep.md, sweep.png and the scores of each share. A repeated run
    scores only the missing shares."""

    resamples: Resamples = 1000
    """Number of bootstrap resamples for the intervals."""

    seed: Seed = 0
    """Random seed of the resamples."""

    cache: str | None = None
    """Folder of cached image features. Default: image_features/ in ParaCLIP's cache folder."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders while scoring."""

    device: str = "auto"
    """Device of the sweep: auto, cpu, cuda or cuda:1."""
