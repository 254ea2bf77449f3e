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
    """Triples of all variants; where the grid names several, each with its name before it:
    strong=strong.jsonl weak=runs/triples/triples.parquet. Left out: what the grid says."""

    model: str | None = None
    """Base of all variants that name none of their own. Left out: what the grid says, else mini."""

    images: str | None = None
    """Folder of the pictures, for triples that name them by image_id only."""

    seeds: tuple[Seed, ...] = ()
    """Seeds of training, several with blanks between, in place of the grid's."""

    variants: tuple[str, ...] = ()
    """Only these variants, several with blanks between; base and controls are always there."""

    benchmarks: str | None = None
    """Benchmarks as for `paraclip evaluate`, with commas between, in place of the grid's."""

    precision: Literal["fp32", "bf16"] | None = None
    """Arithmetic of the encoders while scoring, in place of the grid's."""

    data: str | None = None
    """Folder with the benchmarks' data. Left out: what the variable PARACLIP_DATA names."""

    out: str | None = None
    """Folder for ablation.md, ablation.json and the plots. Left out: runs/ablate/ with the grid's
    name."""

    cells: str | None = None
    """Folder of the cells; grids that name the same one share what they train alike. Left out:
    cells/ in --out, and without --out runs/ablate/cells."""

    resamples: Resamples = 10_000
    """Bootstrap resamples for intervals and marks; many variants and figures need many."""

    cache: str | None = None
    """Folder of the image features of the benchmarks. Left out: image_features/ in ParaCLIP's cache
    folder."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""

    keep_weights: bool = True
    """Keep the checkpoints of every cell. Without them a cell takes little room once it is scored;
    a merged variant that is added later trains its cells again."""

    fresh: bool = False
    """Train and score every cell anew."""

    dry_run: bool = False
    """Only list the cells and which of them are finished."""
