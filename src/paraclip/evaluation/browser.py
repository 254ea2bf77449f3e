"""Pairs of wordings with the rankings of each model, from any benchmark that ranks pictures."""

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
from numpy.typing import NDArray

from paraclip.arrays import Integers
from paraclip.evaluation.benchmark import Benchmark, Scores, Showing
from paraclip.evaluation.contact_sheet import thumbnail
from paraclip.evaluation.metrics import average_overlap
from paraclip.files import write_text

Rankings = tuple[Integers, Integers]
"""Rankings of the first and second wording, as pool positions [pairs, k]."""

EACH = 30


@dataclass(frozen=True, eq=False)
class Examples:
    """All pairs of one benchmark."""

    name: str  # name of the benchmark in the report
    pool: str  # description of the pool
    references: Sequence[str]  # paths or URLs of the pool's pictures
    texts: Sequence[tuple[str, str]]  # both wordings of each pair
    kinds: Sequence[str]  # kind of rewording of each pair; empty strings if there is only one kind
    rankings: Mapping[str, Rankings]  # rankings of each model, by label
    answers: Sequence[int] = ()  # pool position of the correct pictures; empty if not known


def examples_of(benchmark: Benchmark, scores: Mapping[str, Scores], name: str) -> Examples | None:
    """Return the pairs of a benchmark, or None if it does not rank pictures of a pool."""
    if not isinstance(benchmark, Showing):
        return None
    shown = benchmark.pairs_shown(next(iter(scores.values())))
    if not shown.references or not shown.texts:
        return None
    first, second = shown.arrays
    rankings = {
        label: (found.arrays[first], found.arrays[second]) for label, found in scores.items()
    }
    return Examples(
        name, benchmark.pool, shown.references, shown.texts, shown.kinds, rankings, shown.answers
    )


def overlaps(rankings: Rankings) -> NDArray[np.floating]:
    """Return AO@k of each pair [pairs], 0 to 1."""
    return average_overlap(*rankings)


def most_changed(gains: NDArray[np.floating], each: int = EACH) -> list[int]:
    """Return the indices of the pairs with the largest gains and losses, up to `each` of both.

    Unchanged pairs are excluded. Pairs are sorted by the size of the change, ties by index.
    """
    order = np.argsort(-gains, kind="stable")
    won = [int(number) for number in order[:each] if gains[number] > 0]
    lost = [int(number) for number in order[::-1][:each] if gains[number] < 0]
    return sorted({*won, *lost}, key=lambda number: (-abs(float(gains[number])), number))


SHOWN = 10  # results of each ranking
LARGEST = 8 * 2**20  # largest total size of pictures in bytes; further pairs are omitted
QUALITY = 62


def write_browser(found: Sequence[Examples], models: tuple[str, str], path: Path) -> bool:
    """Write the page.

    Returns:
        Whether there was anything to show; if not, no file is written.
    """
    album = Album()
    sets = [examples_as_dict(examples, models, album) for examples in found]
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

    @property
    def full(self) -> bool:
        """Whether the size limit is reached."""
        return self.bytes >= LARGEST

    def number(self, reference: str) -> int:
        """Return the index of a picture in the page; add the picture if it is new."""
        if reference not in self.numbers:
            self.numbers[reference] = len(self.pictures)
            source = data_uri(reference)
            self.bytes += len(source)
            self.pictures.append({"name": PurePosixPath(reference).name, "source": source})
        return self.numbers[reference]


def data_uri(reference: str) -> str:
    """Return a thumbnail as a data URI; a grey square if the picture cannot be read."""
    stream = io.BytesIO()
    thumbnail(reference).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def examples_as_dict(examples: Examples, models: tuple[str, str], album: Album) -> dict[str, Any]:
    """Return the pairs of one benchmark as a dict for the page."""
    before, after = (examples.rankings[label] for label in models)
    scores = overlaps(before), overlaps(after)
    gains = scores[1] - scores[0]
    depth = min(SHOWN, before[0].shape[1])
    pairs = []
    for number in most_changed(gains):
        if album.full:
            break
        rankings = [[ranking[number] for ranking in model] for model in (before, after)]
        pairs.append(
            {
                "kind": examples.kinds[number], "texts": list(examples.texts[number]),
                "overlap": [round(100 * float(score[number]), 2) for score in scores],
                "answer": album.number(examples.references[examples.answers[number]])
                if examples.answers else None,
                "results": [
                    [results(first, second, depth, examples.references, album)
                     for first, second in (model, model[::-1])]
                    for model in rankings
                ],
            }
        )  # fmt: skip
    return {
        "name": examples.name, "pool": examples.pool, "k": before[0].shape[1],
        "kinds": list(dict.fromkeys(examples.kinds)), "all": len(gains),
        "gained": int((gains > 0).sum()), "lost": int((gains < 0).sum()), "pairs": pairs,
    }  # fmt: skip


def results(
    ranking: Any, other: Any, depth: int, references: Sequence[str], album: Album
) -> list[list[int]]:
    """Return the first results: picture index, and rank for the other wording (0 if absent)."""
    ranks = {int(position): rank for rank, position in enumerate(np.asarray(other), start=1)}
    return [
        [album.number(references[int(position)]), ranks.get(int(position), 0)]
        for position in ranking[:depth]
    ]
