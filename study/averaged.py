"""The rival that needs no training: base with the vectors of several wordings of a query averaged.

    PARACLIP_DATA=folder python -m study.averaged --rows command    # minutes

Compares base with averages of 1, 2, 3 and 5 texts and tuned with one, on an LLM's wordings over
pictures that no model was trained on (`AveragedWordings` of `wordings.py` says which averages are
compared), from finished cells of `fourth/main.toml`, or of another grid with `--grid`; nothing is
trained. In use, an LLM has to reword each query. Writes `results/study_BASE_averaged.json` and
`.md`.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import keep, parse_with_data
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import Interval, interval, over_seeds
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.tables import markdown
from study import run
from study.cells import cells_of, model_of
from study.differences import Draws, Key, Scored, over
from study.sets import HOW, read_pool, unseen
from study.tables import RESULTS
from study.wordings import (
    COMPARED,
    NEW_WORDINGS,
    SECOND,
    AveragedWordings,
    new_rows,
    read_new_wordings,
)

GRID = run.GRIDS / "fourth" / "main.toml"
SETS = {"averaged-unseen": "unseen pictures", "averaged-coco": "COCO"}
FIGURES = ("AO@10", "JS@10", "AO@10 contrast", "R@10")


def read_options(summary: str, grid: Path = GRID) -> argparse.Namespace:
    """The options of a comparison of finished rows with base."""
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--rows", nargs="+", required=True, help="rows of the grid")
    made.add_argument("--base", default="a", choices=list(run.BASES))
    made.add_argument("--grid", type=Path, default=grid, help="of the rows")
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    return parse_with_data(made)


def main() -> None:
    """Compare, write and print."""
    options = read_options(str(__doc__).splitlines()[0])
    place = run.Place(Path(options.data), options.out)
    sets, cache = averaged_sets(place.data), cache_folder() / "image_features"
    scored: dict[str, dict[int | None, Any]] = {}
    for row, seed, model in finished_models(options, place):
        scored.setdefault(row, {})[seed] = {
            (one.name, metric.name): metric
            for one in sets for metric in one.score(model, cache).metrics
        }  # fmt: skip
    draws = Draws(run.RESAMPLES["second"], place.out / "draws")
    averages = figures_of_averages(scored, draws)
    words = words_of_rewordings(SECOND)
    keep(f"study_{options.base}_averaged", options.results, table, averages=averages, words=words)


def finished_models(
    options: argparse.Namespace, place: run.Place
) -> Iterator[tuple[str, int | None, DualEncoder]]:
    """Row, seed and model of base and of the finished cells of the wanted rows."""
    base = run.BASES[options.base](place)
    grid = run.grid_of(options.grid, options.base, place)
    for cell in cells_of(grid, base, place.out / "cells" / options.base):
        finished = cell.seed is None or (cell.run / "summary.json").exists()
        if cell.row.name in ("base", *options.rows) and finished:
            yield cell.row.name, cell.seed, model_of(cell, base)


def averaged_sets(data: Path) -> list[AveragedWordings]:
    """An LLM's wordings over both indexes of the fourth report."""
    wordings = read_new_wordings(SECOND, data)
    pools = unseen(data, read_pool(data / "flickr8k" / "images")), read_pool(data / "coco/images")
    return [
        AveragedWordings(name, wordings[source], pool, HOW)
        for name, source, pool in zip(SETS, ("flickr8k", "coco"), pools, strict=True)
    ]


def figures_of_averages(scored: Scored, draws: Draws) -> list[dict[str, Any]]:
    """Each figure of each row by the number of texts, and of tuned with one text less base."""
    figures = []
    for row, seeds in scored.items():
        for key in next(iter(seeds.values())):
            one = key[0], f"{key[1].partition(' of ')[0]} of 1"
            drawn = {(row, seed): draws.of(found[key]) for seed, found in seeds.items()}
            figures.append(figure(row, key, *over(drawn, row, list(seeds))))
            if row != "base":
                drawn = {(row, seed): draws.of(found[one]) for seed, found in seeds.items()}
                value, resampled = over(drawn, row, list(seeds))
                base, theirs = draws.of(scored["base"][None][key])
                figures.append(figure(f"{row} − base", key, value - base, resampled - theirs))
    return figures


def figure(row: str, key: Key, value: float, resampled: Any) -> dict[str, Any]:
    """A figure with its interval."""
    name, _, texts = key[1].partition(" of ")
    return {"row": row, "set": key[0], "figure": name, "texts": int(texts),
            **asdict(interval(value, over_seeds(resampled, 0)))}  # fmt: skip


def words_of_rewordings(file: Path) -> float:
    """The mean number of words of a rewording, which an LLM would have to write."""
    texts = [row[kind] for row in new_rows(file).values() for kind in NEW_WORDINGS[file]]
    return round(sum(len(text.split()) for text in texts) / len(texts), 1)


def table(record: Mapping[str, Any]) -> dict[str, str]:
    """A row for each model and number of texts, then the differences; and the models' means alone,
    of up to three texts."""
    found = {
        (one["row"], one["texts"], one["set"], one["figure"]): Interval(
            one["value"], one["low"], one["high"]
        )
        for one in record["averages"]
    }
    lines = []
    for row, texts in dict.fromkeys((row, texts) for row, texts, *_ in found):
        signed = row.endswith(" base")
        name = f"{row}, average of {texts}" if texts > 1 else f"{row}, one text"
        cells = [
            spread(value, signed) if (value := found.get((row, texts, one, what))) else "-"
            for one in SETS for what in FIGURES
        ]  # fmt: skip
        lines.append([name, *cells])
    heads = [f"{what}, {name}" for name in SETS.values() for what in FIGURES]
    sizes = ", ".join(f"{size} with {other}" for size, other in COMPARED)
    note = (
        "Percent, with 95 % intervals of a bootstrap over items and seeds; a difference is that of "
        "tuned with one text from base with an average. AO@10 and JS@10 compare averages that have "
        f"no text in common ({sizes}); there are five texts. *AO@10 contrast* compares an average "
        "with a text of another meaning. Each further text is "
        f"{record['words']:g} words that an LLM would write."
    )
    shown = [place for place, head in enumerate(heads, 1) if not head.startswith("JS")]
    short = [
        [line[0], *(line[place].partition(" ")[0] for place in shown)]
        for line in lines
        if "−" not in line[0] and "of 5" not in line[0]
    ]
    few = markdown(["", *(heads[place - 1] for place in shown)], short)
    name = record["name"]
    return {
        name: f"{markdown(['', *heads], lines)}\n\n{note}", f"{name}_short": f"{few}\n\nPercent."
    }  # fmt: skip


if __name__ == "__main__":
    main()
