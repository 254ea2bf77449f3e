"""The sets of the study: development sets, on which settings are chosen, and report sets.

The first report's sets have become development sets of the second one, whose sets share no item
with either, and the second's those of the third. The protocols are in `study/README.md` and the
`README.md` of each report.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.evaluation.flickr8k import training_captions
from paraclip.data.captions import Problems
from paraclip.data.reading import read_captions
from paraclip.evaluation.benchmark import Arithmetic, Benchmark, Scores, text_vectors
from paraclip.evaluation.benchmarks.image_text_retrieval import (
    Gallery,
    ImageTextRetrieval,
    gallery,
)
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sts import (
    LAYOUTS,
    SemanticSimilarity,
    StsTask,
    read_columns,
    read_tasks,
)
from paraclip.evaluation.benchmarks.sugar_crepe import (
    SugarCrepePlusPlus,
    pictures_of,
    read_subset,
)
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.benchmarks.zero_shot import ZeroShot, load_imagenet, simple_templates
from paraclip.evaluation.pairs import (
    KINDS,
    Pairs,
    Wordings,
    read_pairs,
    read_wordings,
)
from paraclip.evaluation.pictures import Pool, read_names, read_pool
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.starter import HELD_OUT
from study.benchmarks import coco_order, cxc
from study.fourth.measures import HalfTruths, Relations, Slips, read_relations
from study.third.queries import FOURTH, read_queries
from study.third.searches import KeptRetrieval, PeoplesCaptions, Reworded, TypedQueries
from study.triples import STARTER_KINDS, english_wordings, translations
from study.wordings import (
    SECOND,
    THIRD,
    AveragedWordings,
    ContrastedWordings,
    contrast_kinds,
    known_words,
    read_new_wordings,
    tot_of_wordings,
)

DEVELOPMENT_SUBSETS = ("replace_obj",)
REPORT_SUBSETS = ("replace_att", "swap_obj")
HOW = Arithmetic("fp32")


def quick_sets(data: Path) -> list[Benchmark]:
    """What settings are chosen on; seconds to minutes a model."""
    pool = read_pool(data / "flickr8k" / "images")
    return [
        consistency("pairs-sugar-crepe-pp", sugar_pairs(data, DEVELOPMENT_SUBSETS), pool),
        consistency("pairs-flickr8k", half(flickr_pairs(data), first=True), pool),
        consistency("pairs-people", people_pairs(data, "dev"), pool),
        text_test(data, DEVELOPMENT_SUBSETS),
        sts_development_set(data),
        retrieval(data, "dev"),
    ]


def development_sets(data: Path) -> list[Benchmark]:
    """All development sets: the quick ones, and the first report's, which are used up."""
    pool = read_pool(data / "flickr8k" / "images")
    wordings = read_wordings(data / "paraphrases" / "variations.jsonl", KINDS, Problems())
    others = [one for one in quick_sets(data) if one.name != SugarCrepePlusPlus.name]
    return [
        *others,
        *(consistency(f"pairs-{name}", sugar_pairs(data, (name,)), pool)
          for name in REPORT_SUBSETS),
        consistency("pairs-flickr8k-second", half(flickr_pairs(data), first=False), pool),
        text_test(data, (*DEVELOPMENT_SUBSETS, *REPORT_SUBSETS)),
        cxc.load(data, HOW),
        Variations("variations", wordings, pool, how=HOW),
    ]  # fmt: skip


def second_sets(data: Path) -> list[Benchmark]:
    """What is reported for the second time, on sets of its own."""
    pool, wordings = read_pool(data / "flickr8k" / "images"), read_new_wordings(SECOND, data)
    photographs = read_pool(data / "coco" / "images")
    return [
        *second_consistency(data, pool, photographs, wordings),
        AveragedWordings("averaged-flickr8k", wordings["flickr8k"], pool, how=HOW),
        AveragedWordings("averaged-coco", wordings["coco"], photographs, how=HOW),
        tot_of_wordings(wordings, (*pool.references, *photographs.references), HOW),
        unseen_sts(data),
        retrieval(data, "test"),
        EffectiveRank(data),
        zero_shot(data),
        coco_order.load(data, HOW),
    ]


