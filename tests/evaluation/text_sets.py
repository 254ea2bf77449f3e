"""Small text benchmarks in the layouts of the real ones, with made-up texts."""

import json
from pathlib import Path

from paraclip.evaluation.benchmarks.sts import _YEARS

TEXTS = [
    ("a red hat", "a red cap", 4.5),
    ("a green door", "a blue sea", 0.5),
    ("white snow", "white snow falls", 4.0),
    ("a blue car", "a red dog runs", 1.0),
    ("green grass here", "green grass there", 3.5),
]


def write_sts(folder: Path) -> Path:
    """All seven tasks; in each subset of a year one pair has no gold score."""
    for year, subsets in _YEARS.items():
        place = folder / "STS" / f"{year}-en-test"
        place.mkdir(parents=True)
        for subset in subsets:
            lines = [f"{first}\t{second}" for first, second, _ in TEXTS] + ["left\tout"]
            (place / f"STS.input.{subset}.txt").write_text("\n".join(lines) + "\n")
            scores = [str(score) for *_, score in TEXTS] + [""]
            (place / f"STS.gs.{subset}.txt").write_text("\n".join(scores) + "\n")
    rows = [f"g\tf\t2012\t{n}\t{s}\t{a}\t{b}" for n, (a, b, s) in enumerate(TEXTS)]
    write_lines(folder / "STS" / "STSBenchmark" / "sts-test.csv", rows)
    rows = [f"{n}\t{a}\t{b}\t{s}\tNEUTRAL" for n, (a, b, s) in enumerate(TEXTS)]
    write_lines(folder / "SICK" / "SICK_test_annotated.txt", ["pair_ID\tA\tB\tscore\tx", *rows])
    return folder


def write_lines(path: Path, lines: list[str]) -> None:
    """Write lines of text, creating the folder first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_sugar_crepe_pp(folder: Path) -> Path:
    """Two subsets: four rows of which a reader of colours gets three, and one that it gets."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        ("a red hat", "hat of red", "a blue hat"),
        ("a green car", "car in green", "a red car"),
        ("white dog", "dog so white", "blue dog"),
        ("a red cup", "a blue cup", "a red cup"),
    ]
    names = ("caption", "caption2", "negative_caption")
    for subset, part in {"swap_obj": rows[:1], "replace_att": rows}.items():
        found = [{"id": n, **dict(zip(names, row, strict=True))} for n, row in enumerate(part)]
        (folder / f"{subset}.json").write_text(json.dumps(found))
    return folder
