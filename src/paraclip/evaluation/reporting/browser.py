"""A page of examples: the pairs whose rankings changed most between two models, with pictures.

One HTML file with all in it: pictures as small JPEGs in data URIs, a JSON island with texts and
rankings, and plain JavaScript that draws, sorts and filters. Texts only ever become text nodes, and
the page's own policy lets it load nothing.
"""

import base64
import html
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from paraclip.evaluation.reporting.contact_sheet import thumbnail
from paraclip.evaluation.reporting.examples import Examples, most_changed, overlaps
from paraclip.files import write_text

SHOWN = 10  # results of each ranking
LARGEST = 8 * 2**20  # bytes of all pictures; pairs past it are left out
QUALITY = 62


def write_browser(found: Sequence[Examples], models: tuple[str, str], path: Path) -> bool:
    """Write the page.

    Args:
        found: pairs of each benchmark, with the rankings of both models.
        models: labels of base and tuned.
        path: HTML file.

    Returns:
        Whether there was anything to show.

    Raises:
        UserError: the place may not be written.
    """
    album = Album()
    sets = [examples_as_dict(examples, models, album) for examples in found]
    if not any(one["pairs"] for one in sets):
        return False
    content = {"models": list(models), "sets": sets, "pictures": album.pictures}
    title = f"{models[0]} and {models[1]}: the pairs that changed most"
    page = files("paraclip.evaluation.reporting").joinpath("browser_page.html").read_text("utf-8")
    page = page.replace("<!-- title -->", html.escape(title))
    write_text(path, page.replace("<!-- data -->", island(content)))
    return True


def island(content: Any) -> str:
    """JSON that may stand inside a script element whatever the texts hold."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class Album:
    """The pictures of a page, each once, as data URIs with their names."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.pictures: list[dict[str, str]] = []
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether no more pairs should be shown."""
        return self.bytes >= LARGEST

    def number(self, reference: str) -> int:
        """The picture's number in the page."""
        if reference not in self.numbers:
            self.numbers[reference] = len(self.pictures)
            source = data_uri(reference)
            self.bytes += len(source)
            self.pictures.append({"name": PurePosixPath(reference).name, "source": source})
        return self.numbers[reference]


def data_uri(reference: str) -> str:
    """A thumbnail as text; a grey square where the picture cannot be read."""
    stream = io.BytesIO()
    thumbnail(reference).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def examples_as_dict(examples: Examples, models: tuple[str, str], album: Album) -> dict[str, Any]:
    """One benchmark's pairs for the page."""
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
    """The first results: number of the picture, and its rank for the other wording or 0."""
    places = {int(position): rank for rank, position in enumerate(np.asarray(other), start=1)}
    return [
        [album.number(references[int(position)]), places.get(int(position), 0)]
        for position in ranking[:depth]
    ]