def second_consistency(
    data: Path, pool: Pool, photographs: Pool, wordings: Mapping[str, Wordings]
) -> list[Benchmark]:
    """The wordings of the second report by an LLM, and people's, with their right pictures."""
    return [
        ContrastedWordings("wordings-flickr8k", wordings["flickr8k"], pool, how=HOW),
        ContrastedWordings("wordings-unseen", wordings["flickr8k"], unseen(data, pool), how=HOW),
        ContrastedWordings("wordings-coco", wordings["coco"], photographs, how=HOW),
        consistency("pairs-people-test", people_pairs(data, "test"), pool),
    ]


def kinds_sets(data: Path) -> list[Benchmark]:
    """What each kind of wording in the starter set gives, for every kind and for right pictures.

    The held-out rows of the starter set have every kind, and no pictures; the sets of the second
    report have pictures, and kinds of their own.
    """
    pool, wordings = read_pool(data / "flickr8k" / "images"), read_new_wordings(SECOND, data)
    photographs = read_pool(data / "coco" / "images")
    return [
        *second_consistency(data, pool, photographs, wordings),
        *(consistency(f"held-out-{kind}", held_out_pairs(kind), pool) for kind in STARTER_KINDS),
        unseen_sts(data),
        retrieval(data, "test"),
    ]


def fourth_sets(data: Path) -> list[Benchmark]:
    """What is reported for the fourth time, over pictures that no model was trained on."""
    everything, photographs = (
        read_pool(data / "flickr8k" / "images"),
        read_pool(data / "coco" / "images"),
    )
    pools = {"unseen": unseen(data, everything), "coco": photographs}
    queries, shown = read_queries(data, FOURTH), gallery_of(data, "test")
    galleries = {"unseen": shown, "coco": coco_gallery(data, photographs)}
    wordings = {
        name: joined(*(read_new_wordings(path, data)[source] for path in (SECOND, THIRD)))
        for name, source in (("unseen", "flickr8k"), ("coco", "coco"))
    }
    changes, known = contrast_kinds(), known_words(data)
    typed = {name: [one for one in queries if one.pool == source]
             for name, source in (("unseen", "flickr8k"), ("coco", "coco"))}  # fmt: skip
    relations = data / "visual_relations"
    return [
        *(TypedQueries(f"typed-{name}", rows, pools[name], HOW) for name, rows in typed.items()),
        *(PeoplesCaptions(f"people-{name}", found, pools[name], HOW)
          for name, found in galleries.items()),
        *(Reworded(f"reworded-{name}", found, pools[name], changes, known, HOW)
          for name, found in wordings.items()),
        *(HalfTruths(f"half-truths-{name}", found.items, pools[name], HOW)
          for name, found in wordings.items()),
        Slips("slips", [one.query for one in typed["unseen"]], pools["unseen"], HOW),
        *([Relations(read_relations(relations, pools["unseen"]), HOW)]
          if relations.is_dir() else []),
        KeptRetrieval(shown, how=HOW),
        unseen_sts(data),
        EffectiveRank(data),
    ]  # fmt: skip


def paper_sets(data: Path) -> list[Benchmark]:
    """The sets of the fourth report that need no other pictures than Flickr8k's unseen ones."""
    names = ("people-unseen", "reworded-unseen", "image-text-retrieval", "sts-unseen")
    return [one for one in fourth_sets(data) if one.name in names]


def joined(first: Wordings, second: Wordings) -> Wordings:
    """The wordings of two files."""
    kinds = tuple(dict.fromkeys([*first.kinds, *second.kinds]))
    made_of = text_hash(f"{first.hash} {second.hash}")
    return Wordings(f"{first.name}, and {second.name}", first.items + second.items, kinds, made_of)


