"""The pictures and texts of the recipe: downloads, and the split into development and report.

No picture of the bank is in a pool: COCO's unlabelled pictures are in none of its labelled sets.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from paraclip.data.problems import Problems
from paraclip.data.rows import read_rows
from paraclip.errors import UserError
from paraclip.files import write_text
from recipes.downloads import digest, download, download_all, unpack
from recipes.real_clip.settings import Settings, Source

COCO = "http://images.cocodataset.org"
DEVELOPMENT = "replace_obj"  # the subset of SugarCrepe++ of which half chooses the rate
CLASSES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
    "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn",
    "n03417042": "garbage truck", "n03425413": "gas pump", "n03445777": "golf ball",
    "n03888257": "parachute",
}  # fmt: skip
"""Imagenette's folders."""


def get_data(settings: Settings, work: Path) -> None:
    """Download everything, and write the pairs; what is there is not downloaded again."""
    for name, source in settings.sources.items():
        try:
            _get_source(name, source, settings, work)
        except UserError as error:
            if not source.optional:
                raise
            print(f"{name} is left out: {error}", flush=True)
    _get_pictures(settings, work)
    _write_pairs(settings, work)
    _write_texts(settings, work)
    for folder, name in CLASSES.items():
        if (work / "lists" / "imagenette" / folder).exists():
            target = work / "data" / "imagenette" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(work / "lists" / "imagenette" / folder, target)


def _get_source(name: str, source: Source, settings: Settings, work: Path) -> None:
    """Download one source and unpack it; its mark is the last that is written."""
    mark, file = work / "downloads" / f"{name}.json", work / "downloads" / name
    if mark.exists():
        return
    print(f"getting {name}", flush=True)
    if not source.keep:
        file = work / source.into
    download(settings.at(source.address), file, source.md5)
    found = {"address": source.address, "sha256": digest(file, "sha256")}
    if source.keep:
        found["files"] = unpack(file, source.keep, work / source.into)
        file.unlink()  # disks of hosted machines are small
    write_text(mark, json.dumps(found, indent=1))


def _get_pictures(settings: Settings, work: Path) -> None:
    """Download the bank, the others and Karpathy's test pictures one by one: whole sets are 25 GB.

    COCO's own archives of them hold 20 times as many pictures as are used.
    """
    listed = work / "lists" / "image_info_unlabeled2017.json"
    names = sorted(row["file_name"] for row in _rows_of(listed))
    step = max(1, len(names) // (settings.bank + settings.others))
    chosen = names[::step][: settings.bank + settings.others]  # spread over the whole set
    files = {
        f"{COCO}/unlabeled2017/{name}": work / ("bank" if n < settings.bank else "others") / name
        for n, name in enumerate(chosen)
    }
    split = work / "karpathy" / "coco" / "dataset_coco.json"
    for row in _rows_of(split):
        if row["split"] == "test":
            part, name = row["filepath"], row["filename"]
            files[f"{COCO}/{part}/{name}"] = split.parent / part / name
    print(f"getting {len(files):,} pictures", flush=True)
    problems = download_all({settings.at(address): path for address, path in files.items()})
    if problems.count:
        print(problems.summary())


def _write_pairs(settings: Settings, work: Path) -> None:
    """Write the development pairs with their pool, the report pairs, and people's pairs.

    Every other picture of `replace_obj` is the development's, with all its pairs.
    """
    found, report = work / "lists" / "sugar_crepe_pp", work / "data" / "sugar_crepe_pp"
    for path in sorted(found.glob("*.json")):
        rows = _rows_of(path)
        if path.stem == DEVELOPMENT:
            own = sorted({row["filename"] for row in rows})[::2]
            chosen = [row for row in rows if row["filename"] in set(own)]
            rows = [row for row in rows if row["filename"] not in set(own)]
            write_text(work / "development" / path.name, json.dumps(chosen, indent=1))
            pool = [f"data/coco/val2017/{name}" for name in own]
            pool += [f"others/{path.name}" for path in sorted((work / "others").iterdir())]
            write_text(work / "development" / "pool.txt", "\n".join(pool) + "\n")
        write_text(report / path.name, json.dumps(rows, indent=1))
    captions: dict[int, list[str]] = {}
    for row in _rows_of(work / "lists" / "captions_val2017.json"):
        captions.setdefault(row["image_id"], []).append(row["caption"])
    lines = (
        json.dumps({"caption": texts[0], "caption2": texts[1], "filename": f"{number:012d}.jpg"})
        for number, texts in sorted(captions.items())
        if len(texts) > 1
    )
    write_text(work / "people.jsonl", "\n".join(lines) + "\n")


def _write_texts(settings: Settings, work: Path) -> None:
    """Write captions without pictures, one a line, as if they were a log of queries.

    Karpathy's training split has no picture of val2017, and none of his test split.
    """
    split = work / "karpathy" / "coco" / "dataset_coco.json"
    rows = _rows_of(split)
    found = [row["sentences"][0]["raw"] for row in rows if row["split"] == "train"]
    chosen = found[:: max(1, len(found) // settings.texts)][: settings.texts]
    write_text(work / "texts.txt", "".join(f"{' '.join(text.split())}\n" for text in chosen))


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a list of pictures, captions or pairs, all sound."""
    return [row for _, row in read_rows(str(path), Problems(0.0))]
