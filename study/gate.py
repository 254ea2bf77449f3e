"""The gate before training: what teachers and their mixtures find, ranking as if they were queries.

    PARACLIP_DATA=folder python -m study.gate --base b --mixtures b c 'base c' 'base=0.4 b c'

Nothing is trained. Each mixture ranks the pictures by the mean of its models' rankings after the
softmax, each at the temperature that training would use, and is compared with the student alone on
development sets. The student's own averages of two wordings are scored too: what a teacher that is
the base itself can know. Only a mixture that is at least `NEEDED` points above the student, with
its interval above 0, is worth a training. Writes `results/study_BASE_gate.json` and `.md`.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.evaluation.flickr8k import training_captions
from benchmarks.machine import keep, markdown, parse_with_data
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import Interval, Metric, interval, resample
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model
from paraclip.training.targets import matching_scale
from paraclip.training.teachers import BASE, split_share
from study.run import BASES, TEACHERS, Place
from study.sets import flickr_pairs, gallery_of, half
from study.tables import RESULTS

NEEDED = 2.0  # points of R@10
RESAMPLES = 10_000
KS = (1, 10)
_CHUNK = 1024


@dataclass(frozen=True)
class Queries:
    """Texts with their right picture, in a pool of pictures."""

    name: str
    texts: Sequence[str]
    right: np.ndarray[Any, np.dtype[np.int64]]  # place of each text's picture in the pool
    pictures: Sequence[str]
    others: Sequence[str] | None = None  # a further wording of each text, for averages


def queries_of(data: Path) -> list[Queries]:
    """People's captions of the development split, and an LLM's rewordings of test captions."""
    shown, folder = gallery_of(data, "dev"), data / "flickr8k" / "images"
    pool = sorted(str(path) for path in folder.iterdir())
    pairs = half(flickr_pairs(data), first=True)
    places = {Path(path).name: place for place, path in enumerate(pool)}
    right = np.array([places[Path(name).name] for name in pairs.pictures])
    return [
        Queries("T2I", shown.captions, np.array(shown.owners), shown.references),
        Queries("caption", pairs.captions, right, pool),
        Queries("rewording", pairs.paraphrases, right, pool, pairs.captions),
    ]


class Rankings:
    """Each model's vectors of all sets, computed once, and its temperature.

    Args:
        base: the student.
        models: folders and files of the models by name.
        sets: queries and their pools.
        captions: texts by which temperatures are chosen.
    """

    def __init__(
        self, base: Path, models: Mapping[str, Path], sets: Sequence[Queries],
        captions: Sequence[str],
    ) -> None:  # fmt: skip
        student = load_model(str(base))
        self.texts: dict[tuple[str, str], Tensor] = {}
        self.pictures: dict[tuple[str, str], Tensor] = {}
        self.scales = {BASE: float(student.logit_scale.detach().exp())}
        bank = self._encode(BASE, student, sets)
        for name, path in models.items():
            model = load_model(str(path))
            seen = self._encode(name, model, sets)
            self.scales[name] = matching_scale(model, seen, student, bank, captions)

    def _encode(self, name: str, model: DualEncoder, sets: Sequence[Queries]) -> Tensor:
        """Keep the vectors of all sets; those of the last pool are returned."""
        for one in sets:
            self.texts[name, one.name] = encode_texts(model, one.texts)
            if one.others is not None:
                others = encode_texts(model, one.others)
                mean = normalize(self.texts[name, one.name] + others, dim=1)
                self.texts[name, f"average of {one.name}"] = mean
            vectors = encode_images(model, one.pictures, cache_folder() / "image_features")
            self.pictures[name, one.name] = vectors
        return vectors

    def hits(self, mixture: Sequence[tuple[str, float]], one: Queries, averaged: bool) -> Any:
        """Whether the right picture is among the first k of `KS`: bool [texts, KS]."""
        texts = f"average of {one.name}" if averaged else one.name
        found = []
        for start in range(0, len(one.texts), _CHUNK):
            part, total = slice(start, start + _CHUNK), torch.zeros(())
            for name, share in mixture:
                similar = self.texts[name, texts][part] @ self.pictures[name, one.name].T
                total = total + share * (self.scales[name] * similar).softmax(1)
            own = total.gather(1, torch.from_numpy(one.right[part])[:, None])
            found.append((total > own).sum(1))
        ranks = torch.cat(found).numpy()  # number of pictures before the right one
        return np.stack([ranks < k for k in KS], axis=1)


def compare(
    rankings: Rankings, mixtures: Sequence[str], sets: Sequence[Queries]
) -> list[dict[str, Any]]:
    """Each figure of each mixture and of base's averages, and its difference from base."""
    rows = [(BASE, False), *((mixture, False) for mixture in mixtures), (BASE, True)]
    figures = []
    for one in sets:
        base = rankings.hits([(BASE, 1.0)], one, False)
        for mixture, averaged in rows:
            if averaged and one.others is None:
                continue
            parts = [split_share(named) for named in mixture.split()]
            found = rankings.hits(parts, one, averaged)
            for column, k in enumerate(KS):
                figures.append({
                    "row": "base, average of two wordings" if averaged else mixture,
                    "set": one.name, "figure": f"R@{k}",
                    "value": 100 * float(found[:, column].mean()),
                    "difference": asdict(_difference(found[:, column], base[:, column], one)),
                })  # fmt: skip
    return figures