def coco_gallery(data: Path, pool: Pool) -> Gallery:
    """The COCO photographs with their captions."""
    entries = json.loads((data / "coco" / "captions.json").read_text("utf-8"))
    place = {Path(one).name: number for number, one in enumerate(pool.references)}
    rows = [(text, place[one["file_name"]]) for one in entries for text in one["captions"]]
    captions, owners = zip(*rows, strict=True)
    return Gallery(pool.name, pool.references, captions, owners)


def held_out_pairs(kind: str) -> Pairs:
    """The held-out captions of the starter set that have a kind of wording, with their contrasts.

    The scenes are invented: no picture is the right one.
    """
    read = map(json.loads, HELD_OUT.read_text("utf-8").splitlines())
    found = [(row, text) for row in read if (text := dict(english_wordings(row)).get(kind))]
    return Pairs(
        f"held-out rows of the starter set, {kind}",
        tuple(row["id"] for row, _ in found),
        tuple(row["caption"] for row, _ in found),
        tuple(text for _, text in found),
        file_hash(HELD_OUT),
        negatives=tuple(row["contrast"]["text"] for row, _ in found),
    )


class EffectiveRank:
    """The effective rank of text vectors: exp of the entropy of the covariance's eigenvalues.

    The items are the five groups of 1,000 captions of Flickr8k's test split, one of each picture. A
    collapsed model has rank 1, and the largest is the width. The figure is the rank, which is why
    an item is a hundredth of it.

    Source: Roy and Vetterli 2007, with eigenvalues in place of singular values.
    """

    name = "effective-rank"
    pictures: tuple[str, ...] = ()

    def __init__(self, data: Path) -> None:
        shown = gallery_of(data, "test")
        groups: dict[int, list[str]] = {}
        seen = Counter[int]()
        for owner, text in zip(shown.owners, shown.captions, strict=True):
            groups.setdefault(seen[owner], []).append(text)
            seen[owner] += 1
        self.groups, self.how = list(groups.values()), HOW
        self.pool = f"{sum(map(len, self.groups)):,} captions in {len(self.groups)} groups"
        self.data = {"hash": text_hash("\n".join(shown.captions))}

    def score(self, model: DualEncoder, cache: Path | None) -> Scores:
        """Compute the rank of each group."""
        ranks = []
        for texts in self.groups:
            vectors = text_vectors(model, texts, self.how, self.name)
            values = np.linalg.eigvalsh(np.cov(vectors.T.astype(np.float64)))
            shares = values[values > 0] / values[values > 0].sum()
            ranks.append(np.exp(-(shares * np.log(shares)).sum()) / 100)
        return Scores([Metric("effective rank", np.array(ranks))])


def unseen(data: Path, pool: Pool) -> Pool:
    """The pictures of a pool that are in no training."""
    seen = set(read_names(data / "flickr8k" / "train_images.txt"))
    left = tuple(one for one in pool.references if Path(one).name not in seen)
    names = "\n".join(Path(one).name for one in left)
    return Pool(f"{pool.name} unseen in training", left, None, text_hash(names))


def unseen_sts(data: Path) -> SemanticSimilarity:
    """The seven tasks without the pairs that contain a training caption, however it is written."""
    known = {spelled(row.caption) for row in training_captions(data)}
    tasks = []
    for task in read_tasks(data / "sts"):
        kept = np.array([known.isdisjoint(map(spelled, pair[:2])) for pair in task.pairs])
        sizes = np.bincount(task.subset_numbers()[kept], minlength=len(task.sizes))
        pairs = tuple(pair for pair, keep in zip(task.pairs, kept, strict=True) if keep)
        tasks.append(
            replace(task, pairs=pairs, sizes=tuple(sizes.tolist()) if task.sizes else (),
                    hash=text_hash(f"{task.hash} without {(~kept).sum()}"))
        )  # fmt: skip
    made = SemanticSimilarity(tasks, HOW)
    made.name, made.pool = "sts-unseen", f"{made.pool}, without training captions"
    return made


def spelled(text: str) -> str:
    """The words of a text, without case and punctuation."""
    return " ".join(re.findall(r"[a-z0-9]+", text.casefold()))


