"""Options of `paraclip ablate`. The text under a field is its help on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Resamples, Seed


@dataclass(frozen=True, kw_only=True)
class AblateConfig(Checked):
    """Train every variant of a grid on every seed, with its control, and write one table."""

    grid: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="GRID")]
    """TOML file of seeds, benchmarks and variants, such as configs/ablations/losses.toml."""

    triples: tuple[str, ...] = ()
    """Triples of all variants. For a grid that names several, each as NAME=FILE, such as
    strong=strong.jsonl weak=runs/triples/triples.parquet. Default: those of the grid."""

    model: str | None = None
    """Base of all variants without their own. Default: that of the grid, else mini."""

    images: str | None = None
    """Folder of the pictures, for triples with an image_id only."""

    seeds: tuple[Seed, ...] = ()
    """Seeds of training, separated by blanks. Default: those of the grid."""

    variants: tuple[str, ...] = ()
    """Variants to train, separated by blanks; base and controls are included. Default: all."""

    benchmarks: str | None = None
    """Benchmarks, separated by commas, as for `paraclip evaluate`. Default: those of the grid."""

    precision: Literal["fp32", "bf16"] | None = None
    """Precision of the encoders while scoring. Default: that of the grid."""

    data: str | None = None
    """Folder with the benchmarks' data. Default: the variable PARACLIP_DATA."""

    out: str | None = None
    """Folder for ablation.md, ablation.json and the plots. Default: runs/ablate/ and the grid's
    name."""

    cells: str | None = None
    """Folder of the cells; grids with the same folder share training runs with the same options.
    Default: cells/ in --out, without --out runs/ablate/cells."""

    resamples: Resamples = 10_000
    """Bootstrap resamples for intervals and marks; tables with many comparisons need more."""

    cache: str | None = None
    """Folder of cached image features. Default: image_features/ in ParaCLIP's cache folder."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""

    keep_weights: bool = True
    """Keep the checkpoints of every cell. Without them a scored cell takes little space, but a
    merged variant that is added later trains its cells again."""

    fresh: bool = False
    """Train and score every cell again."""

    dry_run: bool = False
    """List the cells and their state, and do nothing else."""
