"""The sets of the study: development sets, on which settings are chosen, and report sets.

No item is in both. The protocol is in `study/results.md`.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.aro import load_coco_order
from paraclip.evaluation.benchmarks.cxc import load as load_cxc
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sts import (
    LAYOUTS,
    SemanticSimilarity,
    StsTask,
    read_columns,
    read_tasks,
)
from paraclip.evaluation.benchmarks.sugar_crepe import SugarCrepePlusPlus, pictures_of, read_subset
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.benchmarks.zero_shot import ZeroShot, load_imagenet, simple_templates
from paraclip.evaluation.pairs import (
    KINDS,
    Pairs,
    Wording,
    Wordings,
    read_pairs,
    read_wordings,
)
from paraclip.evaluation.pictures import Pool, read_names, read_pool
from paraclip.files import file_hash, text_hash

DEVELOPMENT_SUBSETS = ("replace_obj",)
REPORT_SUBSETS = ("replace_att", "swap_obj")
HOW = Arithmetic("fp32")


def development_sets(data: Path) -> list[Benchmark]:
    """What settings are chosen on; seconds to minutes a model."""
    pool = read_pool(data / "flickr8k" / "images")
    return [
        consistency("pairs-sugar-crepe-pp", sugar_pairs(data, DEVELOPMENT_SUBSETS), pool),
        consistency("pairs-flickr8k", half(flickr_pairs(data), first=True), pool),
        consistency("pairs-people", people_pairs(data), pool),
        text_test(data, DEVELOPMENT_SUBSETS),
        sts_development_set(data),
        retrieval(data, "dev"),
    ]


SECOND = Path(__file__).parent / "second" / "wordings.jsonl"
SECOND_KINDS = ("close", "far", "short", "colloquial")


def second_wordings(data: Path) -> dict[str, Wordings]:
    """The wordings of the second report, by the set of their pictures: `flickr8k` and `coco`.

    The captions come from the research data; the file has our texts and names the captions.
    """
    captions: dict[str, list[str]] = {}
    for row in read_captions(str(data / "flickr8k" / "captions.csv")):
        captions.setdefault(Path(row.image_id).name, []).append(row.caption)
    for entry in json.loads((data / "coco" / "captions.json").read_text("utf-8")):
        captions[entry["file_name"]] = entry["captions"]
    rows = [json.loads(line) for line in SECOND.read_text("utf-8").splitlines()]
    return {
        name: Wordings(
            f"second report, {name}",
            tuple(
                Wording(
                    row["image"],
                    captions[row["image"]][row["caption_index"]],
                    tuple((kind, row[kind]) for kind in SECOND_KINDS),
                    row["contrast"],
                    f"{SECOND.name}:{number}",
                )
                for number, row in enumerate(rows, 1)
                if row["set"] == name
            ),
            SECOND_KINDS,
            file_hash(SECOND),
        )
        for name in ("flickr8k", "coco")
    }


def report_sets(data: Path) -> list[Benchmark]:
    """What is reported, with frozen settings."""
    pool = read_pool(data / "flickr8k" / "images")
    wordings = read_wordings(data / "paraphrases" / "variations.jsonl", KINDS, Problems())
    return [
        consistency("pairs-sugar-crepe-pp", sugar_pairs(data, REPORT_SUBSETS), pool),
        consistency("pairs-flickr8k", half(flickr_pairs(data), first=False), pool),
        load_cxc(data, HOW),
        SemanticSimilarity(read_tasks(data / "sts"), HOW),
        text_test(data, REPORT_SUBSETS),
        load_coco_order(data, HOW),
        Variations("variations", wordings, pool, how=HOW),
        retrieval(data, "test"),
        zero_shot(data),
    ]


SETS: dict[str, Callable[[Path], list[Benchmark]]] = {
    "development": development_sets,
    "report": report_sets,
}


def consistency(name: str, pairs: Pairs, pool: Pool) -> ParaphrasedRetrieval:
    """AO@10 and JS@10 of some pairs, under a name of its own."""
    made = ParaphrasedRetrieval(pairs, pool, how=HOW)
    made.name = name
    return made


def sugar_pairs(data: Path, subsets: tuple[str, ...]) -> Pairs:
    """The two captions of each row of some subsets of SugarCrepe++."""
    parts = [read_pairs(data / "sugar_crepe_pp" / f"{name}.json") for name in subsets]
    ids = [f"{name}/{one}" for name, part in zip(subsets, parts, strict=True) for one in part.ids]
    return Pairs(
        f"SugarCrepe++ {' and '.join(subsets)}",
        tuple(ids),
        tuple(text for part in parts for text in part.captions),
        tuple(text for part in parts for text in part.paraphrases),
        text_hash(" ".join(part.hash for part in parts)),
        sum(part.skipped for part in parts),
        tuple(picture for part in parts for picture in part.pictures),
    )


def flickr_pairs(data: Path) -> Pairs:
    """500 test captions of Flickr8k, each with a paraphrase by a strong LLM."""
    return read_pairs(data / "paraphrases" / "flickr8k_test.jsonl")


def people_pairs(data: Path) -> Pairs:
    """The first two captions of each picture of Flickr8k's development split."""
    names = read_names(data / "flickr8k" / "dev_images.txt")
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    shown = gallery(captions, "Flickr8k dev", names)
    texts: dict[int, list[str]] = {}
    for owner, text in zip(shown.owners, shown.captions, strict=True):
        texts.setdefault(owner, []).append(text)
    ids = tuple(Path(name).name for name in shown.references)
    first, second = (tuple(texts[n][place] for n in range(len(ids))) for place in (0, 1))
    name = "two people's captions of each picture, Flickr8k dev"
    return Pairs(name, ids, first, second, text_hash("\n".join([*first, *second])))


