"""One module per benchmark, and the table from which `evaluate` chooses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks import aro, sts, sugar_crepe, variations, zero_shot
from paraclip.evaluation.benchmarks import image_text_retrieval as karpathy
from paraclip.evaluation.benchmarks import paraphrased_retrieval as paraphrased
from paraclip.plugins import Table


@dataclass(frozen=True)
class Entry:
    """One benchmark in the table."""

    # makes the benchmark from the data folder, if one is named, the arithmetic and the values of
    # `options`; raises `MissingData` without its data, as `find_source` does
    load: Callable[..., Benchmark]
    suites: tuple[str, ...] = ()  # suites that include the benchmark, besides "all"
    options: tuple[str, ...] = ()  # options of `evaluate` that select its data


SUITES = ("paper", "quick", "all")
# "paper": benchmarks in arXiv 2402.15120. "quick": few or no pictures; minutes without a GPU.
BENCHMARKS = Table(
    "benchmarks",
    {
        "paraphrased-retrieval": Entry(
            paraphrased.load_paraphrased, ("paper",), ("pairs", "columns", "pool", "images", "k")
        ),
        "image-text-retrieval": Entry(karpathy.load_captions, ("quick",), ("captions", "images")),
        "sugar-crepe": Entry(sugar_crepe.load_sugar_crepe),
        "sugar-crepe-pp": Entry(sugar_crepe.load_sugar_crepe_pp, ("quick",)),
        "sts": Entry(sts.load_sts, ("paper", "quick")),
        "variations": Entry(
            variations.load_variations, options=("wordings", "pool", "images", "k")
        ),
        "aro-vg-relation": Entry(partial(aro.load_aro, aro.RELATION), ("paper",)),
        "aro-vg-attribution": Entry(partial(aro.load_aro, aro.ATTRIBUTION), ("paper",)),
        "coco-retrieval": Entry(karpathy.load_coco, ("paper",)),
        "flickr8k-retrieval": Entry(karpathy.load_flickr8k),
        "imagenet": Entry(zero_shot.load_imagenet, ("paper",)),
        "image-folder": Entry(zero_shot.load_folder, options=("images_by_class",)),
    },
)
