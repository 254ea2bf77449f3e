"""Options of `paraclip ablate`. The text under a field is its help on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Resamples, Seed


@dataclass(frozen=True, kw_only=True)
class AblateConfig(Checked):
    """Train every variant of a grid on every seed, with its control, and write one table."""

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """TOML file with seeds, benchmarks and variants, for example configs/ablations/losses.toml."""

    triples: tuple[str, ...] = ()
    """Triples of all variants. If the grid names several sets, give each as NAME=FILE, for example
    strong=strong.jsonl weak=runs/triples/triples.parquet. Default: those of the grid."""

    model: str | None = None
    """Base of all variants that do not set their own. Default: that of the grid, else mini."""

    images: str | None = None
    """Folder of the pictures, for triples that have an image_id and no picture path."""

    seeds: tuple[Seed, ...] = ()
    """Random seeds of training, separated by spaces. Default: those of the grid."""

    variants: tuple[str, ...] = ()
    """Variants to train, separated by spaces; base and controls are included. Default: all."""

    benchmarks: str | None = None
    """Comma-separated benchmarks, as in `paraclip evaluate`. Default: those of the grid."""

    precision: Literal["fp32", "bf16"] | None = None
    """Precision of the encoders while scoring. Default: that of the grid."""

    data: str | None = None
    """Folder with the benchmarks' data. Default: the environment variable PARACLIP_DATA."""

    out: str | None = None
    """Folder for ablation.md, ablation.json and the plots. Default: runs/ablate/NAME, where NAME is
    the name of the grid."""

    cells: str | None = None
    """Folder of the cells. Grids that use the same folder share training runs with equal options.
    Default: cells/ in --out, or runs/ablate/cells without --out."""

    resamples: Resamples = 10_000
    """Number of bootstrap resamples for intervals and marks. Tables with many comparisons need
    more."""

    cache: str | None = None
    """Folder of cached image features. Default: image_features/ in ParaCLIP's cache folder."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""

    keep_weights: bool = True
    """Keep the checkpoints of every cell. Without this option, scored cells need little disk space,
    but merged variants that are added later are trained again."""

    fresh: bool = False
    """Train and score every cell again."""

    dry_run: bool = False
    """List the cells and their state without training or scoring."""
