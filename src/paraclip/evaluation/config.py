"""Options of `paraclip evaluate`; the docstring of a field is its help text."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from paraclip.errors import UserError
from paraclip.options import Checked, Count, Resamples, Share


@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """Score models on benchmarks, with 95 % intervals and differences to base and control.

    With --compare: compare two models of stored reports, with p-values. One report: two models in
    it. Two reports: the models with the same label in both, or the only model of each. More
    reports: each is a seed, and two models in every report are compared.
    """

    models: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL [MODEL ...]")
    ] = ()
    """Models, optionally with labels: base=mini control=runs/control/last.safetensors
    tuned=runs/train/last.safetensors. The others are compared with the model labelled base, or
    else with the first. With --compare: labels of the first and the second model."""

    benchmarks: str = "all"
    """Comma-separated benchmarks, such as sts,sugar-crepe-pp (see docs/guide/evaluate.md), or a
    suite: paper, quick (few or no pictures) or all; a suite skips benchmarks without data."""

    data: str | None = None
    """Folder with the benchmarks' data. Default: the environment variable PARACLIP_DATA."""

    pairs: str | None = None
    """Pairs for paraphrased-retrieval: a CSV, TSV, JSONL, JSON or Parquet file with two text
    columns, or a folder of them. Default: sugar_crepe_pp/ of the data folder."""

    columns: tuple[str, ...] = ()
    """Columns of the two wordings in --pairs. Default: caption, and caption2 or a paraphrase."""

    pool: str | None = None
    """Pictures to search: a folder, a .txt of picture names (relative to --images), or a .npy of
    unit vectors [items, width]. Default: flickr8k/images/ of the data folder."""

    wordings: str | None = None
    """Reworded captions of the pictures in --pool for variations: JSONL, see
    docs/guide/evaluate.md. Default: paraphrases/variations.jsonl of the data folder."""

    captions: str | None = None
    """Captions with pictures for image-text-retrieval, in any format that `paraclip generate`
    reads. Default: flickr8k/captions.csv of the data folder, test split."""

    images: str | None = None
    """Folder that the picture names of --captions and of a .txt --pool are relative to."""

    images_by_class: str | None = None
    """Folder for zero-shot classification (image-folder), with a subfolder per class."""

    k: tuple[Count, ...] = (10,)
    """Number of results in paraphrased-retrieval and variations; several are possible."""

    out: str | None = None
    """Folder of the report. Default: runs/evaluation. With --compare: JSON file to write."""

    compare: tuple[str, ...] = ()
    """Compare stored reports instead of scoring: folders of one or more evaluations."""

    json: bool = False
    """Print the report as JSON, and nothing else."""

    resamples: Annotated[Resamples | None, tyro.conf.Suppress] = None
    """Number of bootstrap resamples, from Python. Default: 1000, with --compare 5000."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the encoders."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken pictures or rows to skip; more is an error."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""


LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def label_models(given: tuple[str, ...]) -> dict[str, str]:
    """Return names of models by label.

    Args:
        given: NAME or LABEL=NAME. Without a label, the label is the name; for a checkpoint its file
            or, for `last` and `best`, its folder (`tuned` for `runs/tuned/last.safetensors`).
    """
    if not given:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    labelled: dict[str, str] = {}
    for entry in given:
        if match := LABEL.fullmatch(entry):
            label, name = match.groups()
        else:
            label, name, path = entry, entry, Path(entry)
            if path.suffix == ".safetensors" and ":" not in name:
                saved = path.stem in ("best", "last") and path.parent.name
                label = path.parent.name if saved else path.stem
        if label in labelled:
            hint = "Give it another label, as in second=..."
            raise UserError(entry, f"the label {label!r} occurs twice", hint)
        labelled[label] = name
    return labelled
