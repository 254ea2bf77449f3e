"""Small text benchmarks in the layouts of the real ones, with made-up texts."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraclip.evaluation.benchmarks.sts import YEARS
from paraclip.evaluation.benchmarks.sugar_crepe import SUBSETS
from paraclip.evaluation.pairs import KINDS
from paraclip.models.encoder import Tokens
from tiny import ColourEncoder, write_flickr8k

TEXTS = [
    ("a red hat", "a red cap", 4.5),
    ("a green door", "a blue sea", 0.5),
    ("white snow", "white snow falls", 4.0),
    ("a blue car", "a red dog runs", 1.0),
    ("green grass here", "green grass there", 3.5),
]


def write_sts(folder: Path) -> Path:
    """All seven tasks; in each subset of a year one pair has no gold score."""
    for year, subsets in YEARS.items():
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


def write_json(path: Path, content: object) -> Path:
    """Write JSON, creating the folder first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_data(folder: Path) -> Path:
    """The data of every benchmark but ImageNet, over drawn pictures.

    A model that knows colours is right everywhere, except on the last row of each set, on the one
    before, whose texts tie, and on a picture in the folder of another class.
    """
    write_sts(folder / "sts")
    pictures = write_flickr8k(folder / "flickr8k", shades=5)
    for place in ("coco/val2014", "aro/images", "by_class/red", "by_class/blue"):
        shutil.copytree(pictures[0].parent, folder / place)
        for path in (folder / place).iterdir():
            own = path.name.startswith((Path(place).name, "red_4"))  # also among the blue ones
            if place.startswith("by_class") and not own:
                path.unlink()
    colours = [path.stem.partition("_")[0] for path in pictures]
    shown = list(zip([path.name for path in pictures], colours, strict=True))[:9:3]
    rows = [
        {"id": n, "filename": name, "caption": f"a {colour} hat", "caption2": f"hat of {colour}",
         "negative_caption": "a white hat"}
        for n, (name, colour) in enumerate(shown)
    ]  # fmt: skip
    rows[-1]["caption"], rows[-1]["negative_caption"] = "a white hat", rows[-1]["caption"]
    rows[-2]["negative_caption"] = rows[-2]["caption"]
    for number, kind in enumerate(("add_att", "add_obj", *SUBSETS)):
        some = rows[(number + 1) % 2 :]
        write_json(folder / f"sugar_crepe/{kind}.json", some)
        if kind in SUBSETS:
            write_json(folder / f"sugar_crepe_pp/{kind}.json", some)
    box = {f"bbox_{side}": size for side, size in zip("xywh", (0, 0, 5, 5), strict=True)}
    groups = {"relation": {"relation_name": "on"}, "attribution": {"attributes": ["old", "wet"]}}
    for task, group in groups.items():
        entries = [
            {"image_path": row["filename"], "true_caption": row["caption"],
             "false_caption": row["negative_caption"], **box, **group}
            for row in (rows * 9)
        ]  # fmt: skip
        write_json(folder / f"aro/visual_genome_{task}.json", entries)
    texts = [[f"the {colour} dog sees a cat", "some dog and a hat"] for colour in colours]
    named = list(zip([path.name for path in pictures], texts, strict=True))
    for name, place in (("coco", {"filepath": "val2014"}), ("flickr8k", {})):
        images = [
            {"filename": one, "split": "test", "sentences": [{"raw": x} for x in of_one], **place}
            for one, of_one in named
        ]
        learnt = [{"filename": "lost.png", "split": "train", "sentences": []}]
        write_json(folder / f"{name}/dataset_{name}.json", {"images": images + learnt})
    wordings = [
        {"image_id": row["filename"], "caption": row["caption"],
         "variations": {**{kind: f"{row['caption2']} {kind}" for kind in KINDS},
                        "contrast": "a white hat"}}
        for row in rows
    ]  # fmt: skip
    write_lines(folder / "paraphrases/variations.jsonl", [json.dumps(row) for row in wordings])
    return folder


def change(path: Path, how: Any) -> None:
    """Remove a file or folder, write another text, or change the first row or score."""
    if how is None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    path.parent.mkdir(exist_ok=True)
    if isinstance(how, bytes):
        path.write_bytes(how)
        return
    if isinstance(how, dict):
        lines = path.suffix == ".jsonl"
        text = path.read_text()
        content = [*map(json.loads, text.splitlines())] if lines else json.loads(text)
        rows = content["images"] if isinstance(content, dict) else content
        rows[0] = {name: x for name, x in (rows[0] | how).items() if x is not None}
        how = "\n".join(map(json.dumps, rows)) if lines else json.dumps(content)
    elif how.startswith(","):
        how = re.sub(r",5,", how, path.read_text(), count=1)
    path.write_text(how)


class Reader(ColourEncoder):
    """Reads colour words before a full stop too, and hardly anything else."""

    def __init__(self) -> None:
        super().__init__(noise=0.01)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return super().tokenize([text.replace(".", "") for text in texts])
