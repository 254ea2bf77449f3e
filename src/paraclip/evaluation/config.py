"""Options of `paraclip evaluate`. The text under a field is its help on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Count, Resamples, Seed, Share


@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """Score models side by side, with 95 % intervals and paired differences to base and control."""

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...]")
    ]
    """Models, each with a label before it if you like: base=mini
    control=runs/control/best.safetensors tuned=runs/train/best.safetensors. What is labelled base
    (else the first) is what the others are set against."""

    benchmarks: str | None = None
    """Names of benchmarks with commas between, such as sts,sugar-crepe-pp (docs/evaluation.md has
    them all). Their data must be there. Left out: those of --suite."""

    data: str | None = None
    """Folder with the benchmarks' data: sts/, sugar_crepe_pp/, flickr8k/ ... Left out: what the
    variable PARACLIP_DATA names."""

    suite: str | None = None
    """paper (what the paper reports), quick (no pictures, or few) or all. Of a suite everything
    is scored whose data is found; of the rest a line each says what is missing and how to get it.
    Left out: all."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval: CSV, TSV, JSONL, JSON or Parquet with two text columns, or
    a folder of such files. Left out: sugar_crepe_pp/ of the data folder."""

    first_column: str | None = None
    """Column of the one wording. Left out: caption."""

    second_column: str | None = None
    """Column of the other wording. Left out: caption2, paraphrase, paraphrase_1 or paraphrase_2,
    whichever is there first."""

    pool: str | None = None
    """Pictures to search: a folder, a .txt of picture names (relative to --images), or a .npy of
    unit vectors [items, width]. Left out: flickr8k/images/ of the data folder."""

    wordings: str | None = None
    """Captions in other wordings for variations: JSONL with image_id, caption and variations, which
    holds a text for each kind of rewording and one called contrast. Left out:
    paraphrases/variations.jsonl of the data folder. Their pictures are in --pool."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval: anything that `paraclip captions` reads.
    Left out: flickr8k/captions.csv of the data folder with its 1,000 test pictures."""

    image_names: str | None = None
    """Text file of picture names, one a line: only these pictures of --captions (a test split)."""

    images: str | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    images_by_class: str | None = None
    """Folder of pictures for zero-shot classification (image-folder): one folder a class, named as
    the class is. Left out: no such benchmark."""

    k: tuple[Count, ...] = (10,)
    """Results looked at in paraphrased-retrieval (AO@k, JS@k) and variations (R@k too); several
    with blanks between: --k 1 10 100."""

    out: str = "runs/evaluation"
    """Folder for report.json, report.md, the plots, the contact sheet and items.npz."""

    resamples: Resamples = 1000
    """Bootstrap resamples for the intervals."""

    seed: Seed = 0
    """Decides the resamples."""

    cache: str | None = None
    """Folder of computed image features. Left out: image_features/ in ParaCLIP's cache folder."""

    result_cache: bool = True
    """Keep each model's scores in results/ of ParaCLIP's cache folder and take them from there
    where weights, data, pictures, arithmetic and code are the same: a second run costs nothing."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the encoders."""

    batch_size: Count = 256
    """Texts at once."""

    max_broken: Share = 0.01
    """Share of broken pictures or rows (0 to 1) to leave out before giving up."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""


@dataclass(frozen=True)
class CompareConfig(Checked):
    """Say what changed between two models, by how much, and whether it counts.

    One report: two models of it. Two reports: the models of the same label in both, or the one
    model of each. More: each is a seed, and two models of every report are compared. Seeds on
    both sides: name the second side's reports with --against.
    """

    reports: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="REPORT [REPORT ...]")
    ]
    """report.json of one or more evaluations (items.npz must lie beside it), or their folders."""

    against: tuple[str, ...] = ()
    """Reports of the second model; equal numbers of reports are paired in order (seeds)."""

    models: tuple[str, ...] = ()
    """Labels of the first and the second model, such as base tuned. Two labels without --against:
    both are taken from every report, each a seed. Left out: see above; base and tuned of one."""

    all_metrics: bool = False
    """Compare all figures, not only the headlines. More figures make Holm's correction harder."""

    resamples: Resamples = 5000
    """Bootstrap resamples; the smallest p-value is 2 / (resamples + 1)."""

    seed: Seed = 0
    """Decides the resamples."""

    out: str | None = None
    """JSON file to write. Left out: only printed."""