def _difference(found: Any, base: Any, one: Queries) -> Interval:
    """The paired difference in points; texts of one picture are drawn together."""
    items = 100.0 * (found.astype(np.float64) - base)
    drawn = resample(Metric("R", items, clusters=one.right), RESAMPLES, 0)
    return interval(float(items.mean()), drawn)


def passes(figures: Sequence[Mapping[str, Any]], row: str) -> bool:
    """Whether a mixture passes: R@10 of T2I at least `NEEDED` points up, interval above 0."""
    [one] = [
        one["difference"] for one in figures
        if (one["row"], one["set"], one["figure"]) == (row, "T2I", "R@10")
    ]  # fmt: skip
    return bool(one["value"] >= NEEDED and one["low"] > 0)


def table(record: Mapping[str, Any]) -> str:
    """A row for each mixture, with differences from base."""
    figures, scales = record["figures"], record["scales"]
    keys = list(dict.fromkeys((one["set"], one["figure"]) for one in figures))
    found = {(one["row"], one["set"], one["figure"]): one for one in figures}
    lines = []
    for row in dict.fromkeys(one["row"] for one in figures):
        cells = []
        for key in keys:
            one = found.get((row, *key))
            more = "" if one is None or row == BASE else spread(Interval(**one["difference"]), True)
            cells.append("-" if one is None else f"{one['value']:.1f} {more}".strip())
        judged = "-"
        if row != BASE and (row, "T2I", "R@10") in found:
            judged = "yes" if passes(figures, row) else "no"
        lines.append([row, *cells, judged])
    heads = [f"{what}, {name}" for name, what in keys]
    temperatures = ", ".join(f"{name} {scale:.1f}" for name, scale in scales.items())
    note = (
        "Percent, with the difference from base and its 95 % interval. T2I: the captions of "
        "Flickr8k's development split over its 1,000 pictures; caption and rewording: 250 test "
        "captions and an LLM's rewordings over all 8,091 pictures. A mixture is the mean of its "
        f"models' rankings after the softmax. Inverse temperatures: {temperatures}."
    )
    return f"{markdown(['', *heads, 'passes'], lines)}\n\n{note}"


def main() -> None:
    """Score, write and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--base", default="b", choices=list(BASES))
    parser.add_argument("--mixtures", nargs="+", required=True, help="MODEL[=SHARE] ... each")
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    options = parse_with_data(parser)
    place = Place(Path(options.data), options.out)
    named = dict.fromkeys(
        split_share(part)[0] for mixture in options.mixtures for part in mixture.split()
    )
    models = {name: TEACHERS[name](place) for name in named if name != BASE}
    sets = queries_of(place.data)
    captions = [row.caption for row in training_captions(place.data)]
    rankings = Rankings(BASES[options.base](place), models, sets, captions)
    figures = compare(rankings, options.mixtures, sets)
    keep(
        f"study_{options.base}_gate", options.results, table, figures=figures,
        scales=rankings.scales,
    )  # fmt: skip


if __name__ == "__main__":
    main()
