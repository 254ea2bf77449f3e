"""HTML browser of the pairs whose rankings changed most between two models.

The page is one self-contained HTML file: pictures are small JPEGs in data URIs, texts and rankings
are embedded JSON, and plain JavaScript renders, sorts and filters them. Texts are inserted only as
text nodes, and the page's content security policy blocks all loading.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from paraclip.arrays import Float, Integers
from paraclip.data.images import open_image
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Scores, Showing, Shown
from paraclip.evaluation.metrics import average_overlap
from paraclip.files import write_text

Rankings = tuple[Integers, Integers]
"""Rankings of the first and second wording, as pool positions [pairs, k]."""

EACH = 30  # pairs with the largest gains, and as many with the largest losses
SHOWN = 10  # results of each ranking
LARGEST = 8 * 2**20  # largest total size of pictures in bytes; further pairs are omitted
QUALITY = 62  # of JPEG
SIDE = 100  # pixels of a thumbnail


@dataclass(frozen=True, eq=False, kw_only=True)
class RankedPairs(Shown):
    """All pairs of one benchmark with the rankings of each model."""

    name: str  # name of the benchmark in the report
    pool: str  # description of the pool
    rankings: Mapping[str, Rankings]  # rankings of each model, by label


def ranked_pairs(
    benchmark: Benchmark, scores: Mapping[str, Scores], name: str
) -> RankedPairs | None:
    """Return the pairs of a benchmark, or None if it does not rank pictures of a pool."""
    if not isinstance(benchmark, Showing):
        return None
    shown = benchmark.pairs_shown(next(iter(scores.values())))
    if not shown.references or not shown.texts:
        return None
    first, second = shown.arrays
    rankings = {label: (one.arrays[first], one.arrays[second]) for label, one in scores.items()}
    return RankedPairs(**vars(shown), name=name, pool=benchmark.pool, rankings=rankings)


def most_changed(gains: Float, each: int = EACH) -> list[int]:
    """Return the indices of the pairs with the largest gains and losses, up to `each` of both.

    Unchanged pairs are excluded. Pairs are sorted by the size of the change, ties by index.
    """
    order = np.argsort(-gains, kind="stable")
    won = [int(number) for number in order[:each] if gains[number] > 0]
    lost = [int(number) for number in order[::-1][:each] if gains[number] < 0]
    return sorted({*won, *lost}, key=lambda number: (-abs(float(gains[number])), number))


def thumbnail(reference: str) -> Image.Image:
    """Return the picture padded to a white square; a grey square if it cannot be read."""
    try:
        picture = open_image(reference, SIDE)
    except UserError:
        return Image.new("RGB", (SIDE, SIDE), "#d8d8d8")
    return ImageOps.pad(picture, (SIDE, SIDE), color="white")


def write_browser(found: Sequence[RankedPairs], models: tuple[str, str], path: Path) -> bool:
    """Write the page.

    Returns:
        Whether there was anything to show; if not, no file is written.
    """
    album = Album()
    sets = [_pairs_as_dict(pairs, models, album) for pairs in found]
    if not any(one["pairs"] for one in sets):
        return False
    content = {"models": list(models), "sets": sets, "pictures": album.pictures}
    title = f"{models[0]} and {models[1]}: the pairs that changed most"
    page = files("paraclip.evaluation").joinpath("browser_page.html").read_text("utf-8")
    page = page.replace("<!-- title -->", html.escape(title))
    write_text(path, page.replace("<!-- data -->", island(content)))
    return True


def island(content: Any) -> str:
    """Serialise to JSON that is safe inside a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Album:
    """The pictures of a page as data URIs with names, without duplicates."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.pictures: list[dict[str, str]] = []
        self.bytes = 0

    def number(self, reference: str) -> int:
        """Return the index of a picture in the page; add the picture if it is new."""
        if reference not in self.numbers:
            self.numbers[reference] = len(self.pictures)
            stream = io.BytesIO()
            thumbnail(reference).save(stream, "JPEG", quality=QUALITY, optimize=True)
            source = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
            self.bytes += len(source)
            self.pictures.append({"name": PurePosixPath(reference).name, "source": source})
        return self.numbers[reference]


def _pairs_as_dict(shown: RankedPairs, models: tuple[str, str], album: Album) -> dict[str, Any]:
    """Return the pairs of one benchmark that changed most as a dict for the page."""
    rankings = [shown.rankings[label] for label in models]
    scores = [average_overlap(*ranking) for ranking in rankings]
    gains, depth = scores[1] - scores[0], rankings[0][0].shape[1]

    def results(ranking: Integers, other: Integers) -> list[list[int]]:
        """The first results: index of the picture, and its rank for the other wording or 0."""
        ranks = {position: rank for rank, position in enumerate(other.tolist(), start=1)}
        return [
            [album.number(shown.references[position]), ranks.get(position, 0)]
            for position in ranking[: min(SHOWN, depth)].tolist()
        ]

    pairs = []
    for number in most_changed(gains):
        if album.bytes >= LARGEST:
            break
        answer = album.number(shown.references[shown.answers[number]]) if shown.answers else None
        wordings = [[ranking[number] for ranking in model] for model in rankings]
        pairs.append(
            {
                "kind": shown.kinds[number], "texts": list(shown.texts[number]), "answer": answer,
                "overlap": [round(100 * float(score[number]), 2) for score in scores],
                "results": [[results(one, two), results(two, one)] for one, two in wordings],
            }
        )  # fmt: skip
    return {
        "name": shown.name, "pool": shown.pool, "k": depth,
        "kinds": list(dict.fromkeys(shown.kinds)), "all": len(gains),
        "gained": int((gains > 0).sum()), "lost": int((gains < 0).sum()), "pairs": pairs,
    }  # fmt: skip
