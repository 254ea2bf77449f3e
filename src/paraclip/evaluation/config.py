"""Options of `paraclip evaluate`; the docstring of a field is its help text."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from paraclip.options import Checked, Count, Resamples, Seed, Share


@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """Score models on benchmarks, with 95 % intervals and differences to base and control."""

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="MODEL [MODEL ...]", help_behavior_hint="(required)"),
    ]
    """Models, optionally with labels: base=mini control=runs/control/last.safetensors
    tuned=runs/train/last.safetensors. The others are compared with the model labelled base, or
    else with the first."""

    benchmarks: str | None = None
    """Comma-separated benchmarks, for example sts,sugar-crepe-pp (docs/evaluation.md lists all).
    Their data must exist. Default: the benchmarks of --suite."""

    data: str | None = None
    """Folder with the benchmarks' data: sts/, sugar_crepe_pp/, flickr8k/ ... Default: the
    environment variable PARACLIP_DATA."""

    suite: str | None = None
    """paper (benchmarks in the paper), quick (few or no pictures) or all. Benchmarks without data
    are skipped with a line that says what is missing and how to get it. Default: all."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval: CSV, TSV, JSONL, JSON or Parquet with two text columns, or
    a folder of such files. Default: sugar_crepe_pp/ of the data folder."""

    first_column: str | None = None
    """Column of the first wording. Default: caption."""

    second_column: str | None = None
    """Column of the second wording. Default: the first of caption2, paraphrase, paraphrase_1 and
    paraphrase_2 that exists."""

    pool: str | None = None
    """Pictures to search: a folder, a .txt of picture names (relative to --images), or a .npy of
    unit vectors [items, width]. Default: flickr8k/images/ of the data folder."""

    wordings: str | None = None
    """Reworded captions for variations: JSONL with image_id, caption and variations, an object with
    one text per kind of rewording and one named contrast. Their pictures are in --pool. Default:
    paraphrases/variations.jsonl of the data folder."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval, in any format that `paraclip captions`
    reads. Default: flickr8k/captions.csv of the data folder with the 1,000 pictures of its test
    split."""

    image_names: str | None = None
    """Text file with one picture name per line: use only these pictures of --captions (a split)."""

    images: str | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    images_by_class: str | None = None
    """Folder of pictures for zero-shot classification (image-folder), with one subfolder per class,
    named after the class. Default: skip this benchmark."""

    k: tuple[Count, ...] = (10,)
    """Number of results k in paraphrased-retrieval (AO@k, JS@k) and variations (also R@k); several
    values are separated by spaces: --k 1 10 100."""

    out: str = "runs/evaluation"
    """Folder for report.json, report.md, the plots, the contact sheet and items.npz."""

    resamples: Resamples = 1000
    """Number of bootstrap resamples for the intervals."""

    seed: Seed = 0
    """Random seed of the resamples."""

    cache: str | None = None
    """Folder of cached image features. Default: image_features/ in ParaCLIP's cache folder."""

    result_cache: bool = True
    """Cache each model's scores in results/ of ParaCLIP's cache folder, and reuse them if weights,
    data, pictures, precision and code are unchanged."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders."""

    batch_size: Count = 256
    """Number of texts per batch."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken pictures or rows to skip; more is an error."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""


@dataclass(frozen=True)
class CompareConfig(Checked):
    """Compare two models: differences of their metrics, with intervals and p-values.

    One report: two models in it. Two reports: the models with the same label in both, or the only
    model of each. More reports: each is a seed, and two models in every report are compared. For
    seeds of both models, give the reports of the second model with --against.
    """

    reports: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="REPORT [REPORT ...]", help_behavior_hint="(required)"),
    ]
    """report.json of one or more evaluations (with items.npz in the same folder), or folders."""

    against: tuple[str, ...] = ()
    """Reports of the second model; equal numbers of reports are paired in order (seeds)."""

    models: tuple[str, ...] = ()
    """Labels of the first and second model, for example base tuned. Without --against, both are
    read from every report, one seed per report. Default: base and tuned of every report, or for two
    reports the models with the same label."""

    all_metrics: bool = False
    """Compare all metrics, not only headlines. More metrics make Holm's correction stricter."""

    resamples: Resamples = 5000
    """Number of bootstrap resamples; the smallest possible p-value is 2 / (resamples + 1)."""

    seed: Seed = 0
    """Random seed of the resamples."""

    out: str | None = None
    """JSON file to write. Default: only print the comparison."""
