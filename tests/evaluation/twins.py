"""Every figure of every benchmark once more, as its definition has it: one item at a time.

Each twin reads the files of `text_sets.write_data` by itself and returns figures by name.
"""

import csv
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats
from text_sets import TEXTS

from paraclip.data.images import Crop
from paraclip.evaluation.benchmarks.sts import YEARS
from paraclip.evaluation.benchmarks.zero_shot import simple_templates
from paraclip.models.features import encode_texts
from tiny import ColourEncoder

Ranking = list[int]
Figures = dict[str, float]
CUTOFFS = (3, 10)


def texts_of(model: ColourEncoder, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of texts."""
    return encode_texts(model, texts).numpy().astype(np.float64)


def pictures_of(model: ColourEncoder, paths: Sequence[Path], box: Any = None) -> np.ndarray:
    """Unit vectors of pictures, or of the same part of each."""
    images = [Crop(str(path), box or (0, 0, 12, 10)).open() for path in paths]
    rows = [model.project_images(model.embed_pixels(model.preprocess(one)[None])) for one in images]
    return np.concatenate([row.detach().numpy() for row in rows]).astype(np.float64)


def ranked(queries: np.ndarray, pool: np.ndarray) -> list[Ranking]:
    """The whole pool for each query, best first; ties keep the order of the pool."""
    return [np.argsort(-row, kind="stable").tolist() for row in queries @ pool.T]


# --- rankings ---


def average_overlap(one: Ranking, other: Ranking, k: int) -> float:
    return fmean(len({*one[:d]} & {*other[:d]}) / d for d in range(1, k + 1))


def jaccard(one: Ranking, other: Ranking, k: int) -> float:
    return len({*one[:k]} & {*other[:k]}) / len({*one[:k]} | {*other[:k]})


def rank_biased_overlap(one: Ranking, other: Ranking, p: float = 0.9) -> float:
    agreed = [len({*one[:d]} & {*other[:d]}) / d for d in range(1, len(one) + 1)]
    seen = sum((1 - p) * p**depth * share for depth, share in enumerate(agreed))
    return seen + agreed[-1] * p ** len(one)  # beyond the end, as at the end


def found(ranking: Ranking, own: int, k: int) -> float:
    return float(own in ranking[:k])


def paraphrased_retrieval(data: Path, model: ColourEncoder) -> Figures:
    rows = [row for file in sorted((data / "sugar_crepe_pp").iterdir()) for row in read(file)]
    paths = sorted((data / "flickr8k/images").iterdir())
    pool, names = pictures_of(model, paths), [path.name for path in paths]
    first, second, negative = (
        ranked(texts_of(model, [row[column] for row in rows]), pool)
        for column in ("caption", "caption2", "negative_caption")
    )
    owners = [names.index(row["filename"]) for row in rows]
    triples = list(zip(first, second, negative, owners, strict=True))
    figures = {
        "RBO (p = 0.9)": fmean(rank_biased_overlap(one, two) for one, two, _, _ in triples),
        "first result changes": fmean(one[0] != two[0] for one, two, _, _ in triples),
        "MRR@20 rewording": fmean(1 / (1 + two.index(own)) for _, two, _, own in triples),
    }
    for k in CUTOFFS:
        against = fmean(average_overlap(one, far, k) for one, _, far, _ in triples)
        overlap = fmean(average_overlap(one, two, k) for one, two, _, _ in triples)
        both = (found(one, own, k) * found(two, own, k) for one, two, _, own in triples)
        figures |= {
            f"AO@{k}": overlap, f"AO@{k} negative": against, f"AO@{k} margin": overlap - against,
            f"JS@{k}": fmean(jaccard(one, two, k) for one, two, _, _ in triples),
            f"R@{k} caption": fmean(found(one, own, k) for one, _, _, own in triples),
            f"R@{k} rewording": fmean(found(two, own, k) for _, two, _, own in triples),
            f"R@{k} both ways": fmean(both),
        }  # fmt: skip
    return figures


def variations(data: Path, model: ColourEncoder) -> Figures:
    rows = read(data / "paraphrases/variations.jsonl")
    paths = sorted((data / "flickr8k/images").iterdir())
    pool, names = pictures_of(model, paths), [path.name for path in paths]
    of_kind: dict[str, dict[str, list[float]]] = {}
    beside: dict[str, list[float]] = {}

    def note(into: dict[str, list[float]], figures: Figures) -> None:
        for name, value in figures.items():
            into.setdefault(name, []).append(value)

    for row in rows:
        own, wordings = names.index(row["image_id"]), dict(row["variations"])
        texts = [row["caption"], wordings.pop("contrast"), *wordings.values()]
        vectors = texts_of(model, texts)
        (plain, far, *others), shown = ranked(vectors, pool), pool[own]
        for k in CUTOFFS:
            note(beside, {
                f"R@{k} plain caption": found(plain, own, k), f"R@{k} contrast": found(far, own, k),
                f"AO@{k} contrast": average_overlap(plain, far, k),
                f"JS@{k} contrast": jaccard(plain, far, k),
            })  # fmt: skip
        for kind, vector, other in zip(wordings, vectors[2:], others, strict=True):
            figures = {
                "text discrimination": float(vectors[0] @ vector > vectors[0] @ vectors[1]),
                "picture discrimination": float(shown @ vector > shown @ vectors[1]),
            }
            for k in CUTOFFS:
                right, overlap = found(other, own, k), average_overlap(plain, other, k)
                figures |= {
                    f"AO@{k}": overlap, f"JS@{k}": jaccard(plain, other, k), f"R@{k}": right,
                    f"R@{k} change": right - found(plain, own, k),
                    f"R@{k} both ways": right * found(plain, own, k),
                    f"MRR@{k}": right / (1 + other.index(own)),
                    f"AO@{k} margin": overlap - average_overlap(plain, far, k),
                }  # fmt: skip
            note(of_kind.setdefault(kind, {}), figures)
    each = {f"{name} {kind}": fmean(values)
            for kind, of in of_kind.items() for name, values in of.items()}  # fmt: skip
    figures = {name for of in of_kind.values() for name in of}
    means = {name: fmean(each[f"{name} {kind}"] for kind in of_kind) for name in figures}
    return {**means, **each, **{name: fmean(values) for name, values in beside.items()}}


def recalls(model: ColourEncoder, captions: list[tuple[Path, str]]) -> Figures:
    paths = list(dict.fromkeys(path for path, _ in captions))
    texts = texts_of(model, [text for _, text in captions])
    pool, owners = pictures_of(model, paths), [paths.index(path) for path, _ in captions]
    figures = {}
    for k in (1, 5, 10):
        to_image, to_text = ranked(texts, pool), ranked(pool, texts)
        rows = zip(to_image, owners, strict=True)
        figures[f"T2I R@{k}"] = fmean(found(one, own, k) for one, own in rows)
        hits = (own in [owners[n] for n in one[:k]] for own, one in enumerate(to_text))
        figures[f"I2T R@{k}"] = fmean(hits)
    return figures


def image_text_retrieval(data: Path, model: ColourEncoder) -> Figures:
    folder = data / "flickr8k"
    lines = csv.DictReader((folder / "captions.csv").read_text().splitlines())
    return recalls(model, [(folder / "images" / row["image"], row["caption"]) for row in lines])


def split_retrieval(data: Path, model: ColourEncoder, name: str, images: str) -> Figures:
    rows = read(data / name / f"dataset_{name}.json")["images"]
    tested = [row for row in rows if row["split"] == "test"]
    return recalls(model, [(data / name / images / row["filename"], sentence["raw"])
                           for row in tested for sentence in row["sentences"]])  # fmt: skip


# --- choices ---


def with_means(name: str, right: list[tuple[str, float]]) -> Figures:
    """The mean over groups, over items, and of each group."""
    each = {group: fmean(value for _, value in some)
            for group, some in groupby(right, lambda one: one[0])}  # fmt: skip
    figures = {name: fmean(each.values()), f"{name} micro": fmean(value for _, value in right)}
    return figures | {f"{name} {group}": value for group, value in each.items()}


def with_kinds(name: str, right: list[tuple[str, float]]) -> Figures:
    """Also the means over the kinds that exchange, and that replace, each with equal weight."""
    figures = with_means(name, right)
    for kind in ("replace", "swap"):
        own = [value for name_, value in figures.items() if name_.startswith(f"{name} {kind}_")]
        figures[f"{name} {kind.title()}"] = fmean(own)
    return figures


def choices(data: Path, model: ColourEncoder, folder: str) -> list[tuple[str, list[np.ndarray]]]:
    """Subset of each row, and vectors of its picture and its texts."""
    columns = ("caption", "caption2", "negative_caption")
    found_rows = []
    for file in sorted((data / folder).iterdir()):
        for row in read(file):
            (picture,) = pictures_of(model, [data / "coco/val2014" / row["filename"]])
            vectors = texts_of(model, [row[column] for column in columns])
            found_rows.append((file.stem, [picture, *vectors]))
    return found_rows


def sugar_crepe(data: Path, model: ColourEncoder) -> Figures:
    rows = choices(data, model, "sugar_crepe")
    right = [(kind, float(image @ one > image @ far)) for kind, (image, one, _, far) in rows]
    return with_means("SugarCrepe", right)


def sugar_crepe_pp(data: Path, model: ColourEncoder) -> Figures:
    tot, itt = [], []
    for kind, (image, one, two, far) in choices(data, model, "sugar_crepe_pp"):
        tot.append((kind, float(one @ two > max(one @ far, two @ far))))
        itt.append((kind, float(min(image @ one, image @ two) > image @ far)))
    return with_kinds("TOT", tot) | with_kinds("ITT", itt)


def aro(data: Path, model: ColourEncoder, task: str, label: str) -> Figures:
    right = []
    for row in read(data / f"aro/visual_genome_{task}.json"):
        box = tuple(row[f"bbox_{side}"] for side in "xywh")
        (picture,) = pictures_of(model, [data / "aro/images" / row["image_path"]], box)
        true, false = texts_of(model, [row["true_caption"], row["false_caption"]])
        group = row.get("relation_name") or "_".join(row["attributes"])
        right.append((group, float(picture @ true > picture @ false)))
    figures = with_means(label, right)
    return {f"{label} macro": figures.pop(label), **figures}


# --- others ---


def sts(data: Path, model: ColourEncoder) -> Figures:
    """Each subset holds the same five pairs."""
    first, second = (texts_of(model, [row[column] for row in TEXTS]) for column in (0, 1))
    cosines, gold = (first * second).sum(axis=1).tolist(), [row[2] for row in TEXTS]
    figures = {}
    for label, correlation in (("", stats.spearmanr), (", Pearson", stats.pearsonr)):
        tasks = {name: len(subsets) for name, subsets in YEARS.items()}
        for name, times in (tasks | {"STS-B": 1, "SICK-R": 1, "STS mean of 7": 1}).items():
            value = float(correlation(cosines * times, gold * times)[0])
            figures[f"{name}{label}"] = value
            if name in tasks or name.startswith("STS mean"):
                figures[f"{name}, mean of subsets{label}"] = value
    return figures


def image_folder(data: Path, model: ColourEncoder) -> Figures:
    folders = sorted((data / "by_class").iterdir())
    classes = []
    for folder in folders:
        texts = [template.replace("{}", folder.name) for template in simple_templates()]
        classes.append(texts_of(model, texts).sum(axis=0))
    units = np.array([one / np.linalg.norm(one) for one in classes])
    right = []
    for number, folder in enumerate(folders):
        pictures = pictures_of(model, sorted(folder.iterdir()))
        right.append([best == number for (best, *_) in ranked(pictures, units)])
    return {
        "top-1": fmean(one for some in right for one in some),
        "mean per class": fmean(map(fmean, right)),
    }


def read(file: Path) -> Any:
    """JSON, or the rows of JSON lines."""
    text = file.read_text()
    return [*map(json.loads, text.splitlines())] if file.suffix == ".jsonl" else json.loads(text)
