"""`paraclip evaluate`: finds data and models, scores, writes the report, prints the table."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import UserError, nearest
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.pairs import read_pairs
from paraclip.evaluation.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.pool import read_names, read_pool
from paraclip.evaluation.report import console_table
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.sugar_crepe_pp import SugarCrepePlusPlus, read_subsets
from paraclip.evaluation.vectors import Arithmetic
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model

LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)=(.+)")


def evaluate_command(config: EvaluateConfig) -> None:
    """Do the whole job and print the table.

    Raises:
        UserError: a model or a benchmark's data is missing or broken.
    """
    names = label_models(config.models)
    benchmarks = find_benchmarks(config)
    models: dict[str, DualEncoder] = {
        label: load_model(name, config.device) for label, name in names.items()
    }
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    settings = {**asdict(config), "models": names, "cache": cache}
    report = evaluate(models, benchmarks, config.out, settings)
    print(console_table(report))
    print(f"\nWritten: {Path(config.out) / 'report.md'} (and report.json, plots, items.npz)")


def label_models(given: tuple[str, ...]) -> dict[str, str]:
    """Names of models by label; without a label a checkpoint is called by its file or folder.

    Raises:
        UserError: no model is given, or a label is there twice.
    """
    if not given:
        raise UserError("evaluate", "no model is given", "Name one, such as base=mini.")
    labelled: dict[str, str] = {}
    for entry in given:
        match = LABEL.fullmatch(entry)
        label, name = match.groups() if match else (usual_label(entry), entry)
        if label in labelled:
            mend = "Write another label before it, such as second=..."
            raise UserError(entry, f"the label {label!r} is there twice", mend)
        labelled[label] = name
    return labelled


def usual_label(name: str) -> str:
    """`runs/tuned/best.safetensors` is `tuned`; other names stand for themselves."""
    path = Path(name)
    if path.suffix != ".safetensors" or ":" in name:
        return name
    return path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem


def find_benchmarks(config: EvaluateConfig) -> list[Benchmark]:
    """Benchmarks with their data.

    Named ones must be there; of all, those whose data is not there are told and passed over.

    Raises:
        UserError: a benchmark is unknown, a named one lacks its data, or none has any.
    """
    if config.benchmarks is not None:
        wanted = [name.strip() for name in config.benchmarks.split(",") if name.strip()]
        for name in wanted:
            if name not in MAKERS:
                raise UserError(name, "there is no such benchmark", nearest(name, list(MAKERS)))
        return [MAKERS[name](config) for name in dict.fromkeys(wanted)]
    found = []
    for name, make in MAKERS.items():
        try:
            found.append(make(config))
        except Missing as missing:
            print(f"paraclip: {name} left out: {missing}", file=sys.stderr)
    if not found:
        raise UserError(
            "evaluate", "no benchmark has its data", "Give --data, or --pairs and --pool."
        )
    return found


class Missing(UserError):
    """A benchmark's data is not there and was not named."""


def source(config: EvaluateConfig, given: str | None, part: str, option: str, get: str) -> Path:
    """The named source, else that part of the data folder.

    Args:
        config: for the data folder.
        given: what the option names.
        part: place in the data folder.
        option: that names it.
        get: how to get it.

    Raises:
        Missing: neither is there.
    """
    if given is not None:
        return Path(given)
    folder = config.data or os.environ.get("PARACLIP_DATA")
    if folder and (Path(folder) / part).exists():
        return Path(folder) / part
    where = f"{folder}/{part} is not there" if folder else "no data folder is named"
    raise Missing(option, where, get)


def arithmetic(config: EvaluateConfig) -> Arithmetic:
    """How vectors are computed."""
    return Arithmetic(config.precision, config.batch_size, config.max_broken)


def make_sts(config: EvaluateConfig) -> Benchmark:
    """The seven STS tasks."""
    get = (
        "Get SentEval's STS and SICK folders (data/downstream/get_transfer_data.bash of "
        "https://github.com/facebookresearch/SentEval) into its sts/."
    )
    folder = source(config, None, "sts", "--data", get)
    return SemanticSimilarity(read_tasks(folder), arithmetic(config))


def make_sugar_crepe_pp(config: EvaluateConfig) -> Benchmark:
    """SugarCrepe++, text only."""
    get = "Get the JSON files from https://github.com/Sri-Harsha/scpp into its sugar_crepe_pp/."
    folder = source(config, None, "sugar_crepe_pp", "--data", get)
    problems = Problems(config.max_broken)
    return SugarCrepePlusPlus(read_subsets(folder, problems), arithmetic(config))


def make_paraphrased_retrieval(config: EvaluateConfig) -> Benchmark:
    """Pairs over a pool."""
    columns = "Name a file with two text columns, such as triples.parquet."
    pairs = source(config, config.pairs, "sugar_crepe_pp", "--pairs", columns)
    place = source(config, config.pool, "flickr8k/images", "--pool", "Name a folder of pictures.")
    problems = Problems(config.max_broken)
    read = read_pairs(pairs, config.first_column, config.second_column, problems)
    pool = read_pool(place, config.images)
    return ParaphrasedRetrieval(read, pool, config.k, arithmetic(config))


def make_image_text_retrieval(config: EvaluateConfig) -> Benchmark:
    """Captions and pictures, both ways."""
    get = "Name captions with pictures: a folder, or a file as `paraclip captions` reads it."
    captions = source(config, config.captions, "flickr8k/captions.csv", "--captions", get)
    names = config.image_names
    if config.captions is None and names is None:
        names = str(captions.parent / "test_images.txt")
    only = None if names is None else read_names(Path(names))
    columns = Columns(images=config.images if config.captions else None)
    read = read_captions(str(captions), columns, Problems(config.max_broken))
    label = captions.name if names is None else f"{captions.name} ({Path(names).name})"
    return ImageTextRetrieval(gallery(read, label, only), how=arithmetic(config))


MAKERS: dict[str, Callable[[EvaluateConfig], Benchmark]] = {
    "paraphrased-retrieval": make_paraphrased_retrieval,
    "image-text-retrieval": make_image_text_retrieval,
    "sugar-crepe-pp": make_sugar_crepe_pp,
    "sts": make_sts,
}