def report_sets(data: Path) -> list[Benchmark]:
    """What is reported, with frozen settings."""
    pool = read_pool(data / "flickr8k" / "images")
    wordings = read_wordings(data / "paraphrases" / "variations.jsonl", KINDS, Problems())
    return [
        consistency("pairs-sugar-crepe-pp", sugar_pairs(data, REPORT_SUBSETS), pool),
        consistency("pairs-flickr8k", half(flickr_pairs(data), first=False), pool),
        cxc.load(data, HOW),
        SemanticSimilarity(read_tasks(data / "sts"), HOW),
        text_test(data, REPORT_SUBSETS),
        coco_order.load(data, HOW),
        Variations("variations", wordings, pool, how=HOW),
        retrieval(data, "test"),
        zero_shot(data),
    ]


LANGUAGES = {"de": "German", "fr": "French", "cs": "Czech"}
"""Languages of Multi30k's translations; nothing is trained on Czech."""


def language_sets(data: Path, split: str) -> list[Benchmark]:
    """Captions and their translations over the pictures of a split of Flickr8k, and English."""
    pool = replace(read_pool(data / "flickr8k" / f"{split}_images.txt"), name=f"Flickr8k {split}")
    everything = read_pool(data / "flickr8k" / "images")
    people = "pairs-people" if split == "dev" else f"pairs-people-{split}"
    return [
        *(consistency(f"language-{language}", translated_pairs(data, split, language), pool)
          for language in LANGUAGES),
        consistency(people, people_pairs(data, split), everything),
        sts_development_set(data) if split == "dev" else unseen_sts(data),
        retrieval(data, split),
    ]  # fmt: skip


def translated_pairs(data: Path, split: str, language: str) -> Pairs:
    """English captions of a split of Flickr8k and their translations into a language."""
    rows = translations(data, split)
    ids, captions, others = (tuple(row[name] for row in rows) for name in ("image", "en", language))
    name = f"English and {LANGUAGES[language]} captions, Multi30k {split}"
    made_of = text_hash("\n".join([*ids, *captions, *others]))
    return Pairs(name, ids, captions, others, made_of, pictures=ids)


SETS: dict[str, Callable[[Path], list[Benchmark]]] = {
    "quick": quick_sets,
    "development": development_sets,
    "report": report_sets,
    "second": second_sets,
    "fourth": fourth_sets,
    "paper": paper_sets,
    "kinds": kinds_sets,
    "languages-dev": partial(language_sets, split="dev"),
    "languages-test": partial(language_sets, split="test"),
}


def consistency(name: str, pairs: Pairs, pool: Pool) -> ParaphrasedRetrieval:
    """Paraphrased retrieval of some pairs, under a name of its own."""
    return ParaphrasedRetrieval(pairs, pool, how=HOW, name=name)


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
        tuple(text for part in parts for text in part.negatives),
    )


def flickr_pairs(data: Path) -> Pairs:
    """500 test captions of Flickr8k, each with a paraphrase by a strong LLM."""
    return read_pairs(data / "paraphrases" / "flickr8k_test.jsonl")


def people_pairs(data: Path, split: str) -> Pairs:
    """The first two captions of each picture of a split of Flickr8k."""
    shown = gallery_of(data, split)
    texts: dict[int, list[str]] = {}
    for owner, text in zip(shown.owners, shown.captions, strict=True):
        texts.setdefault(owner, []).append(text)
    ids = tuple(Path(name).name for name in shown.references)
    first, second = (tuple(texts[n][place] for n in range(len(ids))) for place in (0, 1))
    name = f"two people's captions of each picture, Flickr8k {split}"
    made_of = text_hash("\n".join([*ids, *first, *second]))
    return Pairs(name, ids, first, second, made_of, pictures=ids)


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
    return ImageTextRetrieval(gallery_of(data, split), how=HOW)


def gallery_of(data: Path, split: str) -> Gallery:
    """The pictures of a split of Flickr8k with their captions."""
    names = read_names(data / "flickr8k" / f"{split}_images.txt")
    captions = read_captions(str(data / "flickr8k" / "captions.csv"))
    return gallery(captions, f"Flickr8k {split}", names)