def half(pairs: Pairs, first: bool) -> Pairs:
    """The first or the second half of some pairs, in their order."""
    middle = len(pairs) // 2
    part = slice(None, middle) if first else slice(middle, None)
    return replace(
        pairs,
        name=f"{pairs.name}, {'first' if first else 'second'} half",
        ids=pairs.ids[part],
        captions=pairs.captions[part],
        paraphrases=pairs.paraphrases[part],
        pictures=pairs.pictures[part],
        negatives=pairs.negatives[part],
        hash=text_hash(f"{pairs.hash} {first}"),
    )


def text_test(data: Path, subsets: tuple[str, ...]) -> SugarCrepePlusPlus:
    """TOT and, over the rows whose picture is there, ITT on some subsets."""
    files = [data / "sugar_crepe_pp" / f"{name}.json" for name in subsets]
    read = [read_subset(file, Problems()) for file in files]
    return SugarCrepePlusPlus(read, HOW, pictures_of(read, data / "coco", HOW))


def sts_development_set(data: Path) -> SemanticSimilarity:
    """Correlation on the development set of STS-B."""
    task = sts_development(data)
    made = SemanticSimilarity([task], HOW)
    made.pool = f"{len(task.pairs):,} pairs, development set of STS-B"
    return made


def sts_development(data: Path) -> StsTask:
    """The development set of STS-B."""
    file = data / "sts" / "STS" / "STSBenchmark" / "sts-dev.csv"
    return StsTask("STS-B dev", tuple(read_columns(file, *LAYOUTS["STS-B"][1:])), file_hash(file))


def zero_shot(data: Path) -> ZeroShot:
    """Zero-shot classification of the ImageNet sample with the seven templates of open_clip."""
    shown = load_imagenet(data, HOW).shown
    few = replace(shown, templates=simple_templates(), made_of="open_clip's short list")
    return ZeroShot("imagenet", few, HOW)


def retrieval(data: Path, split: str) -> ImageTextRetrieval:
    """Retrieval both ways on a split of Flickr8k."""
    names = read_names(data / "flickr8k" / f"{split}_images.txt")
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    return ImageTextRetrieval(gallery(captions, f"Flickr8k {split}", names), how=HOW)
